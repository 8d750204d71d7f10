"""Compares vlsm with the PyTorch program of bench/peer and writes bench/RESULTS.md.

    bench/peer/.venv/bin/python bench/run.py --data PATH/kvasir_polyp --image PATH/IMAGE.jpg

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


def measure(case: Case, program: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds per image (training), call or epoch, and the peak resident memory in bytes."""
    if program == "vlsm" and case.kind == "first-mask":
        return first_mask(args)
    if program == "vlsm" and case.kind == "epochs":
        return epochs(case, args)
    common = ["--base", args.base, "--case", case.kind, "--steps", case.steps]
    common += ["--batch", case.batch, "--prompts", case.prompts]
    if program == "vlsm":
        method = [] if case.kind == "infer" else ["--method", case.method]
        command = [args.target / "vlsm-bench", *common, *method]
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
    if result.get("share_of_peak"):
        measured["share"] = result["share_of_peak"]
    return measured


def epochs(case: Case, args: argparse.Namespace) -> dict[str, float]:
    """Ten epochs of `vlsm train`: seconds of the first, which fills the cache, and the median of the others."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = "clipseg_decoder" if case.method == "decoder" else "clipseg_shallow_vlc"
        settings = {
            "model.base": args.base,
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


def first_mask(args: argparse.Namespace) -> dict[str, float]:
    """Wall time of `vlsm predict`, from process start as for the PyTorch program."""
    prompt = (ROOT / "bench/prompts.txt").read_text().splitlines()[0]
    with tempfile.TemporaryDirectory() as folder:
        command = [args.target / "vlsm", "predict", "--base", args.base, "--prompt", prompt, "-o", folder, args.image]
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
        later = [{**one, "seconds": one["later"]} for one in measured["vlsm"]]
        return [row(f"{name}: first", measured), row(f"{name}: later", {**measured, "vlsm": later})]
    return [row(name, measured)]


def row(name: str, measured: Measurements) -> str:
    def median(program: str, key: str) -> float:
        return statistics.median(one[key] for one in measured[program])

    def ratio(way: str) -> str:
        pairs = [theirs["seconds"] / ours["seconds"] for theirs, ours in zip(measured[way], measured["vlsm"])]
        spread = f" ({min(pairs):.2f} to {max(pairs):.2f})" if len(pairs) > 1 else ""
        return f"**{statistics.median(pairs):.2f}**{spread}, {100 * median('vlsm', 'peak') / median(way, 'peak'):.0f} %"

    cells = [name, str(len(measured["vlsm"]))]
    cells += [f"{median(program, 'seconds'):.3f} s, {median(program, 'peak') / 1e9:.2f} GB" for program in PROGRAMS]
    return f"| {' | '.join(cells + [ratio(way) for way in WAYS])} |"


def shares(name: str, measured: Measurements) -> list[str]:
    shares = [one["share"] for one in measured["vlsm"] if "share" in one]
    if not shares:
        return []
    return [
        f"- {name}: {100 * statistics.median(shares):.0f} % of the processor's peak rate of multiply-adds, counting only the arithmetic "
        "that the vision tower needs."
    ]


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
        "Written by `bench/run.py`; `bench/peer/README.md` describes the two ways, *published* and *improved*.",
        "",
        f"{machine}. CLIPSeg base size, 352 px, f32, profile `paper`. The programs ran in turn; values are medians",
        "over the rounds. Training: seconds per image of a step, or per epoch; inference: seconds per call. Memory is the process's peak.",
        "The last columns give PyTorch's time divided by vlsm's (median, minimum and maximum of the rounds), then vlsm's memory as a",
        "percentage of PyTorch's. PyTorch's 1.67 GB is the peak while loading, when the weights are in memory twice.",
        "",
        "| | rounds | vlsm | published | improved | against published | against improved |",
        "|---|---|---|---|---|---|---|",
        *(line for name, measured in done.items() for line in rows(name, measured)),
        "",
        *(line for name, measured in done.items() for line in shares(name, measured)),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
                for program, result in [(program, measure(case, program, args)) for program in PROGRAMS]:
                    measured[program].append(result)
                args.raw.write_text(json.dumps(done, indent=1))
                (ROOT / "bench/RESULTS.md").write_text(report(done, where))
            print(*rows(case.name, measured), sep="\n", flush=True)


if __name__ == "__main__":
    main()
