"""Synthesis of pairs beside its floor, where the rest of the time goes, and how long a training step waits for it.

    python -m benchmarks.make_pairs PHOTOS                    # writes benchmarks/results/make_pairs.json
    python -m benchmarks.make_pairs PHOTOS --pairs 96 --workers 2 --rounds 5

Floor: reading the source pictures and writing as many bytes as the pairs have to such shards, in as many processes.
Store and floor take turns, round by round, so that both share the machine's moods; medians are reported. Processes are
started and have imported everything before the clock runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from tqdm import tqdm

from isp.datasets import store, synthesis
from isp.datasets.recipes import load_recipe
from isp.files import whole_file
from tools.make_pairs import executor, start_worker

RESULTS = Path(__file__).parent / "results"
PER_SHARD = 8
BLOCKS = 5  # of training steps, each with pairs made on the fly and with ready ones


def floor_shard(folder: str, plan: dict[str, Any], number: int, first: int, stop: int) -> int:
    """Read what write_shard reads, write as much as it writes; the numbers written are the same each time."""
    the, source, _ = store._opened(json.dumps(plan))
    size = the.size
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 1024, (4, size, size), dtype=np.uint16)
    clean = rng.random((3, 2 * size, 2 * size), dtype=np.float32).astype(np.float16)
    with whole_file(store.shard_path(Path(folder), number), overwrite=True) as part, h5py.File(part, "w") as file:
        a = file.create_dataset("noisy", (stop - first, *noisy.shape), "u2")
        b = file.create_dataset("clean", (stop - first, *clean.shape), "f2")
        for row, index in enumerate(range(first, stop)):
            source[index % len(source)]
            a[row], b[row] = noisy, clean
    return stop - first


def run(work: Callable[..., int], pool: Executor, plan: store.Plan, pairs: int) -> float:
    """Pairs per second into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        futures = [
            pool.submit(work, folder, plan.as_dict(), number, r.start, r.stop)
            for number, r in enumerate(store.shards(pairs, plan.per_shard))
        ]
        done = sum(future.result() for future in futures)
        return done / (time.perf_counter() - start)


def profile(plan: store.Plan, pairs: int) -> dict[str, float]:
    """Milliseconds per pair of each part of write_shard, in this process with one thread."""
    spent: dict[str, float] = {}

    def timed(owner: object, name: str, label: str) -> Callable[[], None]:
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = original(*args, **kwargs)
            spent[label] = spent.get(label, 0.0) + time.perf_counter() - start
            return result

        setattr(owner, name, wrapper)
        return lambda: setattr(owner, name, original)

    source = store._opened(json.dumps(plan.as_dict()))[1]
    undo = [
        timed(type(source), "__getitem__", "read the picture"),
        timed(synthesis, "draw_light", "draw camera and light"),
        timed(synthesis, "draw_pair", "draw the rest"),
        timed(synthesis, "unprocess_clean", "unprocess"),
        timed(synthesis, "blur", "blur"),
        timed(synthesis, "mosaic", "mosaic"),
        timed(synthesis, "expose_short", "noise and whole counts"),
        timed(synthesis, "add_defects", "defects"),
        timed(synthesis, "degrade", "degrade, all of it"),
        timed(store, "_stored", "to uint16 and float16"),
        timed(store, "checksum", "checksum"),
        timed(store, "write_shard", "all"),
    ]
    try:
        with tempfile.TemporaryDirectory() as folder:
            store.write_shard(folder, plan.as_dict(), 0, 0, 2)
            spent.clear()
            store.write_shard(folder, plan.as_dict(), 0, 0, pairs)
    finally:
        for step in reversed(undo):
            step()
    inside = ("read the picture", "draw camera and light", "draw the rest", "unprocess", "degrade, all of it")
    known = sum(spent[name] for name in (*inside, "to uint16 and float16", "checksum"))
    return {
        name: round(1e3 * value / pairs, 2)
        for name, value in {**spent, "write and the rest": spent["all"] - known}.items()
    }


