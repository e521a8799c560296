"""Every network on a picture of 12.6 megapixels: seconds per megapixel, peak memory, and what tiles change.

    python -m benchmarks.networks                       # all of them; writes benchmarks/results/networks.json
    python -m benchmarks.networks flat tiny-unet --budget 20 --megapixels 3 -o /tmp/some.json

Networks have the size of their papers and random weights, PyTorch two threads. Each runs in a process of its own,
through the tiled inference with its default tiles, RGB networks over the default demosaic. Where all tiles would take
longer than the budget, some are run and the rest are filled with zeros and counted at their mean; memory is that of
the process at its peak, weights, frame and imports included. The share of the peak is that of useful multiplications,
without what tiles overlap, in the speed of a 3x3 convolution, measured in the same run, before and after each network.

Seams: networks that see all of a tile, on half a megapixel of dead leaves, in tiles of 512 pixels against the whole.
Networks that are not named keep the results that they have. After it, python -m tools.models --table brings the figures
into docs/networks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.measure import RESULTS, as_said, cpu_name
from isp.datasets.dead_leaves import dead_leaves
from isp.files import whole_file
from isp.nets import NETWORKS
from isp.nets.inference import develop_mosaic
from isp.nets.model import PATTERN, Model, ModelConfig
from isp.stages.demosaic import mosaic as mosaic_of
from tools.models import ARGUMENTS, counted

THREADS = 2
LIMIT_MB = 3000.0
SEAM_SIZE, SEAM_TILE = (640, 896), 512  # pixels: two tiles by two


def build(name: str, live: bool = False) -> Model:
    """A model with random weights; live: no parameter is 0, as some are at first, behind which nothing would pass."""
    arguments = ARGUMENTS.get(name, {})
    config = ModelConfig(name, arguments, inputs=("packed",), base="msg" if NETWORKS[name].kind == "rgb" else None)
    torch.manual_seed(0)
    model = Model(config).eval().requires_grad_(False)
    for p in model.parameters() if live else ():
        if not p.any():
            p.normal_(0, 0.1)
    model.network.to(memory_format=torch.channels_last)  # as isp.load_model
    return model


class Timed:
    """A model that stops its own watch, and gives zeros once the budget is spent."""

    def __init__(self, model: Model, budget: float) -> None:
        self.model, self.budget = model, budget
        self.config, self.multiple, self.minimum, self.reach = model.config, model.multiple, model.minimum, model.reach
        self.seconds: list[float] = []
        self.calls = 0

    def __call__(self, packed: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        if len(self.seconds) > 1 and sum(self.seconds) >= self.budget:
            return packed.new_zeros(len(packed), 3, *(2 * side for side in packed.shape[-2:]))
        start = time.perf_counter()
        y = self.model(packed, sigma)
        self.seconds.append(time.perf_counter() - start)
        self.tile = 2 * packed.shape[-2], 2 * packed.shape[-1]
        return y


def speed(name: str, megapixels: float, budget: float) -> dict[str, Any]:
    """One network on one picture, in this process."""
    torch.set_num_threads(THREADS)
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5 / 64) * 64
    height = width * 3 // 4
    x = torch.from_numpy(np.random.default_rng(0).random((1, 1, height, width), np.float32))
    before = convolution_peak()
    timed = Timed(build(name), budget)
    start = time.perf_counter()
    develop_mosaic(timed, x, 0.05 * x, PATTERN)
    around = time.perf_counter() - start - sum(timed.seconds)
    peak_mb = peak_memory()
    after = convolution_peak()
    # The first tile also sets up what the others find ready.
    each = statistics.mean(timed.seconds[1:] or timed.seconds)
    seconds = sum(timed.seconds) + each * (timed.calls - len(timed.seconds)) + around
    _, parameters, gmacs = counted(name, ARGUMENTS.get(name, {}))
    mp = height * width / 1e6
    peak = max(before, after)
    return {
        "parameters": parameters,
        "gmacs_per_mp": round(gmacs, 2),
        "megapixels": round(mp, 3),
        "tile": timed.tile,
        "tiles": timed.calls,
        "tiles_run": len(timed.seconds),
        "seconds_per_mp": round(seconds / mp, 4),
        "gflops": round(2 * gmacs * mp / seconds, 2),
        "convolution_gflops": round(peak, 1),
        "of_peak": round(2 * gmacs * mp / seconds / peak, 4),
        "peak_mb": round(peak_mb, 1),
    }


def convolution_peak(width: int = 64, side: int = 384, rounds: int = 4) -> float:
    """GFLOP/s of a 3x3 convolution in the layout that networks run in, the best of some rounds; 2 for a MAC."""
    x = torch.rand(1, width, side, side).to(memory_format=torch.channels_last)
    convolution = torch.nn.Conv2d(width, width, 3, padding=1).to(memory_format=torch.channels_last)
    best = float("inf")
    with torch.inference_mode():
        convolution(x)
        for _ in range(rounds):
            start = time.perf_counter()
            convolution(x)
            best = min(best, time.perf_counter() - start)
    return 2 * 9 * width * width * side * side / best / 1e9


def peak_memory() -> float:
    """MB that this process, not the one that started it, had in memory at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM; this benchmark needs Linux")


