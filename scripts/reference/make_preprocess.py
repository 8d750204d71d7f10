"""Writes images decoded, resized and normalised by Pillow and torchvision's arithmetic, for crates/vlsm-image/tests/pil.rs.

usage: pip install pillow numpy safetensors && python scripts/reference/make_preprocess.py fixtures/preprocess

torchvision's `Resize` of a PIL image is `Image.resize`, and `ToTensor` with `Normalize` is `(v / 255 - mean) / std` in
float32; both are written out here, so that torch is not needed.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def picture(width, height, seed, stripes=True):
    """Gradients, some noise, and stripes. JPEGs have no stripes, as decoders interpolate colour differently."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 255 * x / (width - 1)
    green = 127.5 + 127.5 * np.sin(x * y / 40 + seed)
    blue = 255 * ((x // 3 + y // 5) % 2) if stripes else 255 * y / (height - 1)
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    return np.clip(np.stack([red, green, blue], -1) + noise, 0, 255).astype(np.uint8)


def main(out):
    tensors, index = {}, []
    for number, (width, height, name, sizes) in enumerate(
        [(61, 47, "0.png", (24, 96)), (40, 56, "1.jpg", (24, 57)), (90, 33, "2.png", (24, 31))]
    ):
        image = Image.fromarray(picture(width, height, number, not name.endswith("jpg")))
        image.save(out / name, **({"quality": 92} if name.endswith("jpg") else {}))
        image = Image.open(out / name).convert("RGB")
        index.append({"id": number, "file": name, "size": [width, height]})
        tensors[f"{number}.decoded_u8"] = np.asarray(image)
        for size in sizes:
            resized = np.asarray(image.resize((size, size), Image.BILINEAR))
            tensors[f"{number}.{size}.resized_u8"] = resized.transpose(2, 0, 1).copy()
        resized = np.asarray(image.resize((24, 24), Image.BILINEAR)).astype(np.float32)
        normalised = (resized / np.float32(255) - MEAN) / STD
        tensors[f"{number}.24.normalized"] = normalised.transpose(2, 0, 1).astype(np.float32).copy()
    y, x = np.mgrid[0:35, 0:45]
    ring = ((x - 20) ** 2 / 9 + (y - 16) ** 2 / 6 < 20) & ((x - 18) ** 2 + (y - 15) ** 2 > 12)
    Image.fromarray((255 * ring).astype(np.uint8)).save(out / "mask.png")
    index.append({"id": "mask", "file": "mask.png"})
    mask = Image.open(out / "mask.png").convert("L")
    for size in (24, 67, 96):
        resized = np.asarray(mask.resize((size, size), Image.NEAREST)).astype(np.float32) / 255
        tensors[f"mask.{size}"] = resized[None].copy()
    save_file(tensors, out / "expected.safetensors")
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n")


main(Path(sys.argv[1]))
