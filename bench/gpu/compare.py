"""The largest difference of results on a card from a reference's.

`compare.py OURS EXPECTED` compares the logits of `vlsm model forward` with the published code's, `--losses` the metrics of two
runs step by step, `--predictions` the CSV files of two calls of `vlsm predict`.
"""

import csv
import json
import sys
from pathlib import Path


def logits(ours: str, expected: str) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    theirs = load_file(expected)["logits"]
    values = load_file(ours)["logits"].reshape(theirs.shape)
    print(f"{Path(ours).stem}: {np.abs(values - theirs).max():.2e} at a spread of {theirs.std():.2e}")


def losses(ours: str, expected: str) -> None:
    def read(path: str) -> list[float]:
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        return [line["loss"] for line in lines if "loss" in line and "step" in line]

    pairs = list(zip(read(ours), read(expected), strict=False))
    differences = [abs(a - b) for a, b in pairs]
    print(f"losses of {len(pairs)} steps differ by at most {max(differences):.2e}; the last is {pairs[-1][0]:.5f}, {pairs[-1][1]:.5f} on the CPU")


def predictions(ours: str, expected: str) -> None:
    def read(path: str) -> list[dict]:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    worst: dict[str, float] = {}
    for a, b in zip(read(ours), read(expected), strict=True):
        for key in a:
            try:
                worst[key] = max(worst.get(key, 0.0), abs(float(a[key]) - float(b[key])))
            except ValueError:
                continue
    print("predictions differ by at most " + ", ".join(f"{value:.2e} in {key}" for key, value in worst.items()))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--losses", first, second]:
            losses(first, second)
        case ["--predictions", first, second]:
            predictions(first, second)
        case [first, second]:
            logits(first, second)
        case _:
            sys.exit(__doc__)
