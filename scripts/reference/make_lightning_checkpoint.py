"""Writes a PyTorch Lightning checkpoint as the published code saves it, for `vlsm model import`.

Needs torch (2.3.1 was used) and safetensors:
    python scripts/reference/make_lightning_checkpoint.py \
        fixtures/clipseg/tiny_refined/dense_v.init.safetensors crates/vlsm/tests/data/dense_v.ckpt

With the base's model.safetensors as a third argument, the checkpoint also has the base's weights, like those of the published
code. The committed checkpoint leaves them out to stay small.
"""

import sys
from collections import OrderedDict

import torch
from safetensors.torch import load_file


def main(adapter, out, base=None):
    state = OrderedDict((f"net.{name}", tensor) for name, tensor in load_file(adapter).items())
    if base:
        state.update((f"net.clipseg.{name}", tensor) for name, tensor in load_file(base).items())
    torch.save(
        {
            "epoch": 3,
            "global_step": 100,
            "pytorch-lightning_version": "2.2.0",
            "state_dict": state,
            "optimizer_states": [{"state": {0: {"step": torch.tensor(100.0)}}, "param_groups": [{"lr": 1e-3}]}],
            "lr_schedulers": [],
            "hyper_parameters": {"weight_decay": 1e-3},
        },
        out,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
