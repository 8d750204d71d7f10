"""Compares vlsm with the PyTorch program of bench/peer and writes bench/RESULTS-NAME.md.

    bench/peer/.venv/bin/python bench/run.py --name zen5 --data PATH/kvasir_polyp --image PATH/IMAGE.jpg

The programs run in turn, A B C A B C, each measurement in its own process. A ratio is the median of the ratios within each
round, so that drifts in the machine's speed cancel. The script needs only the standard library; the interpreter that runs it
also runs the PyTorch program, whose environment is described in bench/peer/README.md.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("published", "improved", "bf16")
PROGRAMS = ("vlsm", "int8", *WAYS)
# The last columns: how many times faster the second is than the first.
RATIOS = (("published", "vlsm"), ("improved", "vlsm"), ("improved", "int8"), ("bf16", "int8"))


@dataclass
class Case:
    """One row of the results: the same work in each program."""

    name: str
    kind: str
    method: str
    batch: int = 1
    prompts: int = 1
    steps: int = 1


def cases() -> list[Case]:
    training = [
        # Memory still grows in the first steps, which are slower.
        Case(f"{method}, batch {batch}", "train", method, batch=batch, prompts=batch, steps=3)
        for method in ("dense", "shallow", "decoder", "full")
        for batch in (1, 4, 8)
    ]
    epochs = [Case(f"{method}, epochs of 100 images", "epochs", method, batch=4) for method in ("shallow", "decoder")]
    inference = [
        Case(f"one image, {prompts} prompt{'s' * (prompts > 1)}", "infer", "zero-shot", prompts=prompts, steps=2)
        for prompts in (1, 10)
    ]
    return [*training, *epochs, *inference, Case("start to first mask", "first-mask", "zero-shot")]


def runs(case: Case, program: str) -> bool:
    """Whether a program does the work of a case: int8 is for frozen towers."""
    return program != "int8" or case.method != "full"


def measure(case: Case, program: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds per image (training), call or epoch, and the peak resident memory in bytes."""
    precision = {"vlsm": "f32", "int8": "int8"}.get(program)
    if precision and case.kind == "first-mask":
        return first_mask(args, precision)
    if precision and case.kind == "epochs":
        return epochs(case, args, precision)
    common = ["--base", args.base, "--case", case.kind, "--steps", case.steps]
    common += ["--batch", case.batch, "--prompts", case.prompts]
    if precision:
        method = [] if case.kind == "infer" else ["--method", case.method]
        command = [args.target / "vlsm-bench", *common, *method, "--precision", precision]
    else:
        command = [sys.executable, "bench/peer/bench.py", "--way", program, "--method", case.method, *common]
        command += ["--image", args.image] if case.kind == "first-mask" else []
        command += ["--data", args.data] if case.kind == "epochs" else []
    result = json.loads(run(command).splitlines()[-1])
    if case.kind == "epochs":
        seconds = statistics.median(result["epoch_seconds"])
    else:
        names = {"train": "seconds_per_image", "infer": "seconds_per_call", "first-mask": "seconds_to_first_mask"}
        seconds = result[names[case.kind]]
    measured = {"seconds": seconds, "peak": result["peak_bytes"]}
    for key in ("share_of_peak", "peak_flops", "instruction_set", "share_of_widest_peak", "widest_instruction_set"):
        if result.get(key):
            measured[key] = result[key]
    return measured


def epochs(case: Case, args: argparse.Namespace, precision: str) -> dict[str, float]:
    """Ten epochs of `vlsm train`: seconds of the first, which fills the cache, and the median of the others."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = "clipseg_decoder" if case.method == "decoder" else "clipseg_shallow_vlc"
        settings = {
            "model.base": args.base,
            "model.precision": precision,
            "data.root": args.data,
            "data.limit": 100,
            "trainer.epochs": 10,
            "trainer.batch_size": case.batch,
            "trainer.patience": 0,
            "trainer.validate": "false",
            "trainer.test": "false",
            "cache.dir": f"{folder}/cache",
        }
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        run([args.target / "vlsm", "train", f"recipes/{recipe}.toml", "--out", f"{folder}/run", *sets])
        summary = json.loads(Path(f"{folder}/run/summary.json").read_text())
    first, *later = summary["epoch_seconds"]
    return {"seconds": first, "later": statistics.median(later), "peak": summary["peak_memory_bytes"]}


def first_mask(args: argparse.Namespace, precision: str) -> dict[str, float]:
    """Wall time of `vlsm predict`, from process start as for the PyTorch program."""
    prompt = (ROOT / "bench/prompts.txt").read_text().splitlines()[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [args.target / "vlsm", "predict", "--base", args.base, "--precision", precision, "--prompt", prompt, "-o", folder, args.image]
        started = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{command} failed with status {status}")
        return {"seconds": time.monotonic() - started, "peak": usage.ru_maxrss * 1024}


def run(command: list[object]) -> str:
    process = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{process.stderr[-2000:]}")
    return process.stdout


Measurements = dict[str, list[dict[str, float]]]


def rows(name: str, measured: Measurements) -> list[str]:
    """Table rows of one case. Epochs of vlsm get a second row, for those after the first."""
    if any("later" in one for one in measured["vlsm"]):
        later = {
            program: [{**one, "seconds": one.get("later", one["seconds"])} for one in all_of]
            for program, all_of in measured.items()
        }
        return [row(f"{name}: first", measured), row(f"{name}: later", later)]
    return [row(name, measured)]


def row(name: str, measured: Measurements) -> str:
    def median(program: str, key: str) -> float:
        return statistics.median(one[key] for one in measured[program])

    def time(program: str) -> str:
        if not measured.get(program):
            return "-"
        return f"{median(program, 'seconds'):.3f} s, {median(program, 'peak') / 1e9:.2f} GB"

    def ratio(theirs: str, ours: str) -> str:
        if not (measured.get(theirs) and measured.get(ours)):
            return "-"
        pairs = [a["seconds"] / b["seconds"] for a, b in zip(measured[theirs], measured[ours])]
        spread = f" ({min(pairs):.2f} to {max(pairs):.2f})" if len(pairs) > 1 else ""
        return f"**{statistics.median(pairs):.2f}**{spread}"

    cells = [name, str(len(measured["vlsm"])), *map(time, PROGRAMS), *(ratio(*pair) for pair in RATIOS)]
    return f"| {' | '.join(cells)} |"


def shares(name: str, measured: Measurements) -> list[str]:
    """The speed of dense training as a share of the processor's."""
    found = [one for one in measured["vlsm"] if "share_of_peak" in one]
    if not found:
        return []

    def median(key: str) -> float:
        return statistics.median(one[key] for one in found)

    kernels, widest = found[0]["instruction_set"], found[0]["widest_instruction_set"]
    line = (
        f"- {name}, f32: {100 * median('share_of_peak'):.0f} % of the peak rate of multiply-adds with {kernels} "
        f"({median('peak_flops') / 1e9:.0f} GFLOP/s, measured), counting only the arithmetic that the vision tower needs"
    )
    if widest != kernels:
        line += f"; {100 * median('share_of_widest_peak'):.0f} % of that with {widest}"
    return [line + "."]


