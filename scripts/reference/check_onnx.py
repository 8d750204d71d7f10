"""Compares the graphs that `vlsm model export --onnx` writes, run by onnxruntime, with `vlsm model forward`.

    pip install numpy onnxruntime safetensors
    cargo build
    python scripts/reference/check_onnx.py target/debug/vlsm

The bases are the builtin one and the fixtures, without an adapter and with adapters of random values in each form that can
be exported. Both graphs are checked, and that an image and a prompt have the same logits in other batches. Logits must agree
within 1e-4.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file, save_file

FIXTURES = Path(__file__).parents[2] / "fixtures"
TOLERANCE = 1e-4
RNG = np.random.default_rng(0)

# Methods in all their forms, and parts of them for a base whose text tower has fewer layers than its vision tower.
ALL = ["query", "key", "value", "output", "fc1", "fc2"]
CLIPSEG = [
    {"kind": "dense", "bottleneck": 5, "cond_bottleneck": 6},
    {"kind": "dense", "bottleneck": 5, "cond_bottleneck": 6, "profile": "paper"},
    {"kind": "dense", "bottleneck": 4, "towers": "v", "connection": "parallel", "activation": "gelu", "scale": 0.5},
    {"kind": "dense", "bottleneck": 4, "towers": "l", "sublayers": "mlp", "activation": "gelu_new"},
    {"kind": "shallow", "bottleneck": 5, "cond_bottleneck": 6},
    {"kind": "shallow", "bottleneck": 5, "cond_bottleneck": 6, "profile": "paper"},
    {"kind": "lora", "bottleneck": 2, "cond_bottleneck": 6, "projections": ALL, "scale": 0.5},
    {"kind": "lora", "bottleneck": 2, "towers": "vl", "projections": ALL, "train_biases": True},
    {"kind": "dora", "bottleneck": 2, "projections": ALL, "scale": 0.5},
    {"kind": "ia3", "projections": ALL},
    {"kind": "ssf"},
    {"kind": "bitfit"},
    {"kind": "layer-norm"},
]
# Its text is not as wide as the embedding, so that shallow adapters on it do not fit.
SHALLOW = [{"kind": "shallow", "bottleneck": 5, "towers": "v", "profile": profile} for profile in ("default", "paper")]
BIOMEDCLIPSEG = [
    # With larger changes in its text tower, 12 wide, either side is up to 2e-4 off what the graph gives in double precision.
    {**method, "scale": 0.1} if method.get("towers") == "l" else method
    for method in [*CLIPSEG, *SHALLOW]
    if method["kind"] not in ["bitfit", "layer-norm"] and "train_biases" not in method  # other names of parameters
    if method["kind"] != "shallow" or method.get("towers") == "v"
]
SAN = [
    {"kind": "dense", "bottleneck": 3, "text_layers": [0, 1], "cond_bottleneck": 4},
    {"kind": "dense", "bottleneck": 3, "towers": "v", "connection": "parallel"},
    {"kind": "shallow", "bottleneck": 3, "towers": "v"},
    {"kind": "lora", "bottleneck": 2, "text_layers": [0, 1], "cond_bottleneck": 4, "projections": ALL},
    {"kind": "dora", "bottleneck": 2, "text_layers": [0, 1], "projections": ALL},
    {"kind": "ia3", "text_layers": [0, 1], "projections": ALL},
    {"kind": "ssf", "text_layers": [0, 1]},
]


def main() -> None:
    vlsm = sys.argv[1]
    wrong = 0
    bases = [
        ("builtin:tiny", CLIPSEG),
        (str(FIXTURES / "clipseg/tiny_refined"), CLIPSEG),
        (str(FIXTURES / "biomedclipseg/tiny"), BIOMEDCLIPSEG),
        (str(FIXTURES / "san"), SAN),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for base, methods in bases:
            for method in [None, *methods]:
                name = f"{Path(base).parent.name}/{Path(base).name} {json.dumps(method)}"
                try:
                    found, largest = check(vlsm, base, method, Path(folder))
                except (subprocess.CalledProcessError, RuntimeError) as error:
                    print("WRONG", name, getattr(error, "stderr", error))
                    wrong += 1
                    continue
                wrong += found > TOLERANCE
                print(f"{'ok' if found <= TOLERANCE else 'WRONG':5} {found:.1e} of logits up to {largest:.1f}: {name}")
    print(f"{wrong} failed")
    sys.exit(wrong > 0)


def check(vlsm: str, base: str, method: dict | None, folder: Path) -> tuple[float, float]:
    """The largest difference of logits, in all ways to run the graphs, and the largest logit."""
    # A case has the same numbers whatever ran before it.
    global RNG
    RNG = np.random.default_rng(0)
    about = json.loads(run(vlsm, "model", "info", base, "--json"))
    side = about["image_size"]
    model = [base]
    adapter = []
    if method is not None:
        file = folder / "adapter.safetensors"
        write_adapter(file, base, method)
        model = [str(file), "--base", base]
        adapter = ["--adapter", str(file)]
    graph, text = folder / "graph.onnx", folder / "text.onnx"
    # The fixtures' vocabularies have no words.
    prompt = ["--prompt", "a red circle"] if base == "builtin:tiny" else []
    run(vlsm, "model", "export", *model, "--onnx", "-o", graph, "--text-tower", text, "--force", *prompt)
    ids = token_ids(text)
    pixels = RNG.normal(size=(len(ids), 3, side, side)).astype(np.float32)
    save_file({"pixel_values": pixels, "input_ids": ids}, folder / "batch.safetensors")
    run(
        vlsm, "model", "forward", "--base", base, *adapter,
        "--batch", folder / "batch.safetensors", "-o", folder / "logits.safetensors", "--force",
    )  # fmt: skip
    expected = load_file(folder / "logits.safetensors")["logits"][:, 0]
    text, graph = session(text), session(graph)
    (embedding,) = text.run(None, {"tokens": ids})
    (logits,) = graph.run(None, {"image": pixels, "embedding": embedding})
    assert logits.shape[:2] == (len(ids), len(ids)), logits.shape
    differences = [np.abs(logits[i, i] - expected[i]).max() for i in range(len(ids))]
    # One at a time, without the other prompts' padding.
    for index, row in enumerate(ids):
        end = int(np.nonzero(row)[0].max()) + 1
        (one,) = text.run(None, {"tokens": row[None, :end]})
        (alone,) = graph.run(None, {"image": pixels[index : index + 1], "embedding": one})
        differences.append(np.abs(alone[0, 0] - expected[index]).max())
    # The prompt that is part of the graph.
    if prompt:
        (default,) = graph.run(None, {"image": pixels[:1]})
        assert default.shape[:2] == (1, 1) and np.isfinite(default).all()
    return float(max(differences)), float(np.abs(expected).max())


def session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # no warning that the embedding has a default
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def token_ids(text: Path) -> np.ndarray:
    """Three prompts of different lengths, padded with the tower's padding."""
    metadata = session(text).get_modelmeta().custom_metadata_map
    tokens = json.loads(metadata["vlsm.tokens"])
    rows = [[7, 5], [9], [4, 11, 6]]
    ids = np.full((len(rows), 6), tokens["padding"], np.int64)
    for row, words in zip(ids, rows):
        # BERT's are in the base's tokenizer.json, SAN's fixture has no start; any will do here.
        end = tokens.get("end", 3)
        start = min(tokens.get("start", 2), end - 1)
        words = [start, *words, end]
        row[: len(words)] = words
    return ids


