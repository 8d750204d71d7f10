"""Writes a small SAN with random weights and the published code's outputs: fixtures/san.

The modules are from a checkout of VLSM-Adapter's code (https://github.com/naamiinepal/vlsm-adapter), which copies SAN's
(https://github.com/MendelXu/SAN). Profile `paper` is the published class unchanged. Profile `default` runs the same modules without
`no_grad` and with SAN's own fusion map.

    pip install torch==2.5.1 timm==1.0.9 open_clip_torch==2.24.0 fvcore safetensors "numpy<2"
    python scripts/reference/make_san.py CHECKOUT fixtures/san

open_clip_torch is older than the version that the code requires (2.26.1): since then, layers take images before tokens, but
the published code passes tokens before images and fails in the recognition branch.

With `--full` the model has its full size, for one image of 640 pixels; `SAN_FIXTURE=FOLDER cargo test -p vlsm-models --test
san` checks it.
"""

import json
import sys
import types
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

checkout, out, *flags = sys.argv[1:]
full = "--full" in flags

# The published class imports one name from Lightning and does not use it.
states = types.ModuleType("pytorch_lightning.trainer.states")
states.RunningStage = None
for name in ["pytorch_lightning", "pytorch_lightning.trainer"]:
    sys.modules.setdefault(name, types.ModuleType(name))
sys.modules["pytorch_lightning.trainer.states"] = states
# Their package `models` also imports all other models; `san` does not need them.
sys.path.insert(0, str(Path(checkout) / "src" / "models"))
from san import SAN  # noqa: E402
from san.layers import build_fusion_layer  # noqa: E402
from san.side_adapter import MLPMaskDecoder, RegionwiseSideAdapterNetwork  # noqa: E402
from san.side_adapter.timm_wrapper import PatchEmbed  # noqa: E402

if full:
    projection, side_image, batch, prompts, length = 512, 640, 1, 1, 77
    vision = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    vision |= dict(image_size=224, patch_size=16)
    text = dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8)
    text |= dict(vocab_size=49408, max_position_embeddings=77, eos_token_id=49407)
    side = dict(hidden_size=240, intermediate_size=960, num_hidden_layers=8, num_attention_heads=6)
    side |= dict(image_size=640, patch_size=16, num_queries=100, embed_dim=256, mlp_dim=256)
    fusion, first_layer = [[0, 0], [3, 1], [6, 2], [9, 3]], 9
else:
    projection, side_image, batch, prompts, length = 20, 64, 2, 2, 7
    vision = dict(hidden_size=24, intermediate_size=96, num_hidden_layers=6, num_attention_heads=3)
    vision |= dict(image_size=24, patch_size=8)
    text = dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    text |= dict(vocab_size=40, max_position_embeddings=12, eos_token_id=39)
    side = dict(hidden_size=20, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2)
    side |= dict(image_size=48, patch_size=8, num_queries=5, embed_dim=12, mlp_dim=16)
    # Layer of CLIP, block of the side network. Reversed, the last pair names a block that does not exist.
    fusion, first_layer = [[0, 0], [2, 1], [4, 2]], 4


def clip():
    """A CLIP of open_clip with OpenAI's activation."""
    return open_clip.model.CLIP(
        embed_dim=projection,
        vision_cfg=dict(
            layers=vision["num_hidden_layers"],
            width=vision["hidden_size"],
            head_width=vision["hidden_size"] // vision["num_attention_heads"],
            patch_size=vision["patch_size"],
            image_size=vision["image_size"],
        ),
        text_cfg=dict(
            context_length=text["max_position_embeddings"],
            vocab_size=text["vocab_size"],
            width=text["hidden_size"],
            heads=text["num_attention_heads"],
            layers=text["num_hidden_layers"],
        ),
        quick_gelu=True,
    )


