"""Writes a CLIP of open_clip with random weights, and its embeddings.

    pip install torch==2.15 open_clip_torch==3.3 safetensors
    python scripts/reference/make_open_clip.py fixtures/open_clip           # small, without QuickGELU
    python scripts/reference/make_open_clip.py FOLDER ViT-B-16-quickgelu     # a model of open_clip, at its full size

- `open_clip_config.json`, `open_clip_model.safetensors`: as open_clip's repositories on the hub have them.
- `batch.safetensors`: pixels of three images, and ids of five prompts.
- `expected.safetensors`: `encode_image` and `encode_text`, both normalised, and `logit_scale`.
"""

import json
import sys
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
SMALL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "patch_size": 8, "head_width": 16, "mlp_ratio": 1.5},
    "text_cfg": {"context_length": 16, "vocab_size": 60, "width": 24, "heads": 2, "layers": 3, "mlp_ratio": 2.0},
}
config = open_clip.get_model_config(sys.argv[2]) if len(sys.argv) > 2 else SMALL
model = open_clip.CLIP(**config).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        # Biases and norms that start at 0 and 1 would hide mistakes.
        if parameter.ndim == 1:
            parameter += 0.1 * torch.randn_like(parameter)
    model.logit_scale.fill_(2.0)
save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "attn_mask"},
          out / "open_clip_model.safetensors", metadata={"format": "pt"})
file = {"model_cfg": config, "preprocess_cfg": {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD)}}
(out / "open_clip_config.json").write_text(json.dumps(file, indent=2) + "\n")

side, vocabulary = config["vision_cfg"]["image_size"], config["text_cfg"]["vocab_size"]
context = config["text_cfg"]["context_length"]
pixels = torch.randn(3, 3, side, side)
ids = torch.zeros(5, context, dtype=torch.int64)
for row, length in enumerate([3, 5, 9, 12, context]):
    ids[row, 0] = vocabulary - 2
    ids[row, 1 : length - 1] = torch.randint(1, vocabulary - 2, (length - 2,))
    ids[row, length - 1] = vocabulary - 1  # Text is pooled at the largest id.
with torch.no_grad():
    expected = {
        "image_embeddings": model.encode_image(pixels, normalize=True),
        "text_embeddings": model.encode_text(ids, normalize=True),
        "logit_scale": model.logit_scale.exp().reshape(1),
    }
save_file({"pixel_values": pixels, "input_ids": ids}, out / "batch.safetensors")
save_file(expected, out / "expected.safetensors")