def write_adapter(file: Path, base: str, method: dict) -> None:
    """An adapter of random values: the smallest shapes that `vlsm` does not refuse."""
    tensors: dict[str, np.ndarray] = {}
    vision, text, projection, layers, taps = widths(base, method)
    kind, units = method["kind"], method.get("bottleneck")
    towers = method.get("towers", "vlc" if "cond_bottleneck" in method else "vl")
    text_layers = method.get("text_layers", layers)
    if kind in ["ia3", "ssf"]:
        # By default these are in all layers of the text tower.
        method = {**method, "text_layers": text_layers}

    def block(name: str, width: int, units: int) -> None:
        for part, shape in [("fc1", (units, width)), ("fc2", (width, units))]:
            tensors[f"{name}.{part}.weight"] = random(*shape)
            tensors[f"{name}.{part}.bias"] = random(shape[0])

    if "c" in towers:
        block("cond_adapter", projection, method["cond_bottleneck"])
    for letter, width, numbers in [("v", vision, layers), ("l", text, text_layers)]:
        if letter not in towers:
            continue
        if kind == "shallow":
            for index in range(len(taps)):
                block(f"{'vision' if letter == 'v' else 'text'}_extract_adapters.{index}", width[0], units)
        for index in range(len(numbers)):
            if kind == "dense" and method.get("sublayers", "both") == "both":
                block(f"{letter}_attn_adapters.{index}", width[0], units)
            if kind == "dense":
                block(f"{letter}_out_adapters.{index}", width[0], units)
            tower = {"v": "vision", "l": "text"}[letter]
            matrices = {part: (width[0], width[0]) for part in ["q_proj", "k_proj", "v_proj", "out_proj"]}
            matrices |= {"fc1": width, "fc2": width[::-1]}
            for part, (inputs, outputs) in matrices.items():
                name = f"{tower}.{index}.{part}"
                if kind == "lora":
                    tensors[f"{letter}_lora.{index}.{part}.a.weight"] = random(units, inputs)
                    tensors[f"{letter}_lora.{index}.{part}.b.weight"] = random(outputs, units)
                if kind == "dora":
                    tensors[f"{name}.direction.a.weight"] = random(units, inputs)
                    tensors[f"{name}.direction.b.weight"] = random(outputs, units)
                    tensors[f"{name}.magnitude"] = 1 + random(outputs)
                if kind == "ia3":
                    tensors[f"{name}.l"] = 1 + random(inputs if part == "fc2" else outputs)
                if kind == "ssf":
                    tensors[f"{tower}.{index}.matrices.{part}.scale"] = 1 + random(outputs)
                    tensors[f"{tower}.{index}.matrices.{part}.shift"] = random(outputs)
            norms = ["layer_norm1", "layer_norm2"]
            if kind == "ssf":
                for norm in norms:
                    tensors[f"{tower}.{index}.{norm}.scale"] = 1 + random(width[0])
                    tensors[f"{tower}.{index}.{norm}.shift"] = random(width[0])
            layer = f"clipseg.clip.{tower}_model.encoder.layers.{numbers[index]}"
            if kind == "layer-norm":
                for norm in norms:
                    tensors[f"{layer}.{norm}.weight"] = 1 + random(width[0])
                    tensors[f"{layer}.{norm}.bias"] = random(width[0])
            if kind == "bitfit" or method.get("train_biases"):
                for norm in norms:
                    tensors[f"{layer}.{norm}.bias"] = random(width[0])
                for part, (_, outputs) in matrices.items():
                    sublayer = "mlp" if part.startswith("fc") else "self_attn"
                    tensors[f"{layer}.{sublayer}.{part}.bias"] = random(outputs)
    save_file(tensors, file, {"vlsm.method": json.dumps(method)})


