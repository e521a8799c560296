"""The reports' recipes trained for a few hundred steps in their scaled form: proof that each of them learns.

    python -m benchmarks.short_runs --photos photos/                  # all; writes results/short_runs.json
    python -m benchmarks.short_runs polyu-aisp --photos photos/ --steps 300

Each run is `python -m tools.train models/NAME/scaled.yaml` with `shorten` chosen for --steps steps, so that it has the
recipe's network, phases, losses and rates in small; stage 2, the second phase and the student go on from the runs
before them. What is kept: the weighted loss and the PSNR of held-out windows (8-bit sRGB, averaged weights, mean over
four levels of noise) against the step. The figure goes to docs/short-runs.svg. Not figures of quality: those networks
are trained for weeks.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, as_said, machine, versions
from isp.files import whole_file
from isp.train.config import TrainConfig
from isp.train.report import read_lines

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "docs" / "short-runs.svg"
# In the order in which they go on from one another.
NAMES = (
    "mialgo-stage1", "mialgo-stage2", "mialgo-student", "mialgo-tiny", "njust-heavy", "njust-light", "iid-ai",
    "polyu-aisp", "tongji-ipoe",
)  # fmt: skip
BEFORE = {"mialgo-stage2": "mialgo-stage1", "mialgo-student": "mialgo-stage2", "njust-light": "njust-heavy"}
POINTS = 8  # of a curve


def train(name: str, photos: Path, steps: int, folder: Path) -> dict[str, Any]:
    """Curves of one run: (step, value) of the loss and of the validation."""
    recipe = ROOT / "models" / name / "scaled.yaml"
    whole = sum(phase.steps for phase in TrainConfig.load(recipe).phases)
    overrides = [
        f"data.sources=[{photos.resolve()}]", f"shorten={whole / steps}", f"validation.every={max(steps // POINTS, 1)}",
        f"log_every={max(steps // POINTS, 1)}", "validation.pictures=4", "validation.size=64", "validation.samples=1",
        "ema=0.98",
    ]  # fmt: skip
    made = folder / "out" / f"{name}-scaled"
    command = [sys.executable, "-m", "tools.train", str(recipe), *overrides, "-o", str(made), "--quiet"]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}")
    lines = list(read_lines(made / "log.jsonl"))
    besides = {"step", "kind", "seconds", "rate", "seconds_per_step", "waited"}
    trained = [line for line in lines if line["kind"] == "training"]
    return {
        "steps": steps,
        "seconds": lines[-1]["seconds"],
        "loss": [
            (line["step"], round(sum(v for k, v in line.items() if k not in besides and not k.startswith("norm.")), 5))
            for line in trained
        ],
        "psnr_db": [(line["step"], round(line["psnr"], 3)) for line in lines if line["kind"] == "validation"],
    }


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def draw(runs: dict[str, Any], path: Path) -> None:
    """PSNR against the step; losses have terms of their own in each, and other ones from phase to phase."""
    import matplotlib.figure

    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, run in runs.items():
        axes.plot(*zip(*run["psnr_db"], strict=True), marker=".", label=name)
    axes.set(xlabel="step", ylabel="PSNR of held-out windows, dB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    with whole_file(path, overwrite=True) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(NAMES)}; default: all")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "short_runs.json")
    args = parser.parse_args()
    if unknown := sorted(set(args.names) - set(NAMES)):
        parser.error(f"no scaled recipe {unknown[0]!r}; expected some of {', '.join(NAMES)}")
    wanted = set(args.names or NAMES)
    for name in reversed(NAMES):  # what a wanted run goes on from
        if name in wanted and name in BEFORE:
            wanted.add(BEFORE[name])
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (n for n in NAMES if n in wanted):
            runs[name] = run = train(name, args.photos, args.steps, Path(folder))
            (step, start), (_, end) = run["psnr_db"][0], run["psnr_db"][-1]
            print(f"{name:16} {run['seconds']:6.0f} s  PSNR {start:.2f} dB at step {step}, {end:.2f} at {args.steps}")
    ran = {
        "command": as_said("benchmarks.short_runs"),
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": versions(("torch",)),
    }
    record = json.loads(args.output.read_text()) if args.output.exists() else {}
    record |= {name: {**run, **ran} for name, run in runs.items()}
    with whole_file(args.output, overwrite=True) as part:
        part.write_text(json.dumps(record, indent=1) + "\n")
    draw(record, FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
