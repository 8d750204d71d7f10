"""Writes a CRIS with random weights and the published code's outputs for a batch: states of the towers, maps of neck and
decoder, logits, and the gradients of a loss. All are computed twice: with the batch normalisations' running statistics, and
with batch statistics, which also update the running ones.

CHECKOUT is a clone of https://github.com/naamiinepal/vlsm-adapter (its `src/models/cris` is DerrickWang005/CRIS.pytorch
with the logits resized inside the model); none of it is copied here. With `--full` the model has the published size (RN50,
416 pixels) and takes about 1.5 GB, so use a folder outside the repository. Training is then computed in f64: with the
statistics of four images, rounding to f32 alone changes logits by 8e-4 of their spread and gradients by 4e-2 of their norm.

    pip install torch==2.5.1 safetensors "numpy<2"
    python scripts/reference/make_cris.py CHECKOUT fixtures/cris
    python scripts/reference/make_cris.py CHECKOUT FOLDER --full
"""

import argparse
import json
import pathlib
import sys
import tempfile

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

arguments = argparse.ArgumentParser()
arguments.add_argument("checkout", type=pathlib.Path)
arguments.add_argument("folder", type=pathlib.Path)
arguments.add_argument("--full", action="store_true")
arguments = arguments.parse_args()
sys.path.insert(0, str(arguments.checkout / "src/models"))
from cris import clip, segmenter  # noqa: E402
from cris.clip import CLIP  # noqa: E402

folder = arguments.folder
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(5)

if arguments.full:
    vision = dict(layers=[3, 4, 6, 3], width=64, image_size=224, heads=32)
    text = dict(vocab_size=49408, hidden_size=512, intermediate_size=2048, num_hidden_layers=12,
                num_attention_heads=8, max_position_embeddings=77, bos_token_id=49406, eos_token_id=49407,
                pad_token_id=49407)
    config = dict(projection_dim=1024, fpn_out=[256, 512, 1024], decoder_layers=3, decoder_heads=8,
                  decoder_hidden=2048, image_size=416, context_length=77)
    prompts = [[320, 786, 17978, 1042], [320, 2442, 0, 533, 518, 1579, 1823], [10000],
               [736, 11, 32, 20000, 40000, 5, 7, 91, 2203, 3, 30000]]
else:
    vision = dict(layers=[1, 2, 1, 1], width=4, image_size=96, heads=2)
    text = dict(vocab_size=40, hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                max_position_embeddings=12, bos_token_id=38, eos_token_id=39, pad_token_id=39)
    config = dict(projection_dim=20, fpn_out=[8, 16, 24], decoder_layers=2, decoder_heads=2, decoder_hidden=32,
                  image_size=64, context_length=10)
    # One of them has token 0, which the published code treats as padding.
    prompts = [[5, 9, 11], [7, 0, 3, 21, 30], [12], [4, 4, 8, 17, 33, 2, 29]]
side, length = config["image_size"], config["context_length"]


class Holder(torch.nn.Module):
    """Holds tensors under the names of a state dict, for a TorchScript archive such as OpenAI's."""

    def forward(self, x):
        return x

    def put(self, name, tensor):
        head, _, rest = name.partition(".")
        if not rest:
            if tensor.is_floating_point():
                self.register_parameter(head, torch.nn.Parameter(tensor))
            else:
                self.register_buffer(head, tensor)
            return
        if head not in self._modules:
            self.add_module(head, Holder())
        self._modules[head].put(rest, tensor)


def build(state, word_len):
    """The published CLIP, with the heads of this configuration: the published builder only supports heads of width 64."""
    built = CLIP(config["projection_dim"], vision["image_size"], tuple(vision["layers"]), vision["width"], None,
                text["max_position_embeddings"], word_len, text["vocab_size"], text["hidden_size"],
                text["num_attention_heads"], text["num_hidden_layers"])
    assert built.visual.attnpool.num_heads == vision["heads"]
    built.load_state_dict(state, strict=False)
    return built.eval()


blank = CLIP(config["projection_dim"], vision["image_size"], tuple(vision["layers"]), vision["width"], None,
             text["max_position_embeddings"], length, text["vocab_size"], text["hidden_size"],
             text["num_attention_heads"], text["num_hidden_layers"])
segmenter.build_model = build
with tempfile.TemporaryDirectory() as temporary:
    archive = f"{temporary}/clip.pt"
    holder = Holder()
    for name, tensor in blank.state_dict().items():
        # CLIP archives have no CRIS layers, and store their weights in 16 bits.
        if ".connect." not in name:
            holder.put(name, tensor.half() if tensor.is_floating_point() else tensor)
    torch.jit.script(holder).save(archive)
    net = segmenter.CRIS(
        archive, length, [8 * vision["width"], 16 * vision["width"], config["projection_dim"]], config["fpn_out"],
        config["fpn_out"][1], config["projection_dim"], config["decoder_layers"], config["decoder_heads"],
        config["decoder_hidden"], 0.0, False, side, freeze_encoder=False)

