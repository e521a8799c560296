"""Trained models in every runtime: milliseconds per megapixel, share of the convolution peak, tiles against the whole.

    python -m benchmarks.runtimes                      # all shipped models; writes benchmarks/results/runtimes.json
    python -m benchmarks.runtimes pyramid --rounds 3 --megapixels 3 -o /tmp/some.json

Of each model, interleaved, medians of the rounds, with as many threads as --threads says:

- the network alone on one tile: PyTorch with planes first and with planes last, onnxruntime, OpenVINO in float32, in
  bfloat16 where the processor has it and in int8 where the model has it, and int8 by the compiled kernel; against a
  chain of 3x3 convolutions of 64 planes in float32, the better of PyTorch and OpenVINO, measured in the same rounds.
  Operations are two for each multiply-accumulate of the network.
- a frame of noise from counts to camera RGB in memory: PyTorch (planes last) and without it, in each precision; there
  in the tiles that fit into its memory, and in those of unlimited memory. The pixel factor is what tiles see over what
  the frame is.

Peak memory is that of a process of its own that renders the frame once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import RESULTS, as_said, command, interleaved, machine, summary, timed, versions
from isp.fast import network as fast
from isp.fast.engine import PACKAGES, native_bfloat16, open_network
from isp.fast.exports import find_export
from isp.fast.integers import obstacle
from isp.fast.models import Choice, choose
from isp.files import whole_file
from isp.locate import WEIGHTS, find_model, model_folders
from isp.options import RenderOptions
from isp.parameters import resolve
from isp.raw import CFA, RawImage, RawMetadata

SIDE = 512  # packed samples of the tile: a megapixel
CHAIN, PLANES = 8, 64  # of the convolutions that make the peak
WHOLE = 1e12  # bytes: as few tiles as threads


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.runtimes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("models", nargs="*", metavar="NAME", help="default: all that ship with an exported network")
    add("--megapixels", type=float, default=12.58)
    add("--rounds", type=int, default=5)
    add("--threads", type=int, default=2)
    add("-o", "--output", type=Path, default=RESULTS / "runtimes.json")
    add("--peak", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.peak:
        name, runtime, precision, megapixels, threads = arguments.peak
        options = RenderOptions(model=name, runtime=runtime, precision=precision)
        fast.develop(noise_frame(float(megapixels)), options, lambda first, rows: None, 8, int(threads))
        return 0
    names = arguments.models or [name for name, folder in model_folders().items() if find_files(folder / WEIGHTS)]
    results: dict[str, Any] = {"rows": [], "networks": []}
    for name in names:
        try:
            found = measure(name, arguments.megapixels, arguments.rounds, arguments.threads)
        except (ValueError, RuntimeError) as error:
            parser.error(" ".join(str(error).split()))
        for kind, rows in found.items():
            results[kind] += rows
            for row in rows:
                rest = ", ".join(f"{k} {v}" for k, v in row.items() if k not in ("model", "case", "ms_per_mp"))
                print(f"{name}, {row['case']}: {row['ms_per_mp']['median']:.1f} ms/MP; {rest}", flush=True)
    report = {
        "date": date.today().isoformat(),
        "command": as_said("benchmarks.runtimes", argv),
        "machine": machine() | {"threads": arguments.threads},
        "versions": versions(("torch", "numpy", *PACKAGES.values())),
        "megapixels": arguments.megapixels,
        **results,
    }
    with whole_file(arguments.output, overwrite=True) as part:
        part.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def measure(name: str, megapixels: float, rounds: int, threads: int) -> dict[str, list[dict[str, Any]]]:
    """One model: rows of frames, and rows of the network alone."""
    import torch

    from isp.nets.load import load_model
    from tools.models import counted

    torch.set_num_threads(threads)
    weights = find_model(name)
    files = find_files(weights)
    if not files:
        raise ValueError(f"{name} has no exported network; python -m tools.export {name} --network makes it")
    export = choose(weights, precision=next(iter(files))).export()
    planes = sum(fast.PLANES[given] for given in export.config["inputs"])
    _, _, gmacs = counted(export.config["network"], export.config["arguments"])
    x = np.random.default_rng(0).random((1, planes, SIDE, SIDE), np.float32)
    mp = 4 * SIDE * SIDE / 1e6
    runs = alone(load_model(name).network, files, x, threads)
    seconds = interleaved({n: timed(c) for n, c in (runs | peaks(threads)).items()}, rounds, warm_up=True, label=name)
    medians = {case: summary(figures["seconds"])["median"] for case, figures in seconds.items()}
    work = 2e-9 * 9 * PLANES**2 * SIDE**2 * CHAIN
    peak = max(work / median for case, median in medians.items() if case not in runs)
    networks = [
        {
            "model": name,
            "case": case,
            "ms_per_mp": summary([1e3 * value / mp for value in seconds[case]["seconds"]]),
            "gmacs_per_mp": round(gmacs, 2),
            "gflops": round(2 * gmacs * mp / medians[case], 1),
            "of_convolution_peak": round(2 * gmacs * mp / medians[case] / peak, 3),
            "convolution_gflops": round(peak, 1),
        }
        for case in runs
    ]
    return {"rows": frames(name, megapixels, rounds, threads), "networks": networks}


def find_files(weights: Path) -> dict[str, Path]:
    """The exported networks of a model by precision; bfloat16 where the processor has it."""
    known = ("float32", *(("bfloat16",) if native_bfloat16() else ()), "int8")
    found = {precision: find_export(weights, precision) for precision in known}
    return {precision: path for precision, path in found.items() if path is not None}


def alone(net: Any, files: dict[str, Path], x: np.ndarray, threads: int) -> dict[str, Callable[[], object]]:
    """Calls of the network on one tile, by label."""
    from copy import deepcopy

    import torch

    given = torch.from_numpy(x)
    last = deepcopy(net).to(memory_format=torch.channels_last)
    first = deepcopy(net).to(memory_format=torch.contiguous_format)
    given_last = given.to(memory_format=torch.channels_last)

    def eager(module: Any, value: Any) -> Callable[[], object]:
        def call() -> object:
            with torch.inference_mode():
                return module(value)

        return call

    runs = {"PyTorch, planes first": eager(first, given), "PyTorch, planes last": eager(last, given_last)}
    for runtime, package in PACKAGES.items():
        for precision, path in files.items():
            if precision == "bfloat16" and runtime != "openvino":
                continue
            try:
                run = open_network(path, runtime, threads, precision)
            except ValueError:
                continue  # not installed
            runs[f"{package} {precision}"] = lambda run=run: run(x)  # type: ignore[misc]
    if "int8" in files and obstacle(files["int8"]) is None:
        by_kernel = open_network(files["int8"], "kernel", threads)
        runs["kernel int8"] = lambda: by_kernel(x)
    return runs


def peaks(threads: int) -> dict[str, Callable[[], object]]:
    """A chain of convolutions, in PyTorch and in OpenVINO."""
    import torch

    x = torch.rand(1, PLANES, SIDE, SIDE).to(memory_format=torch.channels_last)
    weight = (torch.rand(PLANES, PLANES, 3, 3) - 0.5).div(PLANES).to(memory_format=torch.channels_last)

    def eager() -> object:
        y = x
        with torch.inference_mode():
            for _ in range(CHAIN):
                y = torch.nn.functional.conv2d(y, weight, padding=1)
        return y

    runs: dict[str, Callable[[], object]] = {"peak: PyTorch": eager}
    try:
        import openvino
        from openvino import opset13
    except ImportError:
        return runs
    given = node = opset13.parameter([1, PLANES, SIDE, SIDE], np.float32)
    for _ in range(CHAIN):
        kernel = opset13.constant(weight.contiguous().numpy())
        node = opset13.convolution(node, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(openvino.Model([node], [given]), "CPU", properties)
    request, value = compiled.create_infer_request(), x.contiguous().numpy()
    runs["peak: OpenVINO"] = lambda: request.infer([value], share_inputs=True, share_outputs=True)
    return runs


def frames(name: str, megapixels: float, rounds: int, threads: int) -> list[dict[str, Any]]:
    """A frame from counts to camera RGB: in PyTorch, and without it in tiles and in one."""
    import torch

    from isp.pipeline import camera_stages, sensor_stages
    from isp.pipeline import run as through

    raw = noise_frame(megapixels)
    mp = raw.mosaic.size / 1e6

    def eager() -> object:
        options = RenderOptions(model=name, runtime="torch", highlights="none")
        with torch.inference_mode():
            x = through(sensor_stages(raw.meta), raw.tensor())
            return through(camera_stages(raw.meta, resolve(raw.meta, options, x)), x)

    def without(runtime: str, precision: str, memory: float) -> Callable[[], object]:
        def call() -> object:
            options = RenderOptions(model=name, runtime=runtime, precision=precision, highlights="none")
            return fast.camera_rgb(raw, resolve(raw.meta, options), threads, memory)

        return call

    runs: dict[str, Callable[[], object]] = {"PyTorch": eager}
    files = find_files(find_model(name))
    ways = {f"OpenVINO {precision}": ("openvino", precision) for precision in files}
    if "int8" in files and obstacle(files["int8"]) is None:
        ways["kernel int8"] = ("kernel", "int8")
    for case, way in ways.items():
        runs |= {case: without(*way, fast.MEMORY), f"{case}, unlimited memory": without(*way, WHOLE)}
    seconds = interleaved({n: timed(c) for n, c in runs.items()}, rounds, warm_up=True, label=f"{name}, frame")
    medians = {case: summary(figures["seconds"])["median"] for case, figures in seconds.items()}
    rows = []
    for case, figures in seconds.items():
        row: dict[str, Any] = {
            "model": name,
            "case": case,
            "ms_per_mp": summary([1e3 * v / mp for v in figures["seconds"]]),
        }
        if case in ways:
            runtime, precision = ways[case]
            choice = choose(name, runtime, precision)
            tiles, factor = tiling(raw, choice, threads, fast.MEMORY)
            _, least = tiling(raw, choice, threads, WHOLE)
            row |= {"tiles": tiles, "pixel_factor": round(factor, 3)}
            ratio = medians[case] / medians[f"{case}, unlimited memory"]
            row["to_unlimited_by_factor"] = round(ratio / (factor / least), 3)
            row["peak_mb"] = round(peak_memory(name, runtime, precision, megapixels, threads), 1)
        rows.append(row)
    return rows


def tiling(raw: RawImage, choice: Choice, threads: int, memory: float) -> tuple[int, float]:
    """Tiles, and what they see over what the frame is."""
    multiple = choice.export().multiple
    h, w = ((n + 4 * fast.MARGIN) // 2 // multiple * multiple for n in raw.mosaic.shape)
    tiles = fast.tiles_of(choice, h, w, threads, memory)
    return len(tiles), sum(tile.part.height * tile.part.width for tile in tiles) / (h * w)


def noise_frame(megapixels: float) -> RawImage:
    """Counts of an even grey with noise; the time of a network does not depend on what it sees."""
    width = round((megapixels * 1e6 * 4 / 3) ** 0.5 / 64) * 64
    height = width * 3 // 4
    counts = np.random.default_rng(0).normal(2000, 40, (height, width)).astype(np.uint16)
    levels = {"black_level": np.array([[[256.0]]]), "white_level": np.array([4095.0])}
    meta = RawMetadata(height, width, cfa=CFA("RGGB"), noise_profile=np.array([[1e-3, 1e-6]]), **levels)
    return RawImage(counts, meta)


def peak_memory(name: str, runtime: str, precision: str, megapixels: float, threads: int) -> float:
    """MB that a process of its own takes at most to bring the frame to codes."""
    given = [sys.executable, "-m", "benchmarks.runtimes"]
    given += ["--peak", name, runtime, precision, str(megapixels), str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        return command(given, Path(folder, "log"))["peak_mb"]


if __name__ == "__main__":
    sys.exit(main())
