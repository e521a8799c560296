"""Rendering beside LibRaw's: seconds and peak memory of one 12-megapixel DNG, imports aside.

    python -m benchmarks.render                         # 12 MP, five rounds, writes benchmarks/results/render.json
    python -m benchmarks.render --megapixels 24 --rounds 3

`isp` is isp.pipeline (PyTorch), `isp.fast` the compiled kernel; models run at the precision they choose. Every case
runs in a process of its own, one after the other, round by round, so that all share the machine's moods. Each process
imports, warms up on a small file, then is timed once from file name to finished array. Decode alone is the floor:
nobody renders what he has not read.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.measure import RESULTS, cpu_name

CASES = {
    "decode, isp": "decode",
    "decode, LibRaw": "libraw-decode",
    "LibRaw, rawpy's defaults": "libraw-default",
    "LibRaw LINEAR": "libraw:LINEAR",
    "LibRaw AHD": "libraw:AHD",
    "isp.fast malvar2004, neutral": "fast:malvar2004:neutral",
    "isp.fast default, neutral": "fast:auto:neutral",
    "isp.fast default, standard": "fast:auto:standard",
    "isp.fast, model pyramid": "learned:pyramid",
    "isp.fast, model tiny": "learned:tiny",
    "isp.fast, model flat": "learned:flat",
    "isp.fast, model pyramid-large": "learned:pyramid-large",
    "isp malvar2004, neutral": "isp:malvar2004:neutral",
    "isp default, neutral": "isp:auto:neutral",
    "isp default, standard": "isp:auto:standard",
}


def make_file(path: Path, height: int, width: int, compression: str) -> None:
    """A DNG with detail at every scale and the noise of a low ISO, 14 bit."""
    from isp.raw import CFA, RawImage, RawMetadata, write_dng

    rng = np.random.default_rng(0)
    scene = np.zeros((height, width), np.float32)
    for octave in range(3, 9):
        coarse = rng.standard_normal((height // 2**octave + 2, width // 2**octave + 2), dtype=np.float32)
        scene += np.kron(coarse, np.ones((2**octave, 2**octave), np.float32))[:height, :width] * 2.0 ** (octave - 9)
    scene = np.clip(0.25 + 0.1 * scene, 0.001, 1)
    scene += rng.standard_normal(scene.shape, dtype=np.float32) * np.sqrt(2e-4 * scene)
    counts = np.clip(512 + scene * (16383 - 512), 0, 16383).astype(np.uint16)
    meta = RawMetadata(
        height=height,
        width=width,
        cfa=CFA("RGGB"),
        black_level=np.full((1, 1, 1), 512.0),
        white_level=[16383.0],
        calibration_illuminant1=21,
        color_matrix1=[[0.6797, -0.0419, -0.0807], [-0.4694, 1.1883, 0.3081], [-0.1217, 0.2478, 0.5641]],
        as_shot_neutral=[0.5, 1.0, 0.65],
        noise_profile=[[2e-4, 1e-9]],
        make="isp",
        model="benchmark",
        unique_camera_model="isp benchmark",
    )
    write_dng(path, RawImage(counts, meta), compression=compression)


def measure(case: str, path: str, warm_up: str) -> dict[str, float]:
    """Seconds of one call and the process's peak memory in MB. Runs in its own process."""
    kind, *rest = case.split(":")
    if kind.startswith("libraw"):
        import rawpy

        def call(name: str) -> object:
            with rawpy.imread(name) as raw:
                if kind == "libraw-decode":
                    return raw.raw_image.copy()
                if kind == "libraw-default":
                    return raw.postprocess()
                algorithm = rawpy.DemosaicAlgorithm[rest[0]]
                return raw.postprocess(demosaic_algorithm=algorithm, use_camera_wb=True, no_auto_bright=True)
    else:
        from isp.raw import read

        if kind == "isp":
            import torch  # noqa: F401 - its import is not what is timed here

            from isp.options import RenderOptions
            from isp.pipeline import render

            options = RenderOptions(demosaic=rest[0], look=rest[1])
        elif kind == "fast":
            from isp.fast import render_pixels
            from isp.options import RenderOptions

            options = RenderOptions(demosaic=rest[0], look=rest[1])
        elif kind == "learned":
            from isp.fast import picture_size
            from isp.fast.network import develop
            from isp.options import RenderOptions

            options = RenderOptions(model=rest[0])

        def call(name: str) -> object:
            raw = read(name)
            if kind == "decode":
                return raw
            if kind == "fast":
                return render_pixels(raw, options)
            if kind == "learned":
                pixels = np.empty((*picture_size(raw.meta), 3), np.uint8)
                develop(raw, options, pixels)
                return pixels
            picture = render(raw, options)[0]
            return picture.clamp_(0, 1).mul_(255).add_(0.5).byte().permute(1, 2, 0).contiguous().numpy()

    call(warm_up)
    start = time.perf_counter()
    call(path)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": peak_memory()}


def peak_memory() -> float:
    """MB that this process has held at most; getrusage would count its parent's as well."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.render", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "render.json")
    parser.add_argument("--case", nargs=3, metavar=("CASE", "FILE", "WARM_UP"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(*args.case)))
        return 0

    height = round((args.megapixels * 1e6 * 3 / 4) ** 0.5 / 12) * 12
    width = round(args.megapixels * 1e6 / height / 12) * 12
    figures: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {"uncompressed": "none", "lossless JPEG": "lossless-jpeg"}
        for name, compression in files.items():
            make_file(Path(folder, f"{name}.dng"), height, width, compression)
            make_file(Path(folder, f"{name} small.dng"), 240, 360, compression)
        rounds = [(name, case) for _ in range(args.rounds) for name in files for case in CASES]
        for name, case in tqdm(rounds, desc="measuring", unit="run"):
            command = [sys.executable, "-m", "benchmarks.render", "--case", CASES[case], f"{folder}/{name}.dng"]
            done = subprocess.run([*command, f"{folder}/{name} small.dng"], capture_output=True, text=True, check=True)
            for key, value in json.loads(done.stdout).items():
                figures.setdefault(f"{name}: {case}", {}).setdefault(key, []).append(value)

    pixels = height * width / 1e6
    print(f"\n{width} x {height} ({pixels:.1f} MP), median of {args.rounds} rounds\n")
    print("| file | case | s | ms/MP | spread | x LibRaw AHD | peak MB |\n|---|---|---|---|---|---|---|")
    rows = []
    for key, values in figures.items():
        name, case = key.split(": ", 1)
        seconds = statistics.median(values["seconds"])
        ratio = seconds / statistics.median(figures[f"{name}: LibRaw AHD"]["seconds"])
        spread = (max(values["seconds"]) - min(values["seconds"])) / seconds
        peak = max(values["peak_mb"])
        per_pixel = 1e3 * seconds / pixels
        print(f"| {name} | {case} | {seconds:.2f} | {per_pixel:.0f} | {spread:.0%} | {ratio:.2f} | {peak:.0f} |")
        rows.append({"file": name, "case": case, "ratio_to_libraw_ahd": round(ratio, 3), **values})
    record = {
        "command": f"python -m benchmarks.render --megapixels {args.megapixels:g} --rounds {args.rounds}",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {cpu_name()}",
        "versions": {name: version(name) for name in ("torch", "numpy", "rawpy", "tifffile", "imagecodecs")},
        "pixels": [width, height],
        "rows": rows,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
