"""Everything that is measured of speed, beside peers and the machine's limits, by one command.

    python -m benchmarks.run                    # half an hour; writes benchmarks/results/run.json and the plots
    python -m benchmarks.run --quick            # three minutes, to look at: writes out/quick.json
    python -m benchmarks.run --only commands,stages --photos photos/
    python -m benchmarks.run --table            # the tables in README.md, from results files

Peers take turns with what they are compared with, round by round, so that all share the machine's moods; figures are
medians, with the lowest and the highest. Peers that are not installed are left out: LibRaw comes with rawpy; OpenCV,
darktable-cli and rawtherapee-cli are looked for. Frames are generated. Pairs are made of --photos, or of dead leaves.

limits     what the machine gives: copies, 3x3 convolutions, and the floor of a classical render that follows from it
start      an interpreter, `import isp`, `python -m isp.render --help`
decode     a DNG to its counts
writing    8-bit codes to PNG and TIFF files, beside Pillow and tifffile
commands   whole processes, from their start to the finished 8-bit TIFF: ours, a script of five lines for rawpy, others
render     a DNG to the pixels of a picture in memory, imports aside: benchmarks.render
kernel     the compiled kernel alone, from counts to codes in memory that is at hand, beside copying as many bytes
stages     each stage of a classical render in PyTorch, on the whole frame
demosaic   a mosaic to camera RGB
runtimes   the models that ship in PyTorch and without it, float32 and int8: benchmarks.runtimes
megapixels the commands against the size of the frame: time, memory, and the straight line through them
synthesis, crops, training   see benchmarks.make_pairs
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import (
    RESULTS,
    as_said,
    command,
    copy_bandwidth,
    interleaved,
    line,
    machine,
    summary,
    timed,
    versions,
)
from isp.files import whole_file
from isp.options import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]
RESULT = RESULTS / "run.json"
BEGIN, END = "<!-- speed: written by python -m benchmarks.run --table -->", "<!-- speed: end -->"
PACKAGES = (
    "torch", "numpy", "rawpy", "tifffile", "imagecodecs", "openvino", "onnxruntime", "h5py", "opencv-python",
    "opencv-python-headless",
)  # fmt: skip
KINDS = {"uncompressed": "none", "lossless JPEG": "lossless-jpeg"}
BASE = "rawpy AHD"  # what commands are compared with
FLOOR = "copy of as many bytes"
BYTES = 2 + 3  # of a 16-bit sample in and three codes out
LARGEST = 12_600_000  # pixels of a frame that is generated; larger ones repeat it
RAWPY = """\
import sys, rawpy, tifffile
with rawpy.imread(sys.argv[1]) as raw:
    algorithm = rawpy.DemosaicAlgorithm[sys.argv[3]]
    rgb = raw.postprocess(demosaic_algorithm=algorithm, use_camera_wb=True, no_auto_bright=True)