class Small(torch.nn.Module):
    """A half-resolution network of 0.14 M parameters, as one would train on two cores."""

    def __init__(self, width: int = 48, blocks: int = 3) -> None:
        super().__init__()
        body = [
            layer
            for _ in range(2 * blocks)
            for layer in (torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.ReLU(inplace=True))
        ]
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(8, width, 3, padding=1),
            *body,
            torch.nn.Conv2d(width, 12, 3, padding=1),
            torch.nn.PixelShuffle(2),
        )

    def forward(self, packed: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(torch.cat([packed, sigma], 1))
        return result


def training(
    plan: store.Plan, device: str, batch: int, size: int, steps: int, prefetch: int | None
) -> dict[str, float]:
    """Milliseconds per step with pairs made on the fly, of which waiting for them, and with batches that are ready."""
    torch.manual_seed(0)
    net = Small().to(device)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    stream = synthesis.PairStream(
        plan.open_source(),
        plan.recipe,
        synthesis.CameraChoice(plan.camera),
        batch=batch,
        size=size,
        device=device,
        prefetch=prefetch,
        pool=16,
    )
    batches = iter(stream)

    def sync() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def step(pairs: synthesis.Pairs) -> None:
        packed, sigma, target = pairs.balanced()
        loss = (net(packed, sigma) - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    ready = [next(batches) for _ in range(8)]
    for pairs in ready:
        step(pairs)
    sync()
    streamed: list[float] = []
    fixed: list[float] = []
    waits: list[float] = []
    for _ in range(BLOCKS):  # in turns, so that both share the machine's moods
        waited, start = 0.0, time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            pairs = next(batches)
            waited += time.perf_counter() - asked
            step(pairs)
        sync()
        streamed.append((time.perf_counter() - start) / steps)
        waits.append(waited / steps)
        start = time.perf_counter()
        for number in range(steps):
            step(ready[number % len(ready)])
        sync()
        fixed.append((time.perf_counter() - start) / steps)
    return {
        "ms_per_step": round(1e3 * statistics.median(streamed), 1),
        "ms_waiting": round(1e3 * statistics.median(waits), 2),
        "share_waiting": round(sum(waits) / sum(streamed), 4),
        "ms_per_step_ready": round(1e3 * statistics.median(fixed), 1),
        "slowdown": round(statistics.median(s / f for s, f in zip(streamed, fixed, strict=True)), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.make_pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", help="folder of pictures")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="training steps in a block")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "make_pairs.json")
    args = parser.parse_args()

    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "versions": {name: version(name) for name in ("torch", "numpy", "h5py")},
        "pair": f"packed 4x{args.size}x{args.size} uint16 and 3x{2 * args.size}x{2 * args.size} float16",
        "workers": args.workers,
        "store": {},
    }
    plans = {
        name: store.Plan(
            load_recipe(name), "random", (str(Path(args.photos).resolve()),), args.size, per_shard=PER_SHARD
        )
        for name in ("mialgo", "iid-ai", "njust-heavy", "upi")
    }
    with executor(args.workers, None) as pool:
        for plan in plans.values():  # workers import and open
            run(store.write_shard, pool, plan, PER_SHARD * args.workers)
        speeds: dict[str, list[float]] = {name: [] for name in ("floor", *plans)}
        for _ in tqdm(range(args.rounds), desc="store", unit="round"):
            speeds["floor"].append(run(floor_shard, pool, plans["mialgo"], args.pairs))
            for name, plan in plans.items():
                speeds[name].append(run(store.write_shard, pool, plan, args.pairs))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    for name, value in medians.items():
        results["store"][name] = {"pairs_per_s": round(value, 2), "times_floor": round(medians["floor"] / value, 2)}
    start_worker()
    results["profile_ms_per_pair"] = {"mialgo": profile(plans["mialgo"], 24)}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(os.cpu_count() or 1)
    results["training"] = {
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "network": f"{sum(p.numel() for p in Small().parameters()) / 1e6:.3f} M parameters, half resolution",
    }
    for batch, size in ((8, 64), (16, 32)) if device == "cpu" else ((32, 96), (64, 64)):
        for prefetch in (0, 2):
            label = f"batch {batch} of 4x{size}x{size}, " + (
                f"{prefetch} batches ahead" if prefetch else "made in turn"
            )
            results["training"][label] = training(plans["mialgo"], device, batch, size, args.steps, prefetch)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(args.output, overwrite=True) as part:
        part.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