def network(pairs):
    """SAN with a fusion map of pairs (layer of CLIP, block of the side network)."""
    open_clip.create_model_from_pretrained = lambda **_: (clip(), None)
    vit = VisionTransformer(
        img_size=side["image_size"],
        patch_size=side["patch_size"],
        embed_dim=side["hidden_size"],
        depth=side["num_hidden_layers"],
        num_heads=side["num_attention_heads"],
        num_classes=0,
        fc_norm=False,
        embed_layer=PatchEmbed,
    )
    fusion_layers = {
        f"layer_{block}": build_fusion_layer("add", vision["hidden_size"], side["hidden_size"])
        for _, block in pairs
    }
    return SAN(
        open_clip_cfg={},
        clip_visual_extractor_cfg=dict(
            last_layer_idx=first_layer, frozen_exclude=["positional_embedding"]
        ),
        clip_rec_head_cfg=dict(
            first_layer_idx=first_layer,
            frozen_exclude=[],
            sos_token_format="cls_token",
            sos_token_num=side["num_queries"],
            cross_attn=False,
            downsample_method="max",
        ),
        side_adapter_network=RegionwiseSideAdapterNetwork(
            vit_model=vit,
            fusion_layers=torch.nn.ModuleDict(fusion_layers),
            mask_decoder=MLPMaskDecoder(
                in_channels=side["hidden_size"],
                total_heads=vision["num_attention_heads"],
                total_layers=1,
                embed_channels=side["embed_dim"],
                mlp_channels=side["mlp_dim"],
                mlp_num_layers=3,
                rescale_attn_bias=True,
            ),
            num_queries=side["num_queries"],
            fusion_map={block: layer for layer, block in pairs},
            deep_supervision_idxs=[side["num_hidden_layers"] - 1, side["num_hidden_layers"]],
        ),
        size_divisibility=32,
    ).eval()


def randomise(model):
    """Sets weights with which every part has an effect; they do not depend on the names of the fusion layers."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            width = parameter.shape[1:].numel()
            noise = torch.randn(parameter.shape)
            if parameter.ndim >= 2 and "embed" not in name.rsplit(".", 2)[-1]:
                parameter.copy_(noise * width**-0.5)
            elif any(part in name for part in ["ln_", "norm", "input_proj.0"]) and name.endswith("weight"):
                parameter.copy_(1 + 0.1 * noise)
            elif name.endswith("logit_scale"):
                parameter.fill_(2.0)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            else:
                parameter.copy_(0.5 * noise)
        scaling = model.side_adapter_network.mask_decoder.bias_scaling
        scaling.weight.fill_(0.7)
        scaling.bias.fill_(-0.2)


def run(model, pixels, ids):
    """The published `forward`, with gradients through all of it."""
    small = torch.nn.functional.interpolate(pixels, scale_factor=0.5, mode="bilinear")
    features = model.clip_visual_extractor(small)
    masks, biases = model.side_adapter_network(pixels, features)
    embeddings = model.clip_rec_head(features, biases[-1], normalize=True)
    words = model.clip_model.encode_text(ids)
    scores = torch.einsum("bqd,bd->bqd", embeddings, words).mean(dim=-1)
    large = torch.nn.functional.interpolate(
        masks[-1], size=pixels.shape[-2:], mode="bilinear", align_corners=False
    )
    logits = torch.einsum("bq,bqhw->bhw", scores, large)
    parts = dict(masks=masks[-1], biases=biases[-1][0], embeddings=embeddings, text=words)
    return logits, large, parts


def released(model, background):
    """The state dict with the names of SAN's checkpoints."""
    tensors = {"ov_classifier.bg_embed": background}
    for name, tensor in model.state_dict().items():
        if name.startswith("clip_model."):
            if not name.startswith("clip_model.visual.") and "attn_mask" not in name:
                tensors[name.replace("clip_model.", "ov_classifier.")] = tensor
        else:
            tensors[name] = tensor
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}


