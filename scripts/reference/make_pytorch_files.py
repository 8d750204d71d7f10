"""Writes the tiny PyTorch files of crates/vlsm-models/tests/data, with their values in expected.json.

Needs torch (2.3.1 was used):  python scripts/reference/make_pytorch_files.py crates/vlsm-models/tests/data
"""

import functools
import json
import sys
from collections import OrderedDict
from pathlib import Path, PosixPath

import torch


def record(tensors):
    """Shape and values (as float) of each tensor, in the form that the test reads."""
    return {
        name: {"shape": list(t.shape), "data": t.detach().to(torch.float64).flatten().tolist(), "float": t.is_floating_point()}
        for name, t in tensors.items()
    }


class Callback:
    """An object of a class that the reader does not know."""

    def __init__(self, best):
        self.best = best
        self.path = PosixPath("checkpoints") / "best.ckpt"


def main(out):
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    base = torch.randn(4, 6)
    state = OrderedDict(
        {
            "weight": torch.randn(3, 5),
            "half": torch.randn(2, 3).half(),
            "brain": torch.randn(2, 3).bfloat16(),
            "double": torch.randn(3, dtype=torch.float64),
            "transposed": base.t(),
            "slice": base[1:3, 2:5],
            "row": base[2],
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 4),
            "position_ids": torch.arange(7).unsqueeze(0),
            "flags": torch.tensor([True, False, True]),
            "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        }
    )
    torch.save(state, out / "state_dict.bin")
    torch.save(state, out / "state_dict_legacy.bin", _use_new_zipfile_serialization=False)

    model = torch.nn.ModuleDict(
        {"v_attn_adapters": torch.nn.ModuleList([torch.nn.ModuleDict({"fc1": torch.nn.Linear(4, 2), "fc2": torch.nn.Linear(2, 4)})])}
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    sum(p.square().sum() for p in model.parameters()).backward()
    optimizer.step()
    adapter = OrderedDict({f"net.{name}": value for name, value in model.state_dict().items()})
    checkpoint = {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.2.5",
        "state_dict": adapter,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_dice'}": {"best_model_score": torch.tensor(0.87), "kth": Callback(0.87)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"factor": 0.3, "best": float("inf"), "mode_worse": float("-inf"), "big": 2**80}],
        "hparams_name": "kwargs",
        "hyper_parameters": {
            "optimizer": functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=1e-3),
            "scheduler": functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.3),
            "loss": torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU()),
            "dtype": torch.float16,
            "device": torch.device("cpu"),
            "sizes": torch.Size([1, 2]),
            "names": {"a", "b"},
            "folder": PosixPath("logs"),
            "range": range(3),
            "complex": 1 + 2j,
            "slice": slice(1, 2),
        },
    }
    try:
        from omegaconf import OmegaConf

        checkpoint["hyper_parameters"]["config"] = OmegaConf.create({"lr": 1e-3, "taps": [3, 6, 9], "twice": "${lr}"})
    except ImportError:
        print("omegaconf is not installed: left out of lightning.ckpt")
    torch.save(checkpoint, out / "lightning.ckpt")
    # The oldest formats store a module with its source code, which readers without Python cannot load.
    del checkpoint["hyper_parameters"]["loss"]
    torch.save(checkpoint, out / "lightning_legacy.ckpt", _use_new_zipfile_serialization=False)

    torch.save({"state_dict": adapter, "callback": Callback(torch.tensor(0.5))}, out / "object_with_tensor.ckpt")

    expected = {"state_dict": record(state), "lightning": record(adapter)}
    (out / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
