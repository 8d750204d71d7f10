"""The largest difference between the logits of `vlsm model forward` and the published code's: `compare.py OURS EXPECTED`."""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ours, expected = sys.argv[1:]
theirs = load_file(expected)["logits"]
values = load_file(ours)["logits"].reshape(theirs.shape)
print(f"{Path(ours).stem}: {np.abs(values - theirs).max():.2e} at a spread of {theirs.std():.2e}")
