"""Measures vlsm beside the PyTorch program of bench/peer and writes bench/RESULTS.md.

    bench/peer/.venv/bin/python bench/run.py --image PATH/IMAGE.jpg

The programs run in turn, A B C A B C, each measurement in a process of its own; a ratio is the median of the ratios within
a round, so that a machine whose speed drifts does not decide it. Needs nothing but the standard library; the interpreter that
runs it also runs the peer. README.md in bench/peer says how its environment is made.
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
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("published", "improved")
PROGRAMS = ("vlsm", *WAYS)


@dataclass
class Case:
    """One row of the results: the same work in each program."""

    name: str
    kind: str
    method: str
    batch: int = 1
    prompts: int = 1
    steps: int = 2
    seconds: dict[str, list[float]] = field(default_factory=lambda: {program: [] for program in PROGRAMS})
    shares: list[float] = field(default_factory=list)
    peak: dict[str, list[int]] = field(default_factory=lambda: {program: [] for program in PROGRAMS})


def cases() -> list[Case]:
    training = [
        Case(f"{method}, batch {batch}", "train", method, batch=batch, prompts=batch)
        for method in ("dense", "shallow", "decoder", "full")
        for batch in (1, 4, 8)
    ]
    inference = [
        Case(f"one image, {prompts} prompt{'s' * (prompts > 1)}", "infer", "zero-shot", prompts=prompts, steps=3)
        for prompts in (1, 10)
    ]
    first = [Case("start to first mask", "first-mask", "zero-shot")]
    return training + inference + first


def measure(case: Case, program: str, args: argparse.Namespace) -> tuple[float, int]:
    """Seconds of an image (training) or of a call, and the peak of resident memory in bytes."""
    if case.kind == "first-mask" and program == "vlsm":
        return first_mask(args)
    common = ["--base", args.base, "--case", case.kind, "--steps", case.steps]
    common += ["--batch", case.batch, "--prompts", case.prompts]
    if program == "vlsm":
        method = [] if case.kind == "infer" else ["--method", case.method]
        command = [args.target / "examples" / "bench", *common, *method]
    else:
        image = ["--image", args.image] if case.kind == "first-mask" else []
        command = [sys.executable, "bench/peer/bench.py", "--way", program, "--method", case.method, *common, *image]
    result = json.loads(run(command).splitlines()[-1])
    if "share_of_peak" in result and result["share_of_peak"]:
        case.shares.append(result["share_of_peak"])
    names = ("seconds_per_image", "seconds_per_call", "seconds_to_first_mask")
    return next(result[name] for name in names if name in result), result["peak_bytes"]


def first_mask(args: argparse.Namespace) -> tuple[float, int]:
    """`vlsm predict` from outside; the peer starts its clock with its process too."""
    prompt = (ROOT / "bench/prompts.txt").read_text().splitlines()[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [args.target / "vlsm", "predict", "--base", args.base, "--prompt", prompt, "-o", folder, args.image]
        started = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{command} ended with {status}")
        return time.monotonic() - started, usage.ru_maxrss * 1024


def run(command: list[object]) -> str:
    process = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{process.stderr[-2000:]}")
    return process.stdout


def row(case: Case) -> str:
    def cell(program: str) -> str:
        seconds = statistics.median(case.seconds[program])
        return f"{seconds:.3f} s, {statistics.median(case.peak[program]) / 1e9:.2f} GB"

    def ratio(way: str) -> str:
        pairs = [theirs / ours for theirs, ours in zip(case.seconds[way], case.seconds["vlsm"])]
        memory = statistics.median(case.peak["vlsm"]) / statistics.median(case.peak[way])
        spread = f" ({min(pairs):.2f} to {max(pairs):.2f})" if len(pairs) > 1 else ""
        return f"**{statistics.median(pairs):.2f}**{spread}, {100 * memory:.0f} %"

    cells = [case.name, *map(cell, PROGRAMS), *map(ratio, WAYS)]
    return f"| {' | '.join(cells)} |"


def shares(case: Case) -> str:
    share = 100 * statistics.median(case.shares)
    return (
        f"- {case.name}: {share:.0f} % of the multiply-adds that the processor can do, over the arithmetic that the vision "
        "tower cannot do without."
    )


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


def report(done: list[Case], rounds: int) -> str:
    lines = [
        "# Beside PyTorch",
        "",
        "Written by `bench/run.py`; `bench/peer/README.md` says what the two ways are and how to run it.",
        "",
        f"{machine()}. Medians of {rounds} rounds, the programs in turn. CLIPSeg base size, 352 px, f32, profile `paper`.",
        "Training: seconds of an image in a step; inference: seconds of a call. Memory is the process's peak. A ratio is how many",
        "times as long the peer takes (least and most in a round), and what share of its memory vlsm needs.",
        "",
        "| | vlsm | published | improved | against published | against improved |",
        "|---|---|---|---|---|---|",
        *map(row, done),
        "",
        *map(shares, filter(lambda case: case.shares, done)),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="folder of a full-size base with vocabulary (made if not given)")
    parser.add_argument("--image", type=Path, required=True, help="an image file, for the first mask")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--target", type=Path, default=ROOT / "target/debug", help="folder of the built programs")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/RESULTS.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.base is None:
            args.base = Path(folder) / "base"
            run([args.target / "vlsm", "model", "init", "--config", "clipseg-rd64-refined", "--seed", 1, "-o", args.base])
            run([sys.executable, "bench/peer/text.py", args.base])
        done = []
        for case in cases():
            if args.only not in case.name:
                continue
            for _ in range(args.rounds):
                for program in PROGRAMS:
                    seconds, peak = measure(case, program, args)
                    case.seconds[program].append(seconds)
                    case.peak[program].append(peak)
            done.append(case)
            print(row(case), flush=True)
            args.out.write_text(report(done, args.rounds))


if __name__ == "__main__":
    main()
