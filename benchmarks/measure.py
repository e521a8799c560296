"""What the benchmarks share: the machine, turns, medians and spreads, a command's time and memory, and the limits."""

from __future__ import annotations

import json
import os
import platform
import random
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

RESULTS = Path(__file__).parent / "results"
INSTRUCTIONS = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2"}
GENERATIONS = (  # vendor, family, models from and to, and what they are: virtual machines hide it in their names
    ("AuthenticAMD", 23, 0x00, 0x2F, "Zen"),
    ("AuthenticAMD", 23, 0x30, 0xFF, "Zen 2"),
    ("AuthenticAMD", 25, 0x00, 0x0F, "Zen 3"),
    ("AuthenticAMD", 25, 0x10, 0x1F, "Zen 4"),
    ("AuthenticAMD", 25, 0x20, 0x5F, "Zen 3"),
    ("AuthenticAMD", 25, 0x60, 0xAF, "Zen 4"),
    ("AuthenticAMD", 26, 0x00, 0xFF, "Zen 5"),
    ("GenuineIntel", 6, 0x55, 0x55, "Skylake or Cascade Lake"),
    ("GenuineIntel", 6, 0x6A, 0x6C, "Ice Lake"),
    ("GenuineIntel", 6, 0x8F, 0x8F, "Sapphire Rapids"),
    ("GenuineIntel", 6, 0xAD, 0xAE, "Granite Rapids"),
    ("GenuineIntel", 6, 0xCF, 0xCF, "Emerald Rapids"),
)

# A process keeps the peak of the one that it was forked from: a small one in between keeps ours out of the figure.
LAUNCHER = """\
import json, os, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions)
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - start
figures = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}
print(json.dumps({"code": os.waitstatus_to_exitcode(status), "figures": figures}))
"""


def cpu_says(field: str) -> str:
    """What Linux says of the first processor: its model name, its flags. Empty where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def cpu_name() -> str:
    """The processor's name, and its generation where that name says less than Linux's numbers."""
    name = cpu_says("model name") or platform.processor()
    vendor, family, model = cpu_says("vendor_id"), int(cpu_says("cpu family") or 0), int(cpu_says("model\t") or 0)
    known = (text for v, f, first, last, text in GENERATIONS if (v, f) == (vendor, family) and first <= model <= last)
    generation = next(known, "")
    return f"{name} ({generation})" if generation else name


def instructions() -> str:
    """The best that the processor has for sums of products of bytes, where Linux tells it."""
    flags = cpu_says("flags").split()
    return next((name for flag, name in INSTRUCTIONS.items() if flag in flags), "")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": f"{cpu_name()}, {platform.machine()}",
        "instructions": instructions(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def interleaved(
    cases: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, *, warm_up: bool = False, label: str = ""
) -> dict[str, dict[str, list[float]]]:
    """case: figure: its values, of every round. A round runs all cases once, so that they share the machine's moods, in
    an order of its own, so that none always follows the one that leaves most behind: memory to be given back, caches.
    warm_up: one round more, first, that is not kept."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in cases}
    order = random.Random(0)
    with tqdm(total=(rounds + warm_up) * len(cases), desc=label, unit="run", disable=None) as bar:
        for turn in range(-int(warm_up), rounds):
            for name in order.sample(list(cases), len(cases)):
                bar.set_postfix_str(name)
                figures = cases[name]()
                bar.update()
                for figure, value in figures.items() if turn >= 0 else ():
                    found[name].setdefault(figure, []).append(value)
    return found


def timed(call: Callable[[], object]) -> Callable[[], dict[str, float]]:
    """The call's seconds, for interleaved."""

    def measure() -> dict[str, float]:
        start = time.perf_counter()
        call()
        return {"seconds": time.perf_counter() - start}

    return measure


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest, to 4 digits."""
    median = statistics.median(values)
    return {name: float(f"{v:.4g}") for name, v in (("median", median), ("low", min(values)), ("high", max(values)))}


def as_said(module: str, argv: Sequence[str] | None = None) -> str:
    """The command line of a benchmark, argv or this process's, as results files keep it: of paths of this machine, the
    last part."""

    def portable(word: str) -> str:
        option, equals, value = word.rpartition("=")
        return f"{option}{equals}{Path(value).name}" if Path(value).is_absolute() else word

    return shlex.join(["python", "-m", module, *map(portable, sys.argv[1:] if argv is None else argv)])


def command(
    arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Seconds from a command's start to its end, seconds of processors, and the peak of its memory in MB.

    log: a file that takes what it says. Python keeps its compiled files, as where a package is installed. Raises
    RuntimeError, with the last line of what was said, where it fails.
    """
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LAUNCHER, str(log), *map(str, arguments)],
        capture_output=True, text=True, check=True, env={**own, **(environment or {})},
    )  # fmt: skip
    report = json.loads(launched.stdout)
    if report["code"]:
        lines = log.read_text(errors="replace").strip().splitlines() or [f"exit code {report['code']}"]
        raise RuntimeError(f"{Path(arguments[0]).name}: {lines[-1]}")
    figures: dict[str, float] = report["figures"]
    return figures


def copy_bandwidth(megabytes: int = 256, rounds: int = 5) -> float:
    """GB/s of a copy by PyTorch's threads, reading and writing counted, the best of some rounds."""
    import torch

    source = torch.ones(megabytes << 18)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best / 1e9


def line(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """Slope, intercept and R^2 of the straight line through points, by least squares."""
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    intercept = mean_y - slope * mean_x
    rest = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    total = sum((b - mean_y) ** 2 for b in y)
    return {"slope": slope, "intercept": intercept, "r_squared": 1 - rest / total if total else 1.0}
