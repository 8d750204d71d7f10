"""Writes a very small CLIPSeg whose configuration is as unusual as possible, as
`pytorch_model.bin`, with Transformers' logits for a batch: `gelu`, taps out of order, the text
pooled at the largest id (`eos_token_id` 2), patches of 8, tower settings repeated in `*_dict`.

    pip install torch==2.3.1 transformers==4.41.2 safetensors "numpy<2"
    python scripts/reference/make_odd_base.py crates/vlsm-models/tests/data/odd_base
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(3)
text = dict(
    vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
    num_attention_heads=2, max_position_embeddings=10, hidden_act="gelu",
    bos_token_id=0, eos_token_id=2, pad_token_id=1, layer_norm_eps=1e-3,
)
vision = dict(
    hidden_size=16, intermediate_size=32, num_hidden_layers=4, num_attention_heads=4,
    image_size=32, patch_size=8, hidden_act="gelu", layer_norm_eps=1e-4,
)
settings = dict(
    projection_dim=12, extract_layers=[0, 2, 1], reduce_dim=8, conditional_layer=2,
    decoder_num_attention_heads=2, decoder_intermediate_size=20,
    use_complex_transposed_convolution=False, initializer_factor=3.0,
)
config = CLIPSegConfig(text_config=text, vision_config=vision, **settings)
model = CLIPSegForImageSegmentation(config).eval()
state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
for name, tensor in state.items():
    if name.endswith("bias") or "layer_norm" in name or "layrnorm" in name:
        tensor += 0.1 * torch.randn_like(tensor)
# Older versions of Transformers saved these buffers too.
state["clip.text_model.embeddings.position_ids"] = torch.arange(10)[None]
state["clip.vision_model.embeddings.position_ids"] = torch.arange(17)[None]
model.load_state_dict(state, strict=False)
torch.save(state, folder / "pytorch_model.bin")
(folder / "config.json").write_text(json.dumps({
    "model_type": "clipseg", **settings,
    "text_config": {}, "text_config_dict": text,
    "vision_config": vision, "vision_config_dict": None,
}, indent=1))
ids = torch.tensor([[60, 5, 7, 63, 63, 63], [60, 9, 63, 63, 63, 63], [60, 1, 2, 3, 4, 63]])
pixels = torch.randn(3, 3, 48, 48)
with torch.no_grad():
    outputs = model(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids))
save_file(
    {"pixel_values": pixels, "input_ids": ids, "logits": outputs.logits.contiguous()},
    folder / "batch.safetensors",
)
print(outputs.logits.shape, outputs.logits.abs().max())
