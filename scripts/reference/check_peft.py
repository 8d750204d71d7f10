"""Exchanges LoRA, DoRA and IA3 adapters between peft and vlsm, in both directions, and compares the logits of the two.

    pip install torch==2.15 transformers==5.24 peft==0.21.2 safetensors
    cargo build
    python scripts/reference/check_peft.py target/debug/vlsm

The base is the small CLIPSeg in fixtures. Each adapter is made by peft with random values, imported by `vlsm model import`, and exported
again by `vlsm model export --peft`. Logits must agree within 1e-4 of their spread, and the tensors exactly.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

warnings.filterwarnings("ignore")
BASE = Path(__file__).parents[2] / "fixtures/clipseg/tiny_refined"
TOLERANCE = 1e-4
# The decoder sees the states after layers 1 to 3 of the vision tower, so what is changed in layer 4 has no effect; vlsm leaves it out.
TARGETS = r"clip\.(vision_model\.encoder\.layers\.[{layers}]|text_model\.encoder\.layers\.\d)\..*({names})"
ALL = "q_proj|k_proj|v_proj|out_proj|fc1|fc2"


def targets(names: str, layers: str = "0-3") -> str:
    return TARGETS.format(layers=layers, names=names)


CASES = {
    "LoRA": LoraConfig(r=3, lora_alpha=4.5, target_modules=targets(ALL)),
    "LoRA, all layers": LoraConfig(r=4, target_modules=targets("q_proj|v_proj", "0-4")),
    "LoRA, one tower": LoraConfig(r=2, target_modules=r"clip\.text_model\..*(q_proj|v_proj)"),
    "rsLoRA": LoraConfig(r=4, lora_alpha=6, use_rslora=True, target_modules=targets("q_proj|v_proj")),
    "DoRA": LoraConfig(r=3, lora_alpha=4.5, use_dora=True, target_modules=targets("q_proj|v_proj|fc1")),
    "IA3": IA3Config(target_modules=targets("k_proj|v_proj|fc2"), feedforward_modules=targets("fc2")),
}


def clipseg() -> CLIPSegForImageSegmentation:
    model = CLIPSegForImageSegmentation(CLIPSegConfig.from_pretrained(BASE)).eval()
    model.load_state_dict(load_file(BASE / "model.safetensors"))
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    batch = load_file(BASE / "batch.safetensors")
    inputs = {name: batch[name] for name in ["pixel_values", "input_ids", "attention_mask"]}
    with torch.no_grad():
        return model(**inputs).logits


def forward(vlsm: str, adapter: Path, folder: Path) -> torch.Tensor:
    out = folder / "logits.safetensors"
    run(vlsm, "model", "forward", "--base", BASE, "--adapter", adapter, "--batch", BASE / "batch.safetensors", "-o", out)
    return load_file(out)["logits"].squeeze(1)


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    vlsm = sys.argv[1]
    plain = logits(clipseg())
    failed = 0
    for name, config in CASES.items():
        torch.manual_seed(0)
        theirs = get_peft_model(clipseg(), config).eval()
        for key, parameter in theirs.named_parameters():
            if "lora_" in key or "ia3_" in key:
                parameter.data += 0.1 * torch.randn_like(parameter)
        expected = logits(theirs)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            saved, adapter, exported = folder / "saved", folder / "adapter.safetensors", folder / "exported"
            theirs.save_pretrained(saved)
            run(vlsm, "model", "import", saved, "--base", BASE, "-o", adapter)
            ours = forward(vlsm, adapter, folder)
            run(vlsm, "model", "export", adapter, "--peft", "-o", exported)
            again = logits(PeftModel.from_pretrained(clipseg(), exported).eval())
            weights, before = (load_file(path / "adapter_model.safetensors") for path in (exported, saved))
            same = all(torch.equal(tensor, before[key]) for key, tensor in weights.items())
            left_out = len(before) - len(weights)
        spread = (expected.max() - expected.min()).item()
        to_ours = (ours - expected).abs().max().item() / spread
        to_theirs = (again - ours).abs().max().item() / spread
        changed = (expected - plain).abs().max().item() / spread
        ok = max(to_ours, to_theirs) < TOLERANCE and same and changed > 0.01
        failed += not ok
        print(
            f"{'ok' if ok else 'WRONG':5} {name}: peft to vlsm {to_ours:.1e}, vlsm to peft {to_theirs:.1e} of the spread; the adapter "
            f"changes {changed:.2f} of it; tensors {'equal' if same else 'differ'}, {left_out} left out"
        )
    print(f"{failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
