"""Prepares images for CLIPSeg as torchvision does with PIL, without torchvision."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# Of ImageNet, per channel.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def normalised(image: Image.Image, side: int) -> Tensor:
    """[3, side, side]: resized to the square (bilinear with antialiasing), scaled to 0..1 and normalised."""
    squashed = np.array(image.convert("RGB").resize((side, side), Image.BILINEAR))
    pixels = torch.from_numpy(squashed).permute(2, 0, 1).contiguous().float() / 255
    return (pixels - MEAN) / STD


def mask_map(mask: Image.Image, side: int) -> Tensor:
    """[1, side, side] in 0..1: the first channel of a mask, nearest neighbour."""
    squashed = np.array(mask.getchannel(0).resize((side, side), Image.NEAREST))
    return torch.from_numpy(squashed)[None].float() / 255
