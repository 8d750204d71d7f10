"""The largest difference of results on a card from a reference's.

`compare.py OURS EXPECTED` compares the logits of `vlsm model forward` with the published code's, `--losses` the metrics of two
runs step by step, `--predictions` the CSV files of two calls of `vlsm predict`. A difference above $MOST is called so.
"""

import csv
import json
import os
import sys
from pathlib import Path


def report(text: str, difference: float) -> None:
    most = float(os.environ.get("MOST", "inf"))
    # A comparison with NaN is false.
    print(text if difference <= most else f"{text}: above {most:.0e}")


def logits(ours: str, expected: str) -> None:
    import numpy as np
    from safetensors.numpy import load_file

    theirs = load_file(expected)["logits"]
    values = load_file(ours)["logits"].reshape(theirs.shape)
    difference = np.abs(values - theirs).max()
    report(f"{Path(ours).stem}: {difference:.2e} at a spread of {theirs.std():.2e}", difference)


def losses(ours: str, expected: str) -> None:
    def read(path: str) -> list[float]:
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        return [line["loss"] for line in lines if "loss" in line and "step" in line]

    pairs = list(zip(read(ours), read(expected), strict=False))
    differences = [abs(a - b) for a, b in pairs]
    difference, (last, on_cpu) = max(differences), pairs[-1]
    report(f"losses of {len(pairs)} steps differ by at most {difference:.2e}; the last is {last:.5f}, {on_cpu:.5f} on the CPU", difference)


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
    differences = ", ".join(f"{value:.2e} in {key}" for key, value in worst.items())
    report(f"predictions differ by at most {differences}", max(worst.values()))


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