tifffile.imwrite(sys.argv[2], rgb)
"""
RENDER = ("-m", "isp.render", "{file}", "-o", "{out}", "-Y", "--bits", "8")
NEUTRAL = (*RENDER, "--look", "neutral")
LEARNED = f"isp, {DEFAULT_MODEL}"
INT8 = ("--precision", "int8")
COMMANDS: dict[str, tuple[str, ...]] = {  # after the interpreter's name
    "isp, malvar2004": (*NEUTRAL, "--demosaic", "malvar2004"),
    "isp, msg": (*NEUTRAL, "--demosaic", "msg"),
    LEARNED: (*NEUTRAL, "--model", DEFAULT_MODEL, "--precision", "float32"),
    f"{LEARNED}, int8": (*NEUTRAL, "--model", DEFAULT_MODEL, *INT8),
    f"{LEARNED}, int8 in OpenVINO": (*NEUTRAL, "--model", DEFAULT_MODEL, *INT8, "--runtime", "openvino"),
    "isp, no options": RENDER,
    "rawpy LINEAR": ("-c", RAWPY, "{file}", "{out}", "LINEAR"),
    "rawpy PPG": ("-c", RAWPY, "{file}", "{out}", "PPG"),
    BASE: ("-c", RAWPY, "{file}", "{out}", "AHD"),
}
PROGRAMS: dict[str, tuple[str, ...]] = {
    "darktable": (
        "darktable-cli", "{file}", "{out}", "--apply-custom-presets", "false", "--core",
        "--configdir", "{folder}/darktable", "--library", ":memory:", "--conf", "plugins/imageio/format/tiff/bpp=8",
    ),
    "RawTherapee": ("rawtherapee-cli", "-o", "{out}", "-t", "-b8", "-Y", "-c", "{file}"),
}  # fmt: skip
ACROSS = ("isp, malvar2004", "isp, msg", f"{LEARNED}, int8", "isp, no options", *PROGRAMS)  # on several machines
SCALED = ("isp, malvar2004", "isp, msg", LEARNED, f"{LEARNED}, int8")


class Plan(NamedTuple):
    """How much of everything."""

    rounds: int = 5
    commands: tuple[float, ...] = (12.0, 24.0)  # megapixels
    kinds: tuple[str, ...] = tuple(KINDS)
    cases: tuple[str, ...] = (*COMMANDS, *PROGRAMS)
    stages: float = 12.0
    demosaic: float = 4.0
    runtimes: tuple[str, ...] = ()  # models; none: all that ship with an exported network
    runtimes_megapixels: float = 12.58
    pictures: int = 12  # dead leaves, where there are no photographs
    megapixels: tuple[float, ...] = (1, 3, 6, 12, 24, 50, 100)
    workers: int = (os.cpu_count() or 1) + 1  # one more than cores: a shard that is synced keeps its process waiting
    pairs: int = 64
    size: int = 512
    steps: int = 8
    crops: int = 300
    models: tuple[str, ...] = ("flat", "tiny", "pyramid")


QUICK = Plan(
    rounds=2, commands=(12.0,), kinds=("uncompressed",), cases=(*SCALED, BASE, *PROGRAMS), stages=6.0, demosaic=2.0,
    runtimes_megapixels=3.0, pictures=4, megapixels=(1, 3, 6), pairs=48, steps=4,
    crops=100, models=("flat",),
)  # fmt: skip


def frame(path: Path, megapixels: float, compression: str) -> float:
    """A generated DNG of about so many megapixels, in 3:4; how many they are."""
    from benchmarks.render import make_file

    height, width = size_of(megapixels)
    if height * width <= LARGEST:
        make_file(path, height, width, compression)
    else:
        from isp.raw import read, write_dng

        make_file(path, *size_of(LARGEST / 1e6), "none")
        raw = read(path)
        times = [-(-side // had) for side, had in zip((height, width), raw.mosaic.shape, strict=True)]
        counts = np.tile(raw.mosaic, times)[:height, :width]
        write_dng(
            path,
            replace(raw, mosaic=counts, meta=replace(raw.meta, height=height, width=width)),
            compression=compression,
            overwrite=True,
        )
    return height * width / 1e6


def size_of(megapixels: float) -> tuple[int, int]:
    """Height and width in multiples of 12, every CFA's period."""
    height = max(round((megapixels * 1e6 * 3 / 4) ** 0.5 / 12), 1) * 12
    return height, max(round(megapixels * 1e6 / height / 12), 1) * 12


def limits(plan: Plan) -> dict[str, Any]:
    """Copy bandwidth, convolution peak, and milliseconds per megapixel to read a mosaic and write a picture."""
    from benchmarks.networks import convolution_peak

    bandwidth, convolution = copy_bandwidth(), convolution_peak()
    return {
        "copy_gb_per_s": round(bandwidth, 1),
        "convolution_gflops": round(convolution, 1),
        "streaming_ms_per_mp": round(BYTES / bandwidth, 3),
    }


