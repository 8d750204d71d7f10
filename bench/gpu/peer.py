"""A dense training step in PyTorch on a GPU, to compare with `vlsm` on the same card; one line of JSON for each precision.

CLIPSeg base size (ViT-B/16 at 352 px, ten layers run), the published adapters with towers "vlc", DiceCE on
probabilities as published, AdamW, clipping at 0.5. Weights are random: only time and memory are compared.
The improved way of `bench/peer`: fused attention, no vision layer after the last tap, text cut at the longest
prompt, frozen weights without gradients, fused AdamW.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS = (352 // 16) ** 2 + 1
TAPS = (3, 6, 9)


class Adapter(nn.Module):
    """`x + relu(fc2(relu(fc1(x))))`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.fc2(F.relu(self.fc1(x))))


class Layer(nn.Module):
    """An encoder layer with adapters before its residual additions, or a decoder layer without them."""

    def __init__(self, width: int, heads: int, hidden: int, adapted: bool, causal: bool = False, post: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.heads, self.causal, self.post = heads, causal, post
        self.adapters = nn.ModuleList(Adapter(width, 64) if adapted else nn.Identity() for _ in range(2))

    def attention(self, x: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).flatten(-2))

    def mlp(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(F.relu(x) if self.post else x * torch.sigmoid(1.702 * x))

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.mlp(x))
        x = x + self.adapters[0](self.attention(self.norm1(x)))
        return x + self.adapters[1](self.mlp(self.norm2(x)))


class Model(nn.Module):
    """CLIPSeg rd64-refined with dense adapters."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 768, 16, 16, bias=False)
        self.cls = nn.Parameter(torch.randn(768) * 0.02)
        self.positions = nn.Parameter(torch.randn(TOKENS, 768) * 0.02)
        self.pre = nn.LayerNorm(768)
        self.vision = nn.ModuleList(Layer(768, 12, 3072, i < TAPS[-1]) for i in range(TAPS[-1] + 1))
        self.words = nn.Embedding(49408, 512)
        self.text = nn.ModuleList(Layer(512, 8, 2048, i < TAPS[-1], causal=True) for i in range(12))
        self.final = nn.LayerNorm(512)
        self.project = nn.Linear(512, 512, bias=False)
        self.condition = Adapter(512, 256)
        self.reduce = nn.ModuleList(nn.Linear(768, 64) for _ in TAPS)
        self.mul, self.add = nn.Linear(512, 64), nn.Linear(512, 64)
        self.decoder = nn.ModuleList(Layer(64, 4, 2048, False, post=True) for _ in TAPS)
        self.up = nn.Sequential(
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 4), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 4)
        )
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("adapters" in name or name.startswith("condition"))

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = self.pre(torch.cat([self.cls.expand(len(x), 1, -1), x], 1) + self.positions)
        tapped = []
        for index, layer in enumerate(self.vision):
            x = layer(x)
            if index in TAPS:
                tapped.append(x)
        t = self.words(ids)
        for layer in self.text:
            t = layer(t)
        condition = self.condition(self.project(self.final(t)[:, -1]))
        y = None
        for index, (state, reduce, layer) in enumerate(zip(reversed(tapped), self.reduce, self.decoder)):
            y = reduce(state) if y is None else reduce(state) + y
            if index == 0:
                y = self.mul(condition)[:, None] * y + self.add(condition)[:, None]
            y = layer(y)
        return self.up(y[:, 1:].transpose(1, 2).unflatten(-1, (22, 22))).squeeze(1)


def loss_of(logits: Tensor, mask: Tensor) -> Tensor:
    """1.5 Dice + cross entropy of the probabilities taken for logits, as published."""
    p = torch.sigmoid(logits.float()).flatten(1)
    t = mask.flatten(1)
    dice = 1 - (2 * (p * t).sum(1) + 1e-5) / (p.sum(1) + t.sum(1) + 1e-5)
    return 1.5 * dice.mean() + F.binary_cross_entropy_with_logits(p, t)


def measure(batch: int, steps: int, precision: str, compiled: bool) -> dict:
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "f32"
    model = Model().cuda()
    run = torch.compile(model) if compiled else model
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=1e-3, fused=True)
    pixels = torch.randn(batch, 3, 352, 352, device="cuda")
    ids = torch.randint(0, 49000, (batch, 12), device="cuda")
    mask = torch.randint(0, 2, (batch, 352, 352), device="cuda").float()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(steps + 5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            logits = run(pixels, ids)
        loss = loss_of(logits, mask)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 0.5)
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - start)
    return {
        "precision": precision,
        "compiled": compiled,
        "batch": batch,
        "trained": sum(p.numel() for p in trained),
        "seconds_per_image": statistics.median(seconds[5:]) / batch,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated(),
    }


def products(images: int) -> Iterator[dict]:
    """The products of `vlsm-bench --case products`."""
    rows = images * TOKENS
    sizes = {
        "large": (1, 4096, 4096, 4096),
        "projection": (1, rows, 768, 768),
        "expand": (1, rows, 768, 3072),
        "contract": (1, rows, 3072, 768),
        "bottleneck": (1, rows, 768, 64),
        "weight gradient": (1, 768, rows, 64),
        "scores": (images * 12, TOKENS, 64, TOKENS),
        "values": (images * 12, TOKENS, TOKENS, 64),
    }
    torch.backends.cuda.matmul.allow_tf32 = True
    for dtype in (torch.float32, torch.bfloat16):
        for name, (batch, m, k, n) in sizes.items():
            left = torch.randn(batch, m, k, device="cuda", dtype=dtype)
            right = torch.randn(batch, k, n, device="cuda", dtype=dtype)
            for times in (3, 20):
                torch.cuda.synchronize()
                start = time.perf_counter()
                for _ in range(times):
                    left @ right
                torch.cuda.synchronize()
            seconds = (time.perf_counter() - start) / times
            rate = 2 * batch * m * k * n / seconds
            yield {"product": name, "dtype": str(dtype), "seconds": seconds, "operations_per_second": rate}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="use torch.compile, in bf16 only")
    args = parser.parse_args()
    for size in args.batch:
        for kind in ("bf16",) if args.compile else ("f32", "tf32", "bf16"):
            print(json.dumps(measure(size, args.steps, kind, args.compile)), flush=True)
    if not args.compile:
        for line in products(args.batch[-1]):
            print(json.dumps(line), flush=True)
