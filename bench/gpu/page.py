"""Writes RESULTS-<card>.md from the numbers that run.sh left in a folder: `page.py FOLDER`."""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])


def text(name: str) -> str:
    path = folder / f"{name}.txt"
    return path.read_text() if path.exists() else ""


def records(name: str) -> list[dict]:
    found = []
    for line in text(name).splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


device = text("device").splitlines() or ["unknown card"]
card = device[0].split(",")[0]
steps: dict[tuple[str, int], float] = {}
for name, label in (("unfused", "vlsm, f32 (TF32 products), not fused"), ("dense", "vlsm, f32 (TF32 products)"), ("bf16", "vlsm, bf16 towers")):
    for record in records(name):
        if "seconds_per_image" in record:
            steps[label, record["batch"]] = record["seconds_per_image"]
for record in records("pytorch") + records("compile"):
    if "seconds_per_image" in record:
        label = f"PyTorch, {record['precision']}" + (", compiled" if record.get("compiled") else "")
        steps[label, record["batch"]] = record["seconds_per_image"]
products: dict[tuple[str, str], dict[str, float]] = {}
for name, label in (("phases", "vlsm"), ("pytorch", "PyTorch")):
    for record in records(name):
        if "product" in record:
            key = record["product"], record["dtype"].lower().replace("torch.", "").replace("float32", "f32").replace("bfloat16", "bf16")
            products.setdefault(key, {})[label] = record["operations_per_second"] / 1e12

lines = [f"# On an {card}", "", *[f"    {line}" for line in device], "", "Made by `bench/gpu/run.sh`.", ""]
if steps:
    sizes = sorted({batch for _, batch in steps})
    lines += ["Seconds per image of a dense training step, CLIPSeg base size, 352 px, by batch size:", ""]
    lines += ["| | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
    for label in dict.fromkeys(label for label, _ in steps):
        cells = [f"{steps[label, size]:.4f}" if (label, size) in steps else "not measured" for size in sizes]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines.append("")
if products:
    lines += ["Products at batch 32, in 10^12 operations per second:", "", "| product | type | vlsm | PyTorch |", "|---|---|---|---|"]
    for (name, dtype), rates in products.items():
        cells = [f"{rates[label]:.0f}" if label in rates else "not measured" for label in ("vlsm", "PyTorch")]
        lines.append(f"| {name} | {dtype} | {cells[0]} | {cells[1]} |")
    lines.append("")
for record in records("phases"):
    if record.get("phases"):
        parts = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in record["phases"].items())
        lines += [f"Phases at batch {record['batch']}, in ms, each waited for: {parts}.", ""]
for name, title in (("fixtures", "Logits compared with the published code's"), ("predict", "Predictions on the card compared with the CPU's"), ("training", "A small training on the card compared with the CPU's")):
    if text(name):
        lines += [title + ":", "", *[f"    {line}" for line in text(name).splitlines()], ""]
page = folder / f"RESULTS-{card.lower().replace(' ', '-')}.md"
page.write_text("\n".join(lines))
print(page.read_text())