def start(plan: Plan) -> list[dict[str, Any]]:
    """Seconds of commands that render nothing."""
    cases = {
        "python": ("-c", "pass"),
        "import isp": ("-c", "import isp"),
        "isp.render --help": ("-m", "isp.render", "--help"),
        "import torch": ("-c", "import torch"),
    }
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        calls = {
            name: lambda c=c: command([sys.executable, *c], log, {"PYTHONPATH": str(ROOT)})  # type: ignore[misc]
            for name, c in cases.items()
        }
        found = interleaved(calls, plan.rounds, warm_up=True, label="start")
    return [{"case": name, **_summaries(figures)} for name, figures in found.items()]


def decode(plan: Plan) -> list[dict[str, Any]]:
    """Seconds and milliseconds per megapixel of reading, in this process."""
    import rawpy

    from isp.raw import read

    def by_libraw(path: Path) -> object:
        with rawpy.imread(str(path)) as raw:
            return raw.raw_image.copy()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cases, pixels = {}, 0.0
        for kind in plan.kinds:
            path = Path(folder, f"{kind}.dng")
            pixels = frame(path, plan.stages, KINDS[kind])
            cases[f"{kind}: isp"] = timed(lambda path=path: read(path))  # type: ignore[misc]
            cases[f"{kind}: LibRaw"] = timed(lambda path=path: by_libraw(path))  # type: ignore[misc]
        for name, figures in interleaved(cases, plan.rounds, warm_up=True, label="decode").items():
            rows.append({"case": name, "megapixels": round(pixels, 2), **_per_megapixel(figures, pixels)})
    return rows


def writing(plan: Plan) -> list[dict[str, Any]]:
    """Milliseconds per megapixel of writing a new file, and its size; nothing waits for the disk."""
    from unittest.mock import patch

    import tifffile
    from PIL import Image

    from isp.fast import render_pixels
    from isp.fast.library import UnavailableError
    from isp.options import RenderOptions
    from isp.output import save
    from isp.raw import read

    with tempfile.TemporaryDirectory() as folder:
        pixels = frame(Path(folder, "frame.dng"), plan.stages, "none")
        codes = render_pixels(read(Path(folder, "frame.dng")), RenderOptions())
        png, tif = Path(folder, "out.png"), Path(folder, "out.tif")
        no_compiler = patch.object(sys.modules["isp.fast.library"], "library", lambda: UnavailableError("left out"))

        def by_zlib() -> None:
            with no_compiler:
                save(png, codes)

        writers: dict[str, tuple[Path, Callable[[], object]]] = {
            "PNG: isp": (png, lambda: save(png, codes)),
            "PNG: isp without a compiler": (png, by_zlib),
            "PNG: Pillow, level 1": (png, lambda: Image.fromarray(codes).save(png, compress_level=1)),
            "PNG: Pillow": (png, lambda: Image.fromarray(codes).save(png)),
            "TIFF: isp": (tif, lambda: save(tif, codes, bits=8)),
            "TIFF: tifffile": (tif, lambda: tifffile.imwrite(tif, codes)),
        }

        def measured(path: Path, write: Callable[[], object]) -> dict[str, float]:
            path.unlink(missing_ok=True)
            figures = timed(write)()
            return {**figures, "megabytes": path.stat().st_size / 1e6}

        cases = {name: lambda given=given: measured(*given) for name, given in writers.items()}  # type: ignore[misc]
        rows = []
        for name, figures in interleaved(cases, plan.rounds, warm_up=True, label="writing").items():
            size = summary(figures["megabytes"])["median"]
            row = {"case": name, "megapixels": round(pixels, 2), "megabytes": size}
            rows.append({**row, **_per_megapixel(figures, pixels)})
    return rows


