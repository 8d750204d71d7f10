"""Writes a small CLIP with random weights and what Transformers makes of it, crops of segments, and losses: fixtures/clip.

    pip install torch==2.15 transformers==5.24 safetensors pillow
    python scripts/reference/make_clip.py fixtures/clip

- `config.json`, `model.safetensors`, `preprocessor_config.json`: a `CLIPModel` as Transformers writes it.
- `batch.safetensors`: pixels of three images, and ids of seven prompts, five classes and two negatives.
- `expected.safetensors`: the projected embeddings of both towers and `logits_per_image`, by `CLIPModel`; and for learnt tokens
  (`vision_tokens`, `text_tokens`, both deep) the losses of OpenDAS's two stages and their gradients at the tokens, in f64.
- `image.png`, `mask.png`, `crops.safetensors`: OVSeg's rule for the segments of an image, written from its paper's description
  with PyTorch's `interpolate`: each 13th row and column of the normalised crops of 224 pixels.
"""

import json
import sys
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)

# --- The model ---------------------------------------------------------------------------------------------------------
WIDTH, LAYERS, IMAGE = 32, 3, 32
config = CLIPConfig(
    vision_config=dict(
        hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=2,
        image_size=IMAGE, patch_size=8, projection_dim=24,
    ),
    text_config=dict(
        hidden_size=24, intermediate_size=40, num_hidden_layers=LAYERS, num_attention_heads=2, vocab_size=60,
        max_position_embeddings=16, bos_token_id=58, eos_token_id=59, pad_token_id=0, projection_dim=24,
    ),
    projection_dim=24,
)
config._attn_implementation = "eager"
model = CLIPModel(config).eval()
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            parameter += 0.2 * torch.randn_like(parameter)
        elif name == "logit_scale":
            parameter.fill_(2.0)
        else:
            parameter.copy_(torch.randn_like(parameter) * (1.5 * parameter.shape[-1] ** -0.5))
model.save_pretrained(out)
for file in out.glob("generation_config.json"):
    file.unlink()
