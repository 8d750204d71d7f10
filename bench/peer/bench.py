"""One measurement of the PyTorch program, printed as one line of JSON; see README.md in this folder for calls.

A process measures one case, so that its peak resident memory is that of the case.
"""

import argparse
import json
import os
import random
import resource
import statistics
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, get_args

import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

from images import normalised
from model import BFloat16, Improved, Method, Published, Segmenter
from text import tokenized

SEED = 42
PROMPTS = Path(__file__).parent.parent / "prompts.txt"
EPOCH_IMAGES = 100


def train(args: argparse.Namespace, model: Segmenter, tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """Training steps on random pixels and masks, after a warm-up step.

    The batch has `--batch` images and cycles through the first `--prompts` prompts.
    """
    # Imported here, as importing MONAI takes seconds and inference does not need it.
    from training import Trainer

    side = image_side(args.base)
    batch = tokenized(tokenizer, list(islice(cycle(prompts(args)), args.batch)))
    batch["pixel_values"] = torch.randn(args.batch, 3, side, side)
    mask = torch.randint(0, 2, (args.batch, 1, side, side)).float()
    trainer = Trainer(model.train())
    losses, seconds = zip(*(timed(lambda: trainer.step(batch, mask)) for _ in range(1 + args.steps)))
    return {
        "seconds_per_image": statistics.median(seconds[1:]) / args.batch,
        "step_seconds": seconds[1:],
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def infer(args: argparse.Namespace, model: Segmenter, tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """Logits of one image of random pixels with `--prompts` prompts, after a warm-up call.

    The published way needs as many images as prompts, so the image is repeated.
    """
    side = image_side(args.base)
    batch = tokenized(tokenizer, prompts(args))
    batch["pixel_values"] = torch.randn(1, 3, side, side)
    if args.way == "published":
        batch["pixel_values"] = batch["pixel_values"].repeat(args.prompts, 1, 1, 1)
    model.eval()
    with torch.inference_mode():
        seconds = [timed(lambda: model(**batch))[1] for _ in range(1 + args.steps)]
    return {"seconds_per_call": statistics.median(seconds[1:]), "call_seconds": seconds[1:]}


def epochs(args: argparse.Namespace, model: Segmenter, tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """`--steps` epochs over the first training images of `--data`, each with its mean loss."""
    from training import ImageTextMasks, Trainer

    samples = ImageTextMasks(args.data, tokenizer, image_side(args.base), EPOCH_IMAGES)
    loader = DataLoader(samples, batch_size=args.batch, shuffle=True)
    trainer = Trainer(model.train())

    def epoch() -> float:
        return statistics.fmean(trainer.step(batch, mask) for batch, mask in loader)

    losses, seconds = zip(*(timed(epoch) for _ in range(args.steps)))
    return {"images": len(samples), "epoch_seconds": seconds, "epoch_losses": losses}


def first_mask(args: argparse.Namespace, model: Segmenter, tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """Seconds from the start of the process, including imports, to the mask of `--image` at the image's size."""
    image = Image.open(args.image)
    batch = tokenized(tokenizer, prompts(args)[:1])
    batch["pixel_values"] = normalised(image, image_side(args.base))[None]
    model.eval()
    with torch.inference_mode():
        mask = F.interpolate(model(**batch).sigmoid(), size=(image.height, image.width)) > 0.5
    return {"seconds_to_first_mask": process_age(), "foreground": mask.float().mean().item()}


CASES = {"train": train, "infer": infer, "epochs": epochs, "first-mask": first_mask}
WAYS = {"published": Published, "improved": Improved, "compiled": Improved, "bf16": BFloat16}


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    random.seed(SEED)
    torch.manual_seed(SEED)
    model = WAYS[args.way](CLIPSegForImageSegmentation.from_pretrained(args.base), args.method)
    if args.way == "compiled":
        model.compile()
    tokenizer = CLIPTokenizer.from_pretrained(args.base)
    loading = peak_bytes()
    # While loading, the weights are briefly in memory twice, which can exceed the peak of the case itself.
    forget_peak()
    result = CASES[args.case](args, model, tokenizer)
    case = {name: getattr(args, name) for name in ("way", "case", "method", "batch", "prompts", "threads")}
    own = peak_bytes()
    print(json.dumps({**case, **result, "case_peak_bytes": own, "peak_bytes": max(loading, own)}))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of a CLIPSeg, with vocab.json and merges.txt")
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--method", choices=get_args(Method), required=True)
    parser.add_argument("--batch", type=int, default=1, help="images per training step")
    parser.add_argument("--prompts", type=int, help="number of prompts from bench/prompts.txt (default: --batch, at most all)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps, calls or epochs")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", type=Path, help="case epochs: folder with images/, masks/ and anns/train.json")
    parser.add_argument("--image", type=Path, help="case first-mask")
    args = parser.parse_args()
    available = len(PROMPTS.read_text().splitlines())
    args.prompts = args.prompts or min(args.batch, available)
    if args.prompts > available:
        parser.error(f"--prompts: {PROMPTS.name} has {available}")
    if args.method == "zero-shot" and args.case in ("train", "epochs"):
        parser.error("--method zero-shot trains nothing")
    for case, option in (("epochs", "data"), ("first-mask", "image")):
        if args.case == case and getattr(args, option) is None:
            parser.error(f"--case {case} needs --{option}")
    return args


def prompts(args: argparse.Namespace) -> list[str]:
    return PROMPTS.read_text().splitlines()[: args.prompts]


def image_side(base: Path) -> int:
    """Side of the square that the base's images are resized to."""
    return json.loads((base / "preprocessor_config.json").read_text())["size"]["height"]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def process_age() -> float:
    """Seconds since the start of this process, with a resolution of 0.01 s (Linux)."""
    started = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")


def peak_bytes() -> int:
    """Peak resident memory of this process since `forget_peak`, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def forget_peak() -> None:
    """Resets the peak resident memory to the current value (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