def commands(plan: Plan) -> list[dict[str, Any]]:
    """Whole processes: seconds, seconds of processors and peak memory, and the ratio to rawpy's AHD."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for megapixels in plan.commands:
            for kind in plan.kinds:
                path = folder / "frame.dng"
                pixels = frame(path, megapixels, KINDS[kind])
                cases = _that_work({case: _command(case, path, folder) for case in plan.cases})
                found = interleaved(cases, plan.rounds, label=f"commands, {megapixels:g} MP {kind}")
                base = summary(found[BASE]["seconds"])["median"] if BASE in found else None
                for case, figures in found.items():
                    row = {"case": case, "file": kind, "megapixels": round(pixels, 2), **_summaries(figures)}
                    if base:
                        row["times_faster"] = round(base / row["seconds"]["median"], 2)
                    rows.append(row)
                path.unlink()
    return rows


def _that_work(cases: Mapping[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """Those that do, found by calling each once, which also warms up; of the rest a line says why they are left out."""
    working = {}
    for name, call in cases.items():
        try:
            call()
        except RuntimeError as error:
            print(f"left out: {name}: {' '.join(str(error).split())}", file=sys.stderr)
        else:
            working[name] = call
    return working


def _command(case: str, path: Path, folder: Path) -> Callable[[], dict[str, float]]:
    parts = (sys.executable, *COMMANDS[case]) if case in COMMANDS else PROGRAMS[case]
    out = folder / "out.tif"
    places = {"file": str(path), "out": str(out), "folder": str(folder)}
    arguments = [part if part is RAWPY else part.format(**places) for part in parts]

    def measure() -> dict[str, float]:
        if shutil.which(arguments[0]) is None:
            raise RuntimeError(f"{arguments[0]} is not installed")
        out.unlink(missing_ok=True)
        figures = command(arguments, folder / "log", {"PYTHONPATH": str(ROOT)})
        if not out.is_file():
            raise RuntimeError(f"{case}: wrote no {out.name}; it said: {(folder / 'log').read_text()[-300:]}")
        return figures

    return measure


def rendering(plan: Plan) -> list[dict[str, Any]]:
    """The cases of benchmarks.render, each in a process of its own: seconds and peak memory."""
    from benchmarks.render import CASES

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame(folder / "small.dng", 0.1, "none")
        pixels = frame(folder / "frame.dng", plan.stages, "none")

        def measured(case: str) -> dict[str, float]:
            given = ["-m", "benchmarks.render", "--case", case, folder / "frame.dng", folder / "small.dng"]
            done = subprocess.run([sys.executable, *given], capture_output=True, text=True, cwd=ROOT)
            if done.returncode:
                raise RuntimeError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
            figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
            return figures

        cases = _that_work({label: lambda case=case: measured(case) for label, case in CASES.items()})  # type: ignore[misc]
        for label, figures in interleaved(cases, plan.rounds, label="render").items():
            row = {"case": label, "megapixels": round(pixels, 2), **_summaries(figures)}
            rows.append({**row, **_per_megapixel(figures, pixels)})
    return rows


def kernel(plan: Plan) -> list[dict[str, Any]]:
    """From counts to codes by the compiled kernel, into a picture whose memory is at hand, beside the floor: a copy
    that reads and writes as many bytes. That many times the floor: times_floor, of medians."""
    import torch

    from isp.fast import develop, picture_size
    from isp.options import RenderOptions
    from isp.raw import read

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.dng")
        pixels = frame(path, plan.stages, "none")
        raw = read(path)
    picture = np.zeros((*picture_size(raw.meta), 3), np.uint8)
    source = torch.ones(int(pixels * 1e6 * BYTES) // 8)  # float32; half of the bytes is read and half written
    target = torch.zeros_like(source)

    def rendering(demosaic: str, look: str) -> Callable[[], object]:
        options = RenderOptions(demosaic=demosaic, look=look)
        return lambda: develop(raw, options, picture)

    calls: dict[str, Callable[[], object]] = {FLOOR: lambda: target.copy_(source)}
    for demosaic in ("malvar2004", "msg"):
        calls |= {f"{demosaic}, {look}": rendering(demosaic, look) for look in ("neutral", "standard")}
    found = interleaved({n: timed(c) for n, c in calls.items()}, 5 * plan.rounds, warm_up=True, label="kernel")
    floor = summary(found[FLOOR]["seconds"])["median"]
    return [
        {"case": case, **_per_megapixel(figures, pixels), "times_floor": round(_median(figures) / floor, 2)}
        for case, figures in found.items()
    ]


def _median(figures: Mapping[str, Sequence[float]]) -> float:
    return summary(figures["seconds"])["median"]


def stages(plan: Plan) -> list[dict[str, Any]]:
    """Milliseconds per megapixel of each stage of the reference render, tile by tile as it runs them."""
    import torch

    from isp.options import RenderOptions
    from isp.parameters import resolve
    from isp.pipeline import camera_stages, display_stages, run, sensor_stages
    from isp.raw import read

    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder, "frame.dng")
        pixels = frame(path, plan.stages, "none")
        raw = read(path)
        x = raw.tensor("cpu", torch.float32)
        p = resolve(raw.meta, RenderOptions())
        cases = {}
        for stage in [*sensor_stages(raw.meta), *camera_stages(raw.meta, p), *display_stages(raw.meta, p)]:
            cases[stage.name] = timed(lambda stage=stage, x=x: run([stage], x))  # type: ignore[misc]
            x = run([stage], x)
        found = interleaved(cases, plan.rounds, warm_up=True, label="stages")
    return [{"case": name, **_per_megapixel(figures, pixels)} for name, figures in found.items()]


def demosaicing(plan: Plan) -> list[dict[str, Any]]:
    """Milliseconds per megapixel from a mosaic to camera RGB; OpenCV's where it is installed."""
    import torch

    from benchmarks.demosaic import cases

    height, width = size_of(plan.demosaic)
    calls = cases(height, width)
    try:
        import cv2
    except ImportError:  # a peer, no dependency
        pass
    else:
        counts = np.random.default_rng(0).integers(0, 65536, (height, width), dtype=np.uint16)
        calls["OpenCV bilinear"] = lambda: cv2.cvtColor(counts, cv2.COLOR_BayerBG2RGB)  # its name of RGGB
        calls["OpenCV edge-aware"] = lambda: cv2.cvtColor(counts, cv2.COLOR_BayerBG2RGB_EA)
    with torch.inference_mode():
        found = interleaved({n: timed(c) for n, c in calls.items()}, plan.rounds, warm_up=True, label="demosaic")
    return [{"case": name, **_per_megapixel(figures, height * width / 1e6)} for name, figures in found.items()]


