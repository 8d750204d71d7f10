"""Writes the gradients of a CLIPSeg trained truly end to end, in f64.

Transformers runs both encoders under `no_grad`; here gradients are enabled. The loss is DiceCE with
cross entropy computed from logits (profile `default`).

    pip install torch==2.3.1 transformers==4.41.2 safetensors "numpy<2"
    python scripts/reference/make_end_to_end_gradients.py fixtures/clipseg/tiny_refined
"""

import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

folder = sys.argv[1]
config = CLIPSegConfig.from_pretrained(folder)
model = CLIPSegForImageSegmentation(config)
model.load_state_dict(load_file(f"{folder}/model.safetensors"))
model = model.double()
batch = load_file(f"{folder}/batch.safetensors")
ids, target = batch["input_ids"], batch["mask"].double()[:, 0]

# Runs the text tower layer by layer: Transformers 4.41 cannot build its causal mask in f64.
text = model.clip.text_model
x = text.embeddings(input_ids=ids)
length = ids.shape[1]
mask = torch.full((length, length), -torch.inf, dtype=torch.float64).triu(1)
mask = mask.expand(len(ids), 1, length, length)
for layer in text.encoder.layers:
    x = layer(x, attention_mask=None, causal_attention_mask=mask)[0]
ends = (ids == config.text_config.eos_token_id).int().argmax(-1)
pooled = text.final_layer_norm(x)[torch.arange(len(ids)), ends]
conditional = model.clip.text_projection(pooled)

states = model.clip.vision_model(batch["pixel_values"].double(), output_hidden_states=True)
tapped = [states.hidden_states[i + 1] for i in config.extract_layers]
logits = model.decoder(tapped, conditional).logits.view_as(target)

p = logits.sigmoid().flatten(1)
t = target.flatten(1)
dice = 1 - (2 * (p * t).sum(1) + 1e-5) / (p.sum(1) + t.sum(1) + 1e-5)
entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
loss = 1.5 * dice.mean() + entropy
loss.backward()

gradients = {
    f"grad.clipseg.{name}": parameter.grad.float().contiguous()
    for name, parameter in model.named_parameters()
    if parameter.grad is not None and parameter.grad.abs().max() > 0
}
gradients["loss"] = loss.detach().float()
save_file(gradients, f"{folder}/end_to_end.expected.safetensors")
print(len(gradients) - 1, "gradients, loss", loss.item())
