"""The published training: loss, optimiser and step, and the data set in its published layout."""

import json
import random
from pathlib import Path

import torch
from monai.losses import DiceCELoss
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from transformers import CLIPTokenizer

from images import mask_map, normalised
from model import Improved, Segmenter
from text import tokenized

# From the published configurations; the published code has no `full`.
LEARNING_RATES = {"dense": 1e-3, "shallow": 3e-4, "decoder": 1e-3, "full": 1e-5}


class Trainer:
    """AdamW on the trained parameters of `model` (fused for the improved way), with gradients clipped to a norm of 0.5."""

    def __init__(self, model: Segmenter) -> None:
        self.model = model
        self.trained = model.trained()
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=LEARNING_RATES[model.method], weight_decay=1e-3, fused=isinstance(model, Improved)
        )
        # As published: the loss gets probabilities, and its cross entropy treats them as logits.
        self.loss = DiceCELoss(lambda_dice=1.5, lambda_ce=1.0)

    def step(self, batch: dict[str, Tensor], mask: Tensor) -> float:
        """One step on the model's inputs and masks [batch, 1, height, width]; returns the loss before it."""
        self.optimizer.zero_grad()
        loss = self.loss(self.model(**batch).sigmoid(), mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 0.5)
        self.optimizer.step()
        return loss.item()


class ImageTextMasks(Dataset):
    """The first `limit` training samples of a folder with images/, masks/ and anns/train.json.

    As published, every access decodes and resizes the image, and draws any prompt except the first.
    """

    def __init__(self, root: Path, tokenizer: CLIPTokenizer, side: int, limit: int) -> None:
        self.root = root
        self.tokenizer = tokenizer
        self.side = side
        self.entries = json.loads((root / "anns/train.json").read_text())[:limit]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        entry = self.entries[index]
        prompt = random.choice(list(entry["prompts"].values())[1:])
        if isinstance(prompt, list):
            prompt = random.choice(prompt)
        batch = {name: ids[0] for name, ids in tokenized(self.tokenizer, [prompt]).items()}
        batch["pixel_values"] = normalised(Image.open(self.root / "images" / entry["img_name"]), self.side)
        return batch, mask_map(Image.open(self.root / "masks" / entry["mask_name"]), self.side)
