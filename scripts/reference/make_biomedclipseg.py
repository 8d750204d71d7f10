"""Writes a BiomedCLIPSeg with random weights (open_clip's BiomedCLIP with CLIPSeg's decoder) and its outputs for a batch:
logits, and gradients of `sum(logits * weight)`, in f64.

The towers are timm's ViT-B/16 and open_clip's text encoder over Transformers' BERT; the decoder is that of Transformers'
CLIPSeg. Outputs are written for two sets of taps: the layers of CLIPSeg's configuration, and, as published, the next ones
(MedVLSM adds one to each index, although its list of states does not start with the embeddings). The small model also has
dense adapters with VLSM-Adapter's published arithmetic, on the outputs of attention and MLP before the residual additions.

    pip install torch==2.5.1 torchvision==0.20.1 transformers==4.41.2 open_clip_torch==2.24.0 timm==1.0.9 "numpy<2"
    python scripts/reference/make_biomedclipseg.py fixtures/biomedclipseg/tiny
    python scripts/reference/make_biomedclipseg.py --full FOLDER
"""

import argparse
import collections
import json
import pathlib

import timm
import torch
from open_clip.hf_model import HFTextEncoder
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertTokenizerFast, CLIPSegConfig
from transformers.models.clipseg.modeling_clipseg import CLIPSegDecoder

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--full", action="store_true")
args = parser.parse_args()
args.folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(5)

WORDS = ["polyp", "one", "small", "round", "po", "##ly", "##ps", "red", "located", "in", "the", "left", ",", "of", "image"]
if args.full:
    vit, bert, embed, context = {}, {}, 512, 256
    decoder = dict(use_complex_transposed_convolution=True)
else:
    vit = dict(embed_dim=16, depth=11, num_heads=2, img_size=32, patch_size=8)
    bert = dict(hidden_size=12, num_hidden_layers=11, num_attention_heads=3, intermediate_size=24,
                max_position_embeddings=20, vocab_size=5 + len(WORDS))
    embed, context = 8, 16
    decoder = dict(reduce_dim=8, decoder_num_attention_heads=2, decoder_intermediate_size=12,
                   use_complex_transposed_convolution=True)

size = vit.get("img_size", 224)
width = vit.get("embed_dim", 768)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = nn.Module()
        self.visual.trunk = timm.create_model("vit_base_patch16_224", num_classes=0, **vit)
        self.visual.head = nn.Sequential(collections.OrderedDict(proj=nn.Linear(width, embed, bias=False)))
        self.text = HFTextEncoder("", embed, config=BertConfig(**bert), proj_type="mlp",
                                  pooler_type="cls_last_hidden_state_pooler")
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))
        self.decoder = CLIPSegDecoder(CLIPSegConfig(
            projection_dim=embed, **decoder,
            vision_config=dict(hidden_size=width, patch_size=vit.get("patch_size", 16), image_size=size),
        ))

    def forward(self, pixels, ids, shift):
        trunk = self.visual.trunk
        x = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(pixels)))
        states = []
        for block in trunk.blocks:
            x = block(x)
            states.append(x)
        return self.decoder([states[tap + shift] for tap in (3, 6, 9)], self.text(ids)).logits


def wave(shape, step):
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) * step).sin().reshape(shape)


model = Model().eval()
for name, parameter in model.named_parameters():
    with torch.no_grad():
        if name.startswith("text.transformer.pooler"):
            continue
        if parameter.ndim > 1:
            parameter.mul_(1.5 if args.full else 3.0)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))
model.text.transformer.pooler = None
state = {name: tensor.float().contiguous() for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
save_file(state, args.folder / "open_clip_model.safetensors", metadata={"format": "pt"})
(args.folder / "open_clip_config.json").write_text(json.dumps({
    "model_cfg": {
        "embed_dim": embed,
        "vision_cfg": {"timm_model_name": "vit_base_patch16_224", "timm_model_pretrained": False, "timm_pool": "",
                       "timm_proj": "linear", "timm_model_kwargs": vit},
        "text_cfg": {"hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
                     "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract", "hf_proj_type": "mlp",
                     "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": context, "hf_model_config": bert},
        "decoder_cfg": decoder,
    },
    "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
}, indent=1) + "\n")

vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS
(args.folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
tokenizer = BertTokenizerFast(str(args.folder / "vocab.txt"))
tokenizer.backend_tokenizer.save(str(args.folder / "tokenizer.json"))
(args.folder / "vocab.txt").unlink()
texts = ["one small round POLYP", "polyps", "Red polyp, located in the left of the image", "a  polyp"]
ids = tokenizer(texts, padding="max_length", max_length=context, truncation=True, return_tensors="pt")["input_ids"]

model = model.double()
torch.manual_seed(6)
pixels = torch.randn(len(texts), 3, size, size, dtype=torch.float64)
results = {"pixel_values": pixels.float(), "input_ids": ids}


def run(prefix, shift, parameters):
    logits = model(results["pixel_values"].double(), ids, shift)
    weight = wave(logits.shape, 0.11)
    for parameter in parameters.values():
        parameter.grad = None
    (logits * weight).sum().backward()
    results[f"{prefix}.logits"] = logits.detach().float()
    for name, parameter in parameters.items():
        if parameter.grad is not None and parameter.grad.abs().max() > 0:
            results[f"{prefix}.grad.{name}"] = parameter.grad.float().contiguous()
    print(prefix, "logits", logits.std().item(), "largest", logits.abs().max().item())


base = dict(model.named_parameters())
run("default", 0, base)
if args.full:
    # The towers' gradients are 800 MB; those of the decoder and of the towers' ends are enough.
    kept = ("decoder.", "visual.trunk.patch_embed.", "visual.trunk.blocks.0.", "text.transformer.encoder.layer.0.", "text.proj")
    results = {name: tensor for name, tensor in results.items() if ".grad." not in name or name.split(".grad.")[1].startswith(kept)}
run("published", 1, {name: value for name, value in base.items() if name.startswith("decoder.")} if args.full else base)

if not args.full:
    torch.manual_seed(7)
    adapters = {}

    def hang(module, name, width, hidden):
        block = nn.Module()
        block.fc1, block.fc2 = nn.Linear(width, hidden).double(), nn.Linear(hidden, width).double()
        for key, value in block.named_parameters():
            adapters[f"{name}.{key}"] = value

        def hook(_module, _inputs, x):
            return x + block.fc2(block.fc1(x).relu()).relu()

        module.register_forward_hook(hook)

    # In both towers, the number of adapted layers is the deepest published tap.
    for index in range(10):
        block = model.visual.trunk.blocks[index]
        hang(block.attn, f"v_attn_adapters.{index}", width, 4)
        hang(block.mlp, f"v_out_adapters.{index}", width, 4)
        layer = model.text.transformer.encoder.layer[index]
        hang(layer.attention.output.dense, f"l_attn_adapters.{index}", bert["hidden_size"], 4)
        hang(layer.output.dense, f"l_out_adapters.{index}", bert["hidden_size"], 4)
    hang(model.text, "cond_adapter", embed, 6)
    # Runs with the values as they are stored.
    for value in adapters.values():
        value.data = value.data.float().double()
    save_file({name: value.detach().float().contiguous() for name, value in adapters.items()}, args.folder / "dense_vlc.init.safetensors")
    run("dense_vlc", 1, adapters)

save_file(results, args.folder / "expected.safetensors")