class Numbered:
    """Gives each tile the number of its turn: where the picture is no whole number, tiles were blended."""

    def __init__(self, model: Model) -> None:
        self.config, self.multiple, self.minimum, self.reach = model.config, model.multiple, model.minimum, model.reach
        self.turn = 0

    def __call__(self, packed: Tensor, sigma: Tensor) -> Tensor:
        self.turn += 1
        return torch.full((len(packed), 3, 2 * packed.shape[-2], 2 * packed.shape[-1]), float(self.turn))


def seam(name: str, size: tuple[int, int], tile: int) -> dict[str, float]:
    """What tiles change, in units of the standard deviation of the whole result."""
    torch.set_num_threads(THREADS)
    model = build(name, live=True)
    scene = dead_leaves(*size, np.random.default_rng(4))
    x = mosaic_of(torch.from_numpy(scene).permute(2, 0, 1)[None] ** 2.2, PATTERN)
    sigma = torch.full_like(x, 0.02)
    whole = develop_mosaic(model, x, sigma, PATTERN, tile=2 * max(size))
    tiled = develop_mosaic(model, x, sigma, PATTERN, tile=tile)
    turns = develop_mosaic(Numbered(model), x, sigma, PATTERN, tile=tile)[0, 0]
    blended = (turns - turns.round()).abs() > 1e-4  # H W
    difference = (tiled - whole)[0] / whole.std()  # 3 H W
    step = torch.zeros_like(difference)
    step[:, 1:, 1:] = torch.maximum(difference.diff(dim=1)[:, :, 1:].abs(), difference.diff(dim=2)[:, 1:].abs())
    difference = difference.abs()
    return {
        "largest": float(difference.max()),
        "mean": float(difference.mean()),
        "mean_overlap": float(difference[:, blended].mean()),
        "mean_inside": float(difference[:, ~blended].mean()),
        "step_overlap": float(step[:, blended].mean()),
        "step_inside": float(step[:, ~blended].mean()),
        "overlap_share": float(blended.float().mean()),
    }


def child(kind: str, name: str, *numbers: float) -> dict[str, Any]:
    """The result of this module's own command in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.networks", "--child", kind, name, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{name}: {said[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.networks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("networks", nargs="*", metavar="NAME", help="default: all")
    add("--megapixels", type=float, default=12.58)
    add("--budget", type=float, default=30.0, metavar="S", help="seconds of tiles per network; default: 30")
    add("--seam-size", type=int, nargs=2, default=SEAM_SIZE, metavar=("H", "W"))
    add("--seam-tile", type=int, default=SEAM_TILE, metavar="PIXELS")
    add("-o", "--output", type=Path, default=RESULTS / "networks.json")
    add("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.child:
        kind, name, *numbers = arguments.child
        result = (
            speed(name, *map(float, numbers))
            if kind == "speed"
            else seam(name, (int(numbers[0]), int(numbers[1])), int(numbers[2]))
        )
        print(json.dumps(result))
        return 0
    if unknown := [name for name in arguments.networks if name not in NETWORKS]:
        parser.error(f"no network {unknown[0]!r}; known: {', '.join(NETWORKS)}")
    names = arguments.networks or list(NETWORKS)
    said = as_said("benchmarks.networks", argv)
    kept = arguments.networks and arguments.output.is_file()
    had = json.loads(arguments.output.read_text()) if kept else {"networks": {}, "seams": {}}
    speeds, seams = had["networks"], had["seams"]
    for name in tqdm(names, unit="network"):
        found = child("speed", name, arguments.megapixels, arguments.budget)
        speeds[name] = {**found, "date": date.today().isoformat(), "command": said}
        over = "" if found["peak_mb"] < LIMIT_MB else f", above {LIMIT_MB:.0f}"
        tqdm.write(
            f"{name}: {found['seconds_per_mp']:.2f} s/MP, {found['of_peak']:.0%}, {found['peak_mb']:.0f} MB{over}"
        )
        if build_reach(name) is None:
            seams[name] = child("seam", name, *arguments.seam_size, arguments.seam_tile)
    report = {
        "date": date.today().isoformat(),
        "command": said,
        "machine": {"processor": cpu_name(), "cores": os.cpu_count(), "threads": THREADS},
        "versions": {"torch": torch.__version__},
        "seam_picture": {"size": list(arguments.seam_size), "tile": arguments.seam_tile},
        "networks": speeds,
        "seams": seams,
    }
    with whole_file(arguments.output, overwrite=True) as part:
        part.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def build_reach(name: str) -> int | None:
    with torch.device("meta"):
        reach: int | None = NETWORKS[name](**ARGUMENTS.get(name, {})).reach
    return reach


if __name__ == "__main__":
    sys.exit(main())