def gradients(model):
    return {
        f"grad.{name}": parameter.grad.contiguous().clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


torch.manual_seed(1)
model = network(fusion)
# Parameters that both CLIP wrappers share are saved once, under `clip_model.`.
randomise(model)
background = torch.randn(1, projection) * projection**-0.5
pixels = torch.randn(batch, 3, side_image, side_image)
ids = torch.zeros(prompts, text["max_position_embeddings"], dtype=torch.long)
for row in range(prompts):
    end = length - 1 - row
    ids[row, :end] = torch.randint(1, text["eos_token_id"] - 1, (end,))
    ids[row, end] = text["eos_token_id"]
weights = torch.randn(batch, side_image, side_image)

# Default: all parameters that the loss depends on.
for parameter in model.parameters():
    parameter.requires_grad_(True)
logits, large, parts = run(model, pixels, ids)
(logits * weights).sum().backward()
expected = {"logits": logits.detach()} | {name: part.detach() for name, part in parts.items()}
expected |= gradients(model)

# SAN's semantic output for a vocabulary: each class in two templates, and the background.
classes = [ids, ids.flip(1).clone()]
classes[1][:, :3] = torch.tensor([5, 6, text["eos_token_id"]])
with torch.no_grad():
    normal = torch.nn.functional.normalize
    words = [normal(model.clip_model.encode_text(c), dim=-1) for c in classes]
    words = normal(torch.stack(words).mean(0), dim=-1)
    both = normal(torch.cat([words, background]), dim=-1)
    scores = model.clip_model.logit_scale.exp() * parts["embeddings"] @ both.T
    semantic = torch.einsum("bqc,bqhw->bchw", scores.softmax(-1)[..., :-1], large.sigmoid())
expected |= {"classes": words, "semantic": semantic}

# Paper: the published class, including its fusion map, with the same weights.
backwards = [[block, layer] for layer, block in fusion]
paper = network(backwards)
own = model.state_dict()
for (_, here), (_, there) in zip(fusion, backwards):
    for name in [name for name in own if f"fusion_layers.layer_{here}." in name]:
        own[name.replace(f"layer_{here}.", f"layer_{there}_.")] = own.pop(name)
paper.load_state_dict({name.replace("_.", "."): tensor for name, tensor in own.items()})
output = paper(pixels, ids)[:, 0]
(output * weights).sum().backward()
published = {"logits": output.detach()} | gradients(paper)

counts = {
    "side_adapter_network": sum(p.numel() for p in paper.side_adapter_network.parameters()),
    "fusion layers": {
        name: sum(p.numel() for p in layer.parameters())
        for name, layer in paper.side_adapter_network.fusion_layers.items()
    },
    "with a gradient": sum(p.grad.numel() for p in paper.parameters() if p.grad is not None),
    "requires_grad": sum(p.numel() for p in network(backwards).parameters() if p.requires_grad),
    "all": sum(p.numel() for p in paper.parameters()),
}
print(json.dumps(counts, indent=1))
print("logits", logits.std().item(), output.std().item())

folder = Path(out)
folder.mkdir(parents=True, exist_ok=True)
config = dict(
    model_type="san",
    projection_dim=projection,
    vision_config=vision,
    text_config=text,
    side_config=side,
    fusion=fusion,
    recognition_layer=first_layer,
)
(folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
save_file(released(model, background), folder / "model.safetensors")
inputs = dict(pixel_values=pixels, input_ids=ids, weights=weights)
inputs |= dict(classes_0=classes[0].clone(), classes_1=classes[1])
save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, folder / "batch.safetensors")
if full:
    for numbers in [expected, published]:
        for name in [name for name in numbers if name.startswith("grad.clip_model.")]:
            del numbers[name]
for name, numbers in [("default", expected), ("paper", published)]:
    numbers = {name: tensor.contiguous() for name, tensor in numbers.items()}
    save_file(numbers, folder / f"{name}.expected.safetensors")
