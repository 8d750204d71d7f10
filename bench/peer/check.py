"""Checks that both ways compute the published code's numbers, so that the timings are of the same computation.

    python bench/peer/check.py

Logits must agree within 1e-4, the whole gradient within 1e-3 of its norm, ten training losses within 3e-5, token ids
exactly. The fixtures are those of the Rust tests. A tighter bound on losses would fail, as ten steps of AdamW amplify
rounding (with another PyTorch the published arithmetic itself differs by up to 2e-5). Gradients are not compared one by
one, as a ReLU input that is zero up to rounding changes the smallest by 5e-3.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from monai.losses import DiceCELoss
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

from model import Improved, Method, Published, Segmenter
from text import tokenized, write_vocabulary
from training import Trainer

FIXTURES = Path(__file__).parents[2] / "fixtures"
BASE = FIXTURES / "clipseg/tiny_refined"
BOTTLENECKS = {"dense": 8, "shallow": 24}  # of the fixtures' adapters


def main() -> None:
    batch = load_file(BASE / "batch.safetensors")
    mask = batch.pop("mask")
    report = json.loads((BASE / "report.json").read_text())
    checks = [("CLIP token ids", token_difference(), 0.0)]
    for way in (Published, Improved):
        expected = load_file(BASE / "base.expected.safetensors")["logits"]
        with torch.inference_mode():
            logits = load(way, "zero-shot")(**batch)
        checks.append((f"{way.__name__} zero-shot logits", difference(logits, expected), 1e-4))
        # The published code's "full" trains the decoder alone.
        for method, fixture in (("dense", "dense_vlc"), ("shallow", "shallow_vlc"), ("decoder", "full")):
            checks += check_training(way, method, fixture, batch, mask, report[fixture]["losses"])
        checks.append(check_end_to_end(way, batch, mask))
    checks.append(("Improved one image, many prompts", one_image_difference(batch), 1e-4))
    for name, found, allowed in checks:
        print(f"{'ok' if found <= allowed else 'WRONG':5} {name}: {found:.1e} (at most {allowed:.0e})")
    wrong = sum(not found <= allowed for _, found, allowed in checks)
    print(f"{len(checks) - wrong} passed, {wrong} failed")
    sys.exit(wrong > 0)


def check_training(
    way: type[Segmenter], method: Method, fixture: str, batch: dict[str, Tensor], mask: Tensor, losses: list[float]
) -> list[tuple[str, float, float]]:
    """Initial logits and gradients, and ten losses."""
    name = f"{way.__name__} {method}"
    expected = load_file(BASE / f"{fixture}.expected.safetensors")
    model = load(way, method)
    if method != "decoder":
        adapters = load_file(BASE / f"{fixture}.init.safetensors")
        assert adapters.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
        model.load_state_dict(adapters, strict=False)
    trainer = Trainer(model)
    logits = model(**batch)
    trainer.loss(logits.sigmoid(), mask).backward()
    gradient = gradient_difference(model, expected)
    found = [trainer.step(batch, mask) for _ in losses]
    return [
        (f"{name} logits", difference(logits, expected["logits"]), 1e-4),
        (f"{name} gradient", gradient, 1e-3),
        (f"{name} losses", difference(torch.tensor(found), torch.tensor(losses)), 3e-5),
    ]


def check_end_to_end(way: type[Segmenter], batch: dict[str, Tensor], mask: Tensor) -> tuple[str, float, float]:
    """Gradient of `full`; the fixture's cross entropy is computed from logits."""
    model = load(way, "full")
    DiceCELoss(sigmoid=True, lambda_dice=1.5)(model(**batch), mask).backward()
    expected = load_file(BASE / "end_to_end.expected.safetensors")
    return f"{way.__name__} full gradient", gradient_difference(model, expected), 1e-3


def one_image_difference(batch: dict[str, Tensor]) -> float:
    """One image for all prompts, compared with the published way, which repeats the image."""
    one = {**batch, "pixel_values": batch["pixel_values"][:1]}
    repeated = {**batch, "pixel_values": one["pixel_values"].repeat(len(batch["input_ids"]), 1, 1, 1)}
    with torch.inference_mode():
        return difference(load(Improved, "zero-shot")(**one), load(Published, "zero-shot")(**repeated))


def load(way: type[Segmenter], method: Method) -> Segmenter:
    clipseg = CLIPSegForImageSegmentation(CLIPSegConfig.from_pretrained(BASE))
    clipseg.load_state_dict(load_file(BASE / "model.safetensors"))
    return way(clipseg, method, BOTTLENECKS.get(method))


def gradient_difference(model: Segmenter, expected: dict[str, Tensor]) -> float:
    """Distance of the trained parameters' gradients as one vector, relative to the norm of the expected vector."""
    distance = norm = 0.0
    for name, parameter in model.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        wanted = expected.get(f"grad.{name}", torch.zeros_like(parameter))
        distance += (found - wanted).square().sum().item()
        norm += wanted.square().sum().item()
    return (distance / norm) ** 0.5


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def token_difference() -> float:
    """Number of the fixture's prompts whose token ids differ from CLIP's.

    One prompt is left out for its HTML entity, which CLIP's tokenizer decodes and Transformers' does not.
    """
    items = json.loads((FIXTURES / "text/clip_tokens.json").read_text())["items"]
    items = [item for item in items if "&amp;" not in item["text"]]
    with tempfile.TemporaryDirectory() as folder:
        write_vocabulary(Path(folder))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    found = tokenized(tokenizer, [item["text"] for item in items])
    ids = [row[kept].tolist() for row, kept in zip(found["input_ids"], found["attention_mask"].bool())]
    return float(sum(row != item["ids"] for row, item in zip(ids, items)))


if __name__ == "__main__":
    main()
