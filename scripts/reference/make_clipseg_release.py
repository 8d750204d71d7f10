"""A small stand-in for CLIPSeg's original release, with what PyTorch makes of it.

Writes a CLIP as OpenAI's TorchScript archives are (`ViT-B-16.pt`: names, half precision), decoders with the names of
timojl/clipseg (`rd64-uni.pth`, `rd64-uni-refined.pth`) and, in `expected.safetensors`, an input and both decoders' logits. The forward
pass is written from the paper with PyTorch's own layers, such as `torch.nn.TransformerEncoderLayer`, which the published decoder uses.

    pip install torch safetensors        # 2.15.0 was used
    python scripts/reference/make_clipseg_release.py fixtures/clipseg/release
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

# OpenAI derives heads from the width (64 a head), so that towers this narrow have one head.
WIDTH, TEXT_WIDTH, PROJECTION, PATCH, GRID = 16, 16, 12, 8, 3
VOCABULARY, CONTEXT, LAYERS, TEXT_LAYERS = 64, 8, 10, 1
REDUCE, HIDDEN, TAPS = 8, 24, (3, 6, 9)


class QuickGelu(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 2 * width)
        self.gelu = QuickGelu()
        self.c_proj = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, 1, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = Mlp(width)
        self.ln_2 = nn.LayerNorm(width)

    def run(self, x, mask=None):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, width: int, layers: int):
        super().__init__()
        self.resblocks = nn.ModuleList([Block(width) for _ in range(layers)])


class Visual(nn.Module):
    def __init__(self):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn(GRID**2 + 1, WIDTH))
        self.proj = nn.Parameter(torch.randn(WIDTH, PROJECTION) / WIDTH**0.5)
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.ln_pre = nn.LayerNorm(WIDTH)
        self.transformer = Blocks(WIDTH, LAYERS)
        self.ln_post = nn.LayerNorm(WIDTH)


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, TEXT_WIDTH))
        self.text_projection = nn.Parameter(torch.randn(TEXT_WIDTH, PROJECTION) / TEXT_WIDTH**0.5)
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.visual = Visual()
        self.transformer = Blocks(TEXT_WIDTH, TEXT_LAYERS)
        self.token_embedding = nn.Embedding(VOCABULARY, TEXT_WIDTH)
        self.ln_final = nn.LayerNorm(TEXT_WIDTH)
        self.register_buffer("input_resolution", torch.tensor(GRID * PATCH))
        self.register_buffer("context_length", torch.tensor(CONTEXT))
        self.register_buffer("vocab_size", torch.tensor(VOCABULARY))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.visual.conv1(x)


class Decoder(nn.Module):
    def __init__(self, refined: bool):
        super().__init__()
        self.film_mul = nn.Linear(PROJECTION, REDUCE)
        self.film_add = nn.Linear(PROJECTION, REDUCE)
        self.reduces = nn.ModuleList([nn.Linear(WIDTH, REDUCE) for _ in TAPS])
        layer = lambda: nn.TransformerEncoderLayer(REDUCE, 4, HIDDEN, batch_first=True)
        self.blocks = nn.ModuleList([layer() for _ in TAPS])
        quarter = PATCH // 4
        self.trans_conv = (
            nn.Sequential(
                nn.Conv2d(REDUCE, REDUCE, 3, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(REDUCE, REDUCE // 2, quarter, quarter),
                nn.ReLU(),
                nn.ConvTranspose2d(REDUCE // 2, 1, quarter, quarter),
            )
            if refined
            else nn.ConvTranspose2d(REDUCE, 1, PATCH, PATCH)
        )

    def forward(self, taps, condition):
        x = None
        for index, (tap, block, reduce) in enumerate(zip(taps[::-1], self.blocks, self.reduces)):
            x = reduce(tap) if x is None else reduce(tap) + x
            if index == 0:
                x = self.film_mul(condition)[:, None] * x + self.film_add(condition)[:, None]
            x = block(x)
        grid = int((x.shape[1] - 1) ** 0.5)
        return self.trans_conv(x[:, 1:].transpose(1, 2).reshape(len(x), REDUCE, grid, grid))[:, 0]


def tapped(clip: Clip, pixels):
    visual = clip.visual
    x = visual.conv1(pixels)
    grid = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)
    positions = visual.positional_embedding
    table = positions[1:].T.reshape(1, WIDTH, GRID, GRID)
    table = nn.functional.interpolate(table, (grid, grid), mode="bicubic", align_corners=False)
    positions = torch.cat([positions[:1], table.reshape(WIDTH, -1).T])
    x = visual.ln_pre(torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + positions)
    states = []
    for block in visual.transformer.resblocks:
        x = block.run(x)
        states.append(x)
    return [states[tap] for tap in TAPS]


def condition(clip: Clip, ids):
    x = clip.token_embedding(ids) + clip.positional_embedding
    mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1)
    for block in clip.transformer.resblocks:
        x = block.run(x, mask)
    x = clip.ln_final(x)
    return x[torch.arange(len(ids)), ids.argmax(-1)] @ clip.text_projection


torch.manual_seed(7)
folder = Path(sys.argv[1])
clip = Clip().eval().half()
torch.jit.trace(clip, torch.zeros(1, 3, PATCH, PATCH).half()).save(folder / "ViT-B-16.pt")
clip = clip.float()
pixels = torch.randn(2, 3, 4 * PATCH, 4 * PATCH)
# Start, words, end (the largest id), zeros as in OpenAI's tokenizer.
ids = torch.tensor([[62, 5, 9, 63, 0, 0, 0, 0], [62, 30, 63, 0, 0, 0, 0, 0]])
expected = {"pixel_values": pixels, "input_ids": ids}
with torch.no_grad():
    for name, refined in [("rd64-uni", False), ("rd64-uni-refined", True)]:
        decoder = Decoder(refined).eval()
        # Default biases of attention are 0, which would hide a mistake.
        for parameter in decoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        torch.save(decoder.state_dict(), folder / f"{name}.pth")
        logits = decoder(tapped(clip, pixels), condition(clip, ids))
        print(name, logits.std().item(), (logits[0] - logits[1]).abs().max().item())
        expected[name] = logits
save_file({name: tensor.contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors")