# No value is 0 or 1, so that leaving a tensor out changes the results; all are exact in 16 bits, so that files are small.
with torch.no_grad():
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        elif name.endswith("running_mean") or tensor.dim() < 2:
            # A normalisation's scale is the only vector named `weight`.
            tensor.copy_(0.1 * torch.randn_like(tensor) + float(name.endswith("weight")))
        tensor.copy_(tensor.half().float())
state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
kept = torch.float16
save_file({n: t.to(kept) if t.is_floating_point() else t for n, t in state.items()}, folder / "model.safetensors")
(folder / "config.json").write_text(json.dumps({
    "model_type": "cris", "vision_config": vision, "text_config": text, **config, "dropout": 0.0,
}, indent=1) + "\n")


def padded(prompts, pad):
    whole = [[text["bos_token_id"], *prompt, text["eos_token_id"]] for prompt in prompts]
    return torch.tensor([ids + [pad] * (length - len(ids)) for ids in whole])


count = len(prompts)
bytes_ = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
pixels = (bytes_.float() / 255 - 0.5) / 0.25
rows = torch.arange(side)
mask = torch.stack([((rows[:, None] - side / 2) ** 2 + (rows - side / (3 + i)) ** 2 < (side / (2 + i)) ** 2)
                    for i in range(count)]).to(torch.uint8)
# The VLSM papers mask only token 0. CRIS masks the padding (token 0), so no prompt may have token 0.
paper_ids = padded(prompts, text["eos_token_id"])
masked_ids = padded([[i or 1 for i in prompt] for prompt in prompts], 0)
save_file({"pixels": bytes_, "mask": mask, "paper_ids": paper_ids, "masked_ids": masked_ids}, folder / "batch.safetensors")


def loss_of(logits):
    """1.5 Dice + cross entropy of the logits."""
    target = mask.to(logits.dtype).flatten(1)
    logits = logits.flatten(1)
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum(1) + 1e-5) / (p.sum(1) + target.sum(1) + 1e-5)
    return 1.5 * dice.mean() + F.binary_cross_entropy_with_logits(logits, target)


def run(ids, want_states):
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)
    states = {}

    def keep(name):
        def hook(_module, _inputs, output):
            outputs = output if isinstance(output, tuple) else (output,)
            for index, tensor in enumerate(outputs):
                states[f"{name}.{index}" if len(outputs) > 1 else name] = tensor.detach().clone()
        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in
             [("taps", net.backbone.visual), ("neck", net.neck), ("decoder", net.decoder), ("proj", net.proj)]]
    logits = net(pixels.to(next(net.parameters()).dtype), ids)
    for hook in hooks:
        hook.remove()
    loss = loss_of(logits)
    loss.backward()
    kept = {"logits": logits.detach()[:, 0].contiguous(), "loss": loss.detach()}
    if want_states:
        words, pooled = net.backbone.encode_text(ids)
        kept.update(states, words=words.detach(), state=pooled.detach())
    gradients = {f"grad.{n}": p.grad for n, p in net.named_parameters() if p.grad is not None}
    statistics = {n: t for n, t in net.state_dict().items() if n.endswith(("running_mean", "running_var"))}
    return kept, gradients, statistics


report = {"parameters": sum(p.numel() for p in net.parameters())}
for name, training, ids in [("eval", False, masked_ids), ("paper", False, paper_ids), ("train", True, masked_ids)]:
    net.train(training)
    if training and arguments.full:
        # CLIP's own layer normalisation computes in f32.
        clip.LayerNorm.forward = torch.nn.LayerNorm.forward
        net.double()
    kept, gradients, statistics = run(ids, name == "eval")
    if name != "paper":
        kept.update(gradients)
    if name == "train":
        kept.update(statistics)
        if not arguments.full:
            # These three are the largest, and are computed in the same way in both modes.
            for part in "qkv":
                del kept[f"grad.backbone.visual.attnpool.{part}_proj.weight"]
        report["without_gradient"] = [n for n, p in net.named_parameters() if p.grad is None]
    save_file({n: t.float().contiguous() for n, t in kept.items()}, folder / f"{name}.expected.safetensors")
    report[f"{name}_loss"] = float(kept["loss"])
    report[f"{name}_logits"] = [float(kept["logits"].mean()), float(kept["logits"].std())]
(folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
print(json.dumps(report))
