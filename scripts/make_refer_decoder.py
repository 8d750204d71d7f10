"""The configuration and the tokenizer of the builtin language model of `vlsm refer`.

    python scripts/make_refer_decoder.py crates/vlsm-language/builtin/tiny
    python scripts/make_refer_decoder.py crates/vlsm-language/builtin/tiny RUN

The second form also takes the weights of a run of `vlsm refer train`, in half precision, and needs NumPy and safetensors. The folder's
README has the commands of the trainings.

Its tokenizer reads LLM-wrapper's prompt, and turns what matters for a choice into few tokens: a candidate's index, the words of its
label, its four sides and its score. Sides are in steps of five pixels, and each of the four has tokens of its own, since a tiny model
learns what a token means much faster than what its position means.
"""

import json
import sys
from pathlib import Path

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)


def replace(pattern, content, regex=True):
    kind = "Regex" if regex else "String"
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


normalizers = [
    {"type": "Lowercase"},
    replace(r"you are a helpful ai assistant, capable of understanding spatial information\.\nin an image, there are \d+ boxes:", ""),
    # The end of a candidate's line.
    replace(r"[,.](?=\n)", ""),
    # [12.0, 34.0, 56.0, 78.0] to x12.0 y34.0 z56.0 w78.0
    replace(r", (?=[\d.]+, [\d.]+, [\d.]+\])", " y"),
    replace(r", (?=[\d.]+, [\d.]+\])", " z"),
    replace(r", (?=[\d.]+\])", " w"),
    replace("' with xyxy coordinates '[", " x", False),
    # Steps of five pixels: x12.0 to x1, x17.0 to x1+
    replace(r"[0-4]\.\d(?= [yzw]|\])", ""),
    replace(r"[5-9]\.\d(?= [yzw]|\])", "+"),
    replace("]'", "", False),
    # Scores in steps of a tenth.
    replace(r"(?<=with score \d\.\d)\d+", ""),
    replace(" with score ", " s", False),
    replace("\n* in box ", " ", False),
    replace(r"(?<=\d): '", " "),
    replace("\nwhich box is best matching '", " ? ", False),
    # Its full stop is gone where a line follows.
    replace(r"' \? answer with just the index of the best box\. no explanation\.?", " !"),
    replace("\nanswer:", "", False),
]
words = ["[UNK]", "<end>", "?", "!"]
words += [str(index) for index in range(16)]
words += [f"s{tenth / 10:.1f}" for tenth in range(11)]
for side in "xyzw":
    for tens in range(18):
        words += [side + (str(tens) if tens else ""), side + (str(tens) if tens else "") + "+"]
words += "circle oval square rectangle triangle star cross ring blob".split()
words += "red orange yellow green blue purple pink brown white grey black".split()
words += "the leftmost rightmost topmost bottommost largest smallest to left right of above below larger smaller than closest".split()
assert len(set(words)) == len(words)
tokenizer = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{
        "id": 1, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True,
    }],
    "normalizer": {"type": "Sequence", "normalizers": normalizers},
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {word: id for id, word in enumerate(words)}, "unk_token": "[UNK]"},
}
(out / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1) + "\n")
config = {
    "architectures": ["LlamaForCausalLM"],
    "eos_token_id": 1,
    "hidden_act": "silu",
    "hidden_size": 64,
    # Much wider than usual: at 0.02 so small a model hardly begins to learn.
    "initializer_range": 0.12,
    "intermediate_size": 192,
    "max_position_embeddings": 256,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-05,
    "rope_theta": 100.0,
    "tie_word_embeddings": True,
    "vocab_size": len(words),
}
(out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
print(len(words), "tokens")

if len(sys.argv) > 2:
    import numpy as np
    from safetensors.numpy import load_file, save_file

    weights = load_file(Path(sys.argv[2]) / "model.safetensors")
    save_file({name: value.astype(np.float16) for name, value in weights.items()}, out / "model.safetensors", {"format": "pt"})