def machine() -> str:
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        model = found[1].strip() if found else model
    versions = "import torch, transformers; print(torch.__version__, transformers.__version__)"
    torch, transformers = run([sys.executable, "-c", versions]).split()
    commit = run(["git", "rev-parse", "--short", "HEAD"]).strip()
    rustc = run(["rustc", "--version"]).split()[1]
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}; vlsm at {commit} (Rust {rustc}); "
        f"PyTorch {torch}, Transformers {transformers}; {datetime.date.today()}"
    )


def report(done: dict[str, Measurements], machine: str) -> str:
    lines = [
        "# Compared with PyTorch",
        "",
        "Written by `bench/run.py`; `bench/peer/README.md` describes PyTorch's ways: *published*, *improved*, and *bf16*, the improved",
        "way in bfloat16.",
        "",
        f"{machine}. CLIPSeg base size, 352 px, profile `paper`; *vlsm* and the first two ways in f32, *int8* is vlsm with",
        "`precision = \"int8\"`. The programs ran in turn; values are medians over the rounds. Training: seconds per image of a step, or per",
        "epoch; inference: seconds per call. Memory is the process's peak. The last columns say how many times faster vlsm is (median,",
        "minimum and maximum of the rounds). PyTorch's peak for inference is that of loading, when the weights are in memory twice.",
        "",
        "| | rounds | vlsm | int8 | published | improved | bf16 | vlsm over published | over improved | int8 over improved | int8 over bf16 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(line for name, measured in done.items() for line in rows(name, measured)),
        "",
        *(line for name, measured in done.items() for line in shares(name, measured)),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="short name of the processor, for the name of the results' file")
    parser.add_argument("--data", type=Path, required=True, help="a data set in the published format, for epochs")
    parser.add_argument("--image", type=Path, required=True, help="an image file, for the first mask")
    parser.add_argument("--base", type=Path, help="folder of a full-size base with vocabulary (made if not given)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run only cases whose name matches this regular expression")
    parser.add_argument("--target", type=Path, default=ROOT / "target/debug", help="folder of the built programs")
    parser.add_argument("--raw", type=Path, default=ROOT / "bench/results.json", help="all measurements; continued if it exists")
    args = parser.parse_args()
    for program in (args.target / "vlsm", args.target / "vlsm-bench"):
        if not program.exists():
            parser.error(f"{program} does not exist; run `cargo build --bins`, or pass its folder with --target")
    where = machine()
    done: dict[str, Measurements] = json.loads(args.raw.read_text()) if args.raw.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if args.base is None:
            args.base = Path(folder) / "base"
            run([args.target / "vlsm", "model", "init", "--config", "clipseg-rd64-refined", "--seed", 1, "-o", args.base])
            run([sys.executable, "bench/peer/text.py", args.base])
        for case in cases():
            if not re.search(args.only, case.name):
                continue
            measured = done.setdefault(case.name, {program: [] for program in PROGRAMS})
            for _ in range(args.rounds):
                programs = [program for program in PROGRAMS if runs(case, program)]
                for program, result in [(program, measure(case, program, args)) for program in programs]:
                    measured[program].append(result)
                args.raw.write_text(json.dumps(done, indent=1))
                (ROOT / f"bench/RESULTS-{args.name}.md").write_text(report(done, where))
            print(*rows(case.name, measured), sep="\n", flush=True)


if __name__ == "__main__":
    main()
