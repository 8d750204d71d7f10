"""One image with one prompt in ONNX Runtime and OpenVINO, f32 and int8, to compare with `vlsm-bench --case infer`.

The model is the improved way. OpenVINO's int8 is NNCF's post-training quantisation (weights and activations, calibrated on random
images), ONNX Runtime's is dynamic: weights by output, activations by tensor. Prints one line of JSON for each.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

from bench import PROMPTS, image_side
from model import Improved
from text import tokenized


class OnePrompt(nn.Module):
    """The improved way for one image and one prompt, without what an export cannot hold."""

    def __init__(self, model: Improved) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        """Logits, [1, 1, height, width]."""
        condition, _ = self.model.text(input_ids)
        return self.model.decode(self.model.tapped(pixel_values), condition, pixel_values)


def measure(name: str, run: Callable[[], np.ndarray], expected: np.ndarray, steps: int) -> None:
    """Times `run` after a warm-up call and compares its logits."""
    logits = run()
    cosine = float((logits * expected).sum() / np.linalg.norm(logits) / np.linalg.norm(expected))
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"runtime": name, "seconds_per_call": statistics.median(seconds), "cosine": round(cosine, 5)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = OnePrompt(Improved(CLIPSegForImageSegmentation.from_pretrained(args.base), "zero-shot").eval()).eval()
    side = image_side(args.base)
    prompt = PROMPTS.read_text().splitlines()[0]
    ids = tokenized(CLIPTokenizer.from_pretrained(args.base), [prompt])["input_ids"]
    ids = ids[:, : int(ids.argmax(-1).max()) + 1]
    images = [torch.randn(1, 3, side, side) for _ in range(8)]
    with torch.inference_mode():
        expected = model(images[0], ids).numpy()
        measure("pytorch f32", lambda: model(images[0], ids).numpy(), expected, args.steps)
        with tempfile.TemporaryDirectory() as folder:
            onnx_runtime(model, images, ids, expected, Path(folder), args)
        openvino(model, images, ids, expected, args)


def onnx_runtime(
    model: nn.Module, images: list[Tensor], ids: Tensor, expected: np.ndarray, folder: Path, args: argparse.Namespace
) -> None:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact, int8 = folder / "f32.onnx", folder / "int8.onnx"
    torch.onnx.export(model, (images[0], ids), exact, input_names=["pixel_values", "input_ids"], dynamo=False)
    quantize_dynamic(exact, int8, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    inputs = {"pixel_values": images[0].numpy(), "input_ids": ids.numpy()}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    for name, path in (("f32", exact), ("int8", int8)):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        measure(f"onnx runtime {name}", lambda: session.run(None, inputs)[0], expected, args.steps)


def openvino(model: nn.Module, images: list[Tensor], ids: Tensor, expected: np.ndarray, args: argparse.Namespace) -> None:
    import nncf
    import openvino as ov

    exact = ov.convert_model(model, example_input=(images[0], ids))
    data = nncf.Dataset([(image.numpy(), ids.numpy()) for image in images])
    int8 = nncf.quantize(exact, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(images))
    inputs = (images[0].numpy(), ids.numpy())
    settings = {"INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY"}
    for name, form in (("f32", exact), ("int8", int8)):
        # By default OpenVINO computes in bfloat16 where the processor has it.
        for precision in ("f32", "bf16") if name == "f32" else ("f32",):
            compiled = ov.compile_model(form, "CPU", {**settings, "INFERENCE_PRECISION_HINT": precision})
            label = name if name == "int8" else precision
            measure(f"openvino {label}", lambda: compiled(inputs)[0], expected, args.steps)


if __name__ == "__main__":
    main()
