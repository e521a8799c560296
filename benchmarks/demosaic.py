"""Demosaicing beside LibRaw's: milliseconds per megapixel of the same mosaic in the same run.

    python -m benchmarks.demosaic                       # 4 MP, five rounds, writes benchmarks/results/demosaic.json
    python -m benchmarks.demosaic --megapixels 12 --threads 1

Ours: `demosaic` with its curve, float32, tile by tile as a render runs it. LibRaw's: from the unpacked mosaic to 16-bit
camera RGB, nothing else asked for. Every round runs all cases once, so that all share the machine's moods.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rawpy
import torch
from tqdm import tqdm

from benchmarks.measure import RESULTS, cpu_name
from isp.raw.cfa import CFA
from isp.stages.demosaic import METHODS, demosaic, halo_of
from isp.stages.demosaic.libraw import demosaicked, mosaic_dng
from isp.tiling import tiled

LIBRAW = ("LINEAR", "PPG", "AHD", "DHT")
RGGB = CFA("RGGB")


def cases(height: int, width: int) -> dict[str, Callable[[], object]]:
    """name: what to time. The mosaic holds detail at every scale and a little noise."""
    rng = np.random.default_rng(0)
    scene = np.full((height, width), 0.3, np.float32)
    for octave in range(1, 8):
        coarse = rng.standard_normal((height // 2**octave + 1, width // 2**octave + 1), dtype=np.float32)
        scene += 0.02 * np.kron(coarse, np.ones((2**octave, 2**octave), np.float32))[:height, :width]
    scene += 0.005 * rng.standard_normal(scene.shape, dtype=np.float32)
    x = torch.from_numpy(scene)[None, None]
    counts = (scene.clip(0, 1) * 65535).astype(np.uint16)

    def ours(name: str) -> Callable[[], object]:
        return lambda: tiled(lambda part: demosaic(part, RGGB, name), x, halo_of(name, RGGB) or 0)

    def theirs(name: str) -> Callable[[], object]:
        raw = rawpy.imread(mosaic_dng(counts, RGGB))
        assert raw.raw_image.shape == counts.shape  # unpacks, so that decoding is not timed
        return lambda: demosaicked(raw, name)

    bayer = [name for name, method in METHODS.items() if "bayer" in method.kinds]
    return {name: ours(name) for name in bayer} | {f"LibRaw {name}": theirs(name) for name in LIBRAW}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.demosaic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of PyTorch; LibRaw takes OMP_NUM_THREADS (default: all cores)")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "demosaic.json")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)

    height = round((args.megapixels * 1e6 * 3 / 4) ** 0.5 / 12) * 12
    width = round(args.megapixels * 1e6 / height / 12) * 12
    pixels = height * width / 1e6
    timed = cases(height, width)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    with torch.inference_mode():
        for turn in tqdm(range(args.rounds + 1), desc="measuring", unit="round"):
            for name, call in timed.items():
                start = time.perf_counter()
                call()
                if turn:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)

    per_pixel = {name: 1e3 * statistics.median(values) / pixels for name, values in seconds.items()}
    print(
        f"\n{width} x {height} ({pixels:.1f} MP), median of {args.rounds} rounds, {torch.get_num_threads()} threads\n"
    )
    print("| method | ms/MP | x LibRaw AHD |\n|---|---|---|")
    for name, value in per_pixel.items():
        print(f"| {name} | {value:.0f} | {value / per_pixel['LibRaw AHD']:.2f} |")
    record = {
        "command": f"python -m benchmarks.demosaic --megapixels {args.megapixels:g} --rounds {args.rounds}",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {cpu_name()}",
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "numpy", "rawpy")},
        "pixels": [width, height],
        "rows": [
            {"method": name, "ms_per_megapixel": round(v, 1), "seconds": seconds[name]} for name, v in per_pixel.items()
        ],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
