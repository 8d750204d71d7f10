"""Three steps of Muon on two matrices: fixtures/optimizer/muon.json.

Muon (Jordan et al. 2024) in f64: Nesterov momentum, five Newton-Schulz steps with the published coefficients, decoupled weight
decay, and the learning rate scaled by 0.2 sqrt(max(rows, columns)), as torch.optim.Muon(adjust_lr_fn="match_rms_adamw") does.
PyTorch's own optimizer runs Newton-Schulz in bfloat16; the script checks that it is within the error of that.
"""

import json
import math
import pathlib

import torch

LR, DECAY, MOMENTUM = 0.02, 0.1, 0.95
A, B, C = 3.4445, -4.7750, 2.0315


def orthogonal(matrix):
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x.T if tall else x


def main():
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    cases = []
    for shape in [(3, 5), (6, 2)]:
        start = draw(*shape).float().double()
        gradients = [draw(*shape).float().double() for _ in range(3)]
        theirs = torch.nn.Parameter(start.float())
        settings = dict(lr=LR, weight_decay=DECAY, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
        optimizer = torch.optim.Muon([theirs], **settings)
        value, velocity = start.clone(), torch.zeros(shape, dtype=torch.float64)
        for gradient in gradients:
            velocity = MOMENTUM * velocity + gradient
            update = orthogonal(MOMENTUM * velocity + gradient)
            value = value * (1 - LR * DECAY) - LR * 0.2 * math.sqrt(max(shape)) * update
            theirs.grad = gradient.float()
            optimizer.step()
        moved = (value - start).norm()
        off = (theirs.detach().double() - value).norm() / moved
        assert off < 0.05, "not the steps of torch.optim.Muon"
        flat = lambda tensor: tensor.flatten().tolist()
        cases.append(
            {
                "shape": shape,
                "start": flat(start),
                "gradients": [flat(gradient) for gradient in gradients],
                "after3": flat(value),
            }
        )
    folder = pathlib.Path(__file__).parents[2] / "fixtures/optimizer"
    folder.mkdir(exist_ok=True)
    settings = {"lr": LR, "weight_decay": DECAY, "cases": cases, "torch": torch.__version__.split("+")[0]}
    (folder / "muon.json").write_text(json.dumps(settings, indent=1) + "\n")


main()