def runtimes(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """benchmarks.runtimes, of models that ship: rows of frames, and rows of networks alone."""
    from benchmarks.runtimes import find_files, measure
    from isp.locate import WEIGHTS, model_folders

    exported = [name for name, folder in model_folders().items() if find_files(folder / WEIGHTS)]
    found: dict[str, list[dict[str, Any]]] = {"rows": [], "networks": []}
    for name in plan.runtimes or exported:
        for kind, rows in measure(name, plan.runtimes_megapixels, plan.rounds, os.cpu_count() or 1).items():
            found[kind] += rows
    return found


def megapixels(plan: Plan) -> dict[str, Any]:
    """Whole commands on frames of all sizes, once each in three turns at most, and the lines through the medians."""
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for asked in plan.megapixels:
            path = folder / "frame.dng"
            pixels = frame(path, asked, "none")
            cases = _that_work({case: _command(case, path, folder) for case in SCALED if case in plan.cases})
            rounds = min(plan.rounds, 3 if asked <= 24 else 1)
            for case, figures in interleaved(cases, rounds, label=f"{asked:g} megapixels").items():
                points.append({"case": case, "megapixels": round(pixels, 2), **_summaries(figures)})
            path.unlink()
    lines = {}
    for case in {point["case"]: None for point in points}:
        own = [point for point in points if point["case"] == case]
        sizes = [point["megapixels"] for point in own]
        fitted = line(sizes, [point["seconds"]["median"] for point in own])
        lines[case] = {
            "ms_per_mp": round(1e3 * fitted["slope"], 1),
            "seconds_to_start": round(fitted["intercept"], 3),
            "r_squared": round(fitted["r_squared"], 4),
            "peak_mb_at_most": max(point["peak_mb"]["high"] for point in own),
        }
    return {"points": points, "lines": lines}


def pictures(folder: Path, count: int, side: int) -> Path:
    """A folder of dead leaves, as JPEG files of 3:4."""
    from PIL import Image

    from isp.datasets.dead_leaves import dead_leaves

    folder.mkdir()
    for number in range(count):
        picture = dead_leaves(side, side * 4 // 3, np.random.default_rng([9, number]))
        pixels = Image.fromarray((picture * 255).round().astype(np.uint8))
        pixels.save(folder / f"{number:03d}.jpg", quality=95, subsampling=0)
    return folder


def synthesis(plan: Plan, photos: Path) -> list[dict[str, Any]]:
    from benchmarks.make_pairs import measure_synthesis

    return measure_synthesis(
        photos, ("mialgo", "wide"), pairs=plan.pairs, plain=max(plan.pairs // 8, 1), size=plan.size,
        workers=plan.workers,
        rounds=plan.rounds,
    )  # fmt: skip


def crops(plan: Plan, photos: Path) -> list[dict[str, Any]]:
    from benchmarks.make_pairs import measure_crops

    return measure_crops(photos, pairs=16, size=plan.size, rounds=plan.rounds, count=plan.crops)


def training(plan: Plan, photos: Path) -> list[dict[str, Any]]:
    from benchmarks.make_pairs import measure_training

    return measure_training(photos, plan.models, steps=plan.steps, rounds=plan.rounds)


SECTIONS: dict[str, Callable[[Plan], Any]] = {
    "limits": limits,
    "start": start,
    "decode": decode,
    "writing": writing,
    "commands": commands,
    "render": rendering,
    "stages": stages,
    "kernel": kernel,
    "demosaic": demosaicing,
    "runtimes": runtimes,
    "megapixels": megapixels,
}
OF_PHOTOS: dict[str, Callable[[Plan, Path], Any]] = {"synthesis": synthesis, "crops": crops, "training": training}


def _summaries(figures: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    return {name: summary(values) for name, values in figures.items()}


def _per_megapixel(figures: Mapping[str, Sequence[float]], pixels: float) -> dict[str, dict[str, float]]:
    return {"ms_per_mp": summary([1e3 * seconds / pixels for seconds in figures["seconds"]])}


def measure(plan: Plan, sections: Sequence[str], photos: Path | None) -> dict[str, Any]:
    """The figures of these sections, by name."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sections:
            if name in SECTIONS:
                found[name] = SECTIONS[name](plan)
                continue
            if photos is None:
                photos = pictures(Path(folder, "pictures"), plan.pictures, 2 * plan.size)
            found[name] = OF_PHOTOS[name](plan, photos)
    return found


def table(results: Mapping[str, Any]) -> str:
    """The README's table: whole commands at the smallest size measured, and a line for each of the rest."""
    rows = results["commands"]
    smallest = min(row["megapixels"] for row in rows)
    kinds = [kind for kind in KINDS if any(row["file"] == kind for row in rows)]
    by_place = {(row["case"], row["file"]): row for row in rows if row["megapixels"] == smallest}
    cases = [case for case in (*COMMANDS, *PROGRAMS) if (case, kinds[0]) in by_place]
    head = [f"{smallest:.1f} MP, process start to TIFF"] + [
        part for kind in kinds for part in (f"{kind}, s", f"x {BASE}")
    ]
    lines = [f"| {' | '.join([*head, 'peak MB'])} |", "|" + "---|" * (len(head) + 1)]
    for case in cases:
        cells, peak = [case], 0.0
        for kind in kinds:
            row = by_place[case, kind]
            share = row["seconds"]["median"] / by_place[BASE, kind]["seconds"]["median"]
            cells += [f"{row['seconds']['median']:.2f}", f"{share:.2f}"]
            peak = max(peak, row["peak_mb"]["high"])
        lines.append(f"| {' | '.join(cells)} | {peak:.0f} |")
    facts = _facts(results)
    where = f"{results['machine']['processor']}, {results['machine']['cores']} cores"
    runs: dict[tuple[str, int, str], list[str]] = {}
    for section, run in results["made"].items():
        runs.setdefault((run["command"], run["rounds"], run["date"]), []).append(section)
    said = "; ".join(
        f"{', '.join(sections)} of {rounds} rounds, {day}, `{text}`" for (text, rounds, day), sections in runs.items()
    )
    made = f"Medians, {where}: {said}."
    return "\n".join([*lines, "", *(f"- {fact}" for fact in facts), *([""] if facts else []), made])


def processors(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The README's table of machines: how many times as fast as the base some commands were at the smallest size, for
    each kind of file. runs: what `measure` found there, by the names of their files in benchmarks/results."""
    lines = [
        f"| times as fast as {BASE}: {' / '.join(KINDS)} | {' | '.join(ACROSS)} | measured |",
        "|---" * (len(ACROSS) + 2) + "|",
    ]
    for name, results in runs.items():
        rows = results["commands"]
        smallest = min(row["megapixels"] for row in rows)
        times = {(row["case"], row["file"]): row["times_faster"] for row in rows if row["megapixels"] == smallest}
        cells = [
            " / ".join(f"{times[case, kind]:.2g}" if (case, kind) in times else "–" for kind in KINDS)
            for case in ACROSS
        ]
        where = (
            f"{results['machine']['processor'].split(',')[0]} with {results['machine']['instructions'] or 'none known'}"
        )
        made = f"[{results['made']['commands']['date']}](benchmarks/results/{name})"
        lines.append(f"| {where} | {' | '.join(cells)} | {made} |")
    return "\n".join(lines)


def _facts(results: Mapping[str, Any]) -> list[str]:
    """A line for each other section that was measured."""
    facts = []
    if "limits" in results:
        known = results["limits"]
        facts.append(
            f"The machine copies {known['copy_gb_per_s']:g} GB/s (a mosaic in and a picture out: "
            f"{known['streaming_ms_per_mp']:.2g} ms/MP) and convolves {known['convolution_gflops']:.0f} GFLOP/s."
        )
    for row in results.get("start", ()):
        if row["case"] in ("import isp", "isp.render --help"):
            facts.append(f"`{row['case']}`: {row['seconds']['median']:.2f} s.")
    if written := {row["case"]: row for row in results.get("writing", ())}:
        ours, zlib, pillow = (
            written[f"PNG: {name}"]["ms_per_mp"]["median"]
            for name in ("isp", "isp without a compiler", "Pillow, level 1")
        )
        facts.append(
            f"Writing 8-bit PNG: {ours:.1f} ms/MP, {zlib:.0f} by zlib in as many threads, {pillow:.0f} by Pillow at "
            f"its fastest; TIFF: {written['TIFF: isp']['ms_per_mp']['median']:.1f}."
        )
    if rows := {row["case"]: row for row in results.get("kernel", ())}:
        floor = rows.pop(FLOOR)["ms_per_mp"]["median"]
        ways = (f"{case} {row['ms_per_mp']['median']:.2g} ({row['times_floor']:.1f} x)" for case, row in rows.items())
        facts.append(f"The kernel alone, ms/MP, and times a copy of as many bytes ({floor:.2g}): {', '.join(ways)}.")
    for case, fitted in results.get("megapixels", {}).get("lines", {}).items():
        sizes = [point["megapixels"] for point in results["megapixels"]["points"]]
        facts.append(
            f"{case}, {min(sizes):.0f} to {max(sizes):.0f} MP: {fitted['seconds_to_start']:.2f} s and "
            f"{fitted['ms_per_mp']:.0f} ms/MP (R^2 {fitted['r_squared']:.3f}), "
            f"at most {fitted['peak_mb_at_most']:.0f} MB."
        )
    for row in results.get("runtimes", {}).get("networks", ()):
        if row["case"].startswith(("openvino", "kernel")):
            facts.append(
                f"{row['model']}, {row['case']}: {row['ms_per_mp']['median']:.0f} ms/MP, {row['gflops']:.0f} GFLOP/s, "
                f"{row['of_convolution_peak']:.0%} of the fp32 convolution peak."
            )
    made = {row["case"]: row for row in results.get("synthesis", ())}
    if made:
        ours = ", ".join(
            f"`{name}` {row['pairs_per_s']['median']:.3g} ({row['times_plain']:g} x)"
            for name, row in made.items()
            if name not in ("NumPy and gzip", "floor")
        )
        plain = made["NumPy and gzip"]["pairs_per_s"]["median"]
        side = made["NumPy and gzip"]["size"]
        facts.append(f"Pairs of {side}x{side} packed per second: a NumPy loop into gzip HDF5 {plain:.3g}; {ours}.")
    read = [row for row in results.get("crops", ()) if row["case"] == "store"]
    if read:
        speeds = ", ".join(
            f"{row['crop']}: {row['crops_per_s']['median']:.3g} ({row['times_gzip']:g} x gzip)" for row in read
        )
        facts.append(f"Random crops read per second, by their side: {speeds}.")
    if results.get("training"):
        waits = max(row["waited"]["median"] for row in results["training"])
        takes = max(row["synthesis_share"]["median"] for row in results["training"])
        facts.append(
            f"A training step on one core waits at most {waits:.1%} of its time for data; making the data takes "
            f"at most {takes:.1%} of the processor."
        )
    return facts


def write_tables(readme: Path, results: Mapping[str, Any], runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the tables between their markers. Raises ValueError for a file without them."""
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{readme}: has no lines {BEGIN!r} and {END!r}; put them where the table shall be")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with whole_file(readme, overwrite=True) as part:
        part.write_text(f"{before}{BEGIN}\n{table(results)}\n\n{processors(runs)}\n{END}{after}", encoding="utf-8")


def kept_runs() -> dict[str, dict[str, Any]]:
    """Of all machines: what is in benchmarks/results with commands in it."""
    paths = [RESULT, *sorted(RESULTS.glob("run-*.json"))]
    runs = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    return {name: results for name, results in runs.items() if "commands" in results}


def main(argv: Sequence[str] | None = None, plan: Plan | None = None) -> int:
    """plan: in place of the command's two."""
    names = (*SECTIONS, *OF_PHOTOS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller, fewer rounds")
    add("--rounds", type=int, metavar="N", help="of everything; default: 5, or 2")
    add("--only", metavar="NAMES", help=f"some of {','.join(names)}; what the file has of the others stays")
    add("--photos", type=Path, help="folder of pictures to make pairs of; default: dead leaves")
    add("-o", "--output", type=Path, help=f"default: {RESULT.relative_to(ROOT)}, or out/quick.json")
    add("--table", action="store_true", help="only write the tables in README.md")
    add("--plots", action="store_true", help="only draw the plots")
    arguments = parser.parse_args(argv)
    output = arguments.output or (ROOT / "out" / "quick.json" if arguments.quick else RESULT)
    sections = arguments.only.split(",") if arguments.only else list(names)
    if unknown := [name for name in sections if name not in names]:
        parser.error(f"no section {unknown[0]!r}; known: {', '.join(names)}")
    try:
        if arguments.table:
            write_tables(ROOT / "README.md", json.loads(output.read_text(encoding="utf-8")), kept_runs())
            return 0
        if not arguments.plots:
            plan = plan or (QUICK if arguments.quick else Plan())
            plan = plan._replace(rounds=arguments.rounds or plan.rounds)
            had = json.loads(output.read_text(encoding="utf-8")) if arguments.only and output.exists() else {}
            here, there = (f"{m['processor']}, {m['cores']} cores" for m in (machine(), had.get("machine", machine())))
            if here != there:
                parser.error(f"{output} holds figures of {there}, and this is {here}; name another file with -o")
            run = {"command": as_said("benchmarks.run", argv), "date": date.today().isoformat(), "rounds": plan.rounds}
            results = {
                **had, "machine": machine(), "versions": versions(PACKAGES),
                "made": {**had.get("made", {}), **dict.fromkeys(sections, run)},
                **measure(plan, sections, arguments.photos),
            }  # fmt: skip
            output.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(output, overwrite=True) as part:
                part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            if "commands" in results:
                print(table(results))
            print(f"written to {output}")
        from benchmarks.plots import draw

        for path in draw(json.loads(output.read_text(encoding="utf-8")), output.parent):
            print(f"written to {path}")
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