def random(*shape: int) -> np.ndarray:
    return RNG.normal(scale=0.05, size=shape).astype(np.float32)


def widths(base: str, method: dict) -> tuple:
    """Width and hidden units of both towers, the projection, the layers that have adapters, and the taps."""
    paper = method.get("profile") == "paper"
    if base == "builtin:tiny":
        vision, text, projection, taps = (128, 512), (64, 256), 64, [2, 4]
    elif base.endswith("san"):
        config = json.loads((Path(base) / "config.json").read_text())
        towers = [config["vision_config"], config["text_config"]]
        vision, text = [(tower["hidden_size"], tower["intermediate_size"]) for tower in towers]
        layers = list(range(towers[0]["num_hidden_layers"]))
        return vision, text, config["projection_dim"], layers, [clip for clip, _ in config["fusion"]]
    elif "biomedclipseg" in base:
        weights = load_file(Path(base) / "open_clip_model.safetensors")
        width = weights["visual.trunk.blocks.0.mlp.fc1.weight"].shape[::-1]
        words = weights["text.transformer.encoder.layer.0.intermediate.dense.weight"].shape[::-1]
        projection = weights["text.proj.2.weight"].shape[0]
        taps = [tap + paper for tap in (3, 6, 9)]
        vision, text = width, words
    else:
        config = json.loads((Path(base) / "config.json").read_text())
        towers = [config["vision_config"], config["text_config"]]
        vision, text = [(tower["hidden_size"], tower["intermediate_size"]) for tower in towers]
        projection, taps = config["projection_dim"], config["extract_layers"]
    layers = list(range(max(taps) + (0 if paper else 1)))
    return vision, text, projection, layers, taps


def run(*command: object) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
