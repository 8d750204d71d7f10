"""Writes a tiny TorchScript archive like OpenAI's CLIP models, with its values in a JSON file.

Needs torch (2.5.1 was used):  python scripts/reference/make_torchscript.py crates/vlsm-models/tests/data
"""

import json
import sys
from pathlib import Path

import torch


class Block(torch.nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.scale = width**-0.5
        self.sizes = [1, 2, width]
        self.conv = torch.nn.Conv2d(3, width, 3, bias=False)
        self.bn = torch.nn.BatchNorm2d(width)
        self.downsample = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv2d(width, 2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.downsample(self.bn(self.conv(x))) * self.scale + self.sizes[0]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = torch.nn.Sequential(Block(4), torch.nn.Identity())
        self.projection = torch.nn.Parameter(torch.randn(5, 3).t())
        self.halved = torch.nn.Parameter(torch.randn(2, 3).half())
        self.logit_scale = torch.nn.Parameter(torch.tensor(4.6))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.register_buffer("mask", torch.tensor([True, False]))
        # The same layer under two names.
        self.first = torch.nn.Linear(2, 2)
        self.second = self.first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.visual(x).mean([2, 3])))


torch.manual_seed(0)
folder = Path(sys.argv[1])
model = Model()
model(torch.randn(2, 3, 8, 8))
archive = torch.jit.script(model.eval())
archive.save(folder / "torchscript.pt")
state = torch.jit.load(folder / "torchscript.pt").state_dict()
assert set(state) == set(model.state_dict())
expected = {
    name: {"shape": list(t.shape), "data": t.detach().double().flatten().tolist(), "float": t.is_floating_point()}
    for name, t in state.items()
}
(folder / "torchscript.json").write_text(json.dumps(expected) + "\n")
