"""Loads what `vlsm model export` writes of a CLIPSeg into Transformers' class, with no missing and no unexpected key, and
compares the logits with those of `vlsm model forward`.

    pip install torch transformers safetensors
    vlsm model export fixtures/clipseg/tiny_refined -o exported.safetensors
    vlsm model forward --base fixtures/clipseg/tiny_refined --batch fixtures/clipseg/tiny_refined/batch.safetensors -o logits.safetensors
    python scripts/reference/check_export.py fixtures/clipseg/tiny_refined exported.safetensors logits.safetensors
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

folder, exported, logits = sys.argv[1:]
model = CLIPSegForImageSegmentation(CLIPSegConfig.from_pretrained(folder)).eval()
print(model.load_state_dict(load_file(exported), strict=True))
batch = load_file(Path(folder) / "batch.safetensors")
inputs = {name: batch[name] for name in ["pixel_values", "input_ids", "attention_mask"]}
with torch.no_grad():
    expected = model(**inputs).logits
found = load_file(logits)["logits"].squeeze(1)
print("largest difference", (found - expected).abs().max().item(), "of a spread of", expected.std().item())
