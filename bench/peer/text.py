"""Tokenizes prompts; as a program, writes CLIP's vocabulary into a base folder, as `vocab.json` and `merges.txt`.

    python bench/peer/text.py BASE

A published CLIPSeg folder has these files, but a base made by `vlsm model init` does not, and Transformers'
CLIPTokenizer would download them. The vocabulary is the one in the package openai-clip.
"""

import gzip
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor
from transformers import CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode

# CLIP uses the first 48894 merges of the file: 256 bytes, as many at a word's end, these and two special tokens.
MERGES = 49152 - 256 - 2


def tokenized(tokenizer: CLIPTokenizer, prompts: list[str]) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask`, both [prompts, 77], padded to the full length as published."""
    return dict(tokenizer(prompts, max_length=77, truncation=True, padding="max_length", return_tensors="pt"))


def write_vocabulary(folder: Path) -> None:
    """Writes both files into `folder`."""
    (package,) = find_spec("clip").submodule_search_locations
    with gzip.open(Path(package) / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 1 + MERGES]
    symbols = list(bytes_to_unicode().values())
    tokens = symbols + [f"{symbol}</w>" for symbol in symbols]
    tokens += ["".join(merge.split()) for merge in merges] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python bench/peer/text.py BASE")
    write_vocabulary(Path(sys.argv[1]))