# As OpenAI's repositories on the hub have it.
preprocessor = {
    "crop_size": IMAGE, "do_center_crop": True, "do_normalize": True, "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": {"shortest_edge": IMAGE},
}
(out / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")

# --- Embeddings --------------------------------------------------------------------------------------------------------
pixels = torch.randn(3, 3, IMAGE, IMAGE)
lengths = [3, 5, 2, 4, 3, 6, 4]
ids = torch.full((7, 8), 0)
for row, length in enumerate(lengths):
    ids[row, 0], ids[row, length + 1] = 58, 59
    ids[row, 1 : length + 1] = torch.randint(1, 58, (length,))
mask = (torch.arange(8) <= torch.tensor(lengths)[:, None] + 1).long()
save_file({"pixel_values": pixels, "input_ids": ids.int()}, out / "batch.safetensors")
with torch.no_grad():
    output = model(input_ids=ids, pixel_values=pixels, attention_mask=mask)
    vision = model.visual_projection(model.vision_model(pixels).pooler_output)
    text = model.text_projection(model.text_model(ids, attention_mask=mask).pooler_output)
expected = {"image_embeddings": vision, "text_embeddings": text, "logits_per_image": output.logits_per_image}

# --- Losses with learnt tokens -----------------------------------------------------------------------------------------
model = model.double()
DEPTH, TOKENS = 2, 2
vision_tokens = (0.5 * torch.randn(DEPTH, TOKENS, WIDTH)).double().requires_grad_()
text_tokens = (0.5 * torch.randn(DEPTH, TOKENS, 24)).double().requires_grad_()


def embed_images(tokens):
    tower = model.vision_model
    x = tower.embeddings(pixels.double())
    own = x.shape[1]
    for index, layer in enumerate(tower.encoder.layers):
        if index < DEPTH:
            x = torch.cat([x[:, :own], tokens[index].expand(len(x), -1, -1)], 1)
        if index == 0:
            x = tower.pre_layrnorm(x)
        x = layer(x, attention_mask=None)
    return F.normalize(model.visual_projection(tower.post_layernorm(x[:, 0])), dim=-1)


def embed_text(tokens):
    tower = model.text_model
    x = tower.embeddings.token_embedding(ids)
    count = 0
    for index, layer in enumerate(tower.encoder.layers):
        if tokens is not None and index < DEPTH:
            x = torch.cat([x[:, :1], tokens[index].expand(len(x), -1, -1), x[:, 1 + count :]], 1)
            count = TOKENS
        if index == 0:
            x = x + tower.embeddings.position_embedding.weight[: x.shape[1]]
        causal = torch.full((x.shape[1], x.shape[1]), -torch.inf, dtype=x.dtype).triu(1)
        x = layer(x, attention_mask=causal.expand(len(x), 1, -1, -1))
    ends = torch.tensor(lengths) + 1 + count
    return F.normalize(model.text_projection(tower.final_layer_norm(x)[torch.arange(len(x)), ends]), dim=-1)


# Queries 0 to 4 are classes; 5 is a negative of class 1, 6 of class 3. The images are of these classes.
truth = torch.tensor([1, 3, 0])
owner = {5: 1, 6: 3}
MARGIN, WEIGHT = 0.2, 0.7
scale = model.logit_scale.exp().detach()


def cross_entropy(similarity):
    return F.cross_entropy(scale * similarity, truth)


def triplet(similarity):
    """Hardest negative: among the other classes and the negatives of the image's own class."""
    terms = []
    for row, own in zip(similarity, truth.tolist()):
        negatives = [query for query in range(7) if query != own and owner.get(query, own) == own]
        terms.append(torch.relu(row[negatives].max() - row[own] + MARGIN))
    return torch.stack(terms).mean()


first = cross_entropy(embed_images(vision_tokens) @ embed_text(None).T)
expected["first_loss"] = first.detach().float()
expected["first_gradient"] = torch.autograd.grad(first, vision_tokens)[0].float()
frozen = embed_images(vision_tokens).detach()
second = frozen @ embed_text(text_tokens).T
terms = [cross_entropy(second), triplet(second)]
loss = terms[0] + WEIGHT * terms[1]
assert terms[1] > 0
expected["second_loss"] = loss.detach().float()
expected["second_gradient"] = torch.autograd.grad(loss, text_tokens)[0].float()
expected["vision_tokens"] = vision_tokens.detach().float()
expected["text_tokens"] = text_tokens.detach().float()
save_file({name: tensor.contiguous() for name, tensor in expected.items()}, out / "expected.safetensors")

# --- Crops -------------------------------------------------------------------------------------------------------------
WIDE, HIGH, STEP = 90, 70, 13
rng = numpy.random.default_rng(0)
y, x = numpy.mgrid[:HIGH, :WIDE]
image = numpy.stack([128 + 100 * numpy.sin(x / 9), 255 * y / HIGH, rng.integers(0, 256, (HIGH, WIDE))], -1).clip(0, 255).astype("uint8")
labels = numpy.zeros((HIGH, WIDE), "uint8")
labels[(x - 40) ** 2 + (y - 30) ** 2 < 400] = 1
labels[60:, :] = 2
labels[5, 80] = 3
labels[10:58, 70:73] = 4
labels[2:6, 2:30:5] = 5
Image.fromarray(image).save(out / "image.png")
Image.fromarray(labels).save(out / "mask.png")
mean = torch.tensor(preprocessor["image_mean"]).reshape(1, 3, 1, 1) * 255
std = torch.tensor(preprocessor["image_std"]).reshape(1, 3, 1, 1) * 255
crops = {}
for label in range(1, 6):
    inside = torch.tensor(labels == label).float() > 0.4
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    inside = inside[box][None, None].float()
    part = torch.tensor(image[box]).permute(2, 0, 1)[None].float()
    crop = part * inside + (1 - inside) * mean
    crop = F.interpolate((crop - mean) / std, size=(224, 224), mode="bicubic")
    crops[str(label)] = crop[0, :, ::STEP, ::STEP].contiguous()
save_file(crops, out / "crops.safetensors")
