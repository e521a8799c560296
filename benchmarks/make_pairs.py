"""Making pairs beside a plain NumPy loop, reading them beside gzip, and how long training steps wait for them.

    python -m benchmarks.make_pairs PHOTOS                    # writes benchmarks/results/make_pairs.json
    python -m benchmarks.make_pairs PHOTOS --pairs 96 --workers 2 --rounds 5

Synthesis: pairs of 512x512 packed, with all that a recipe asks for, into a store that is thrown away. The plain loop
does less: it reads the same pictures, takes a mosaic of their codes as they are, adds Gaussian noise with NumPy, and
writes float32 into HDF5 with gzip as h5py does unless told otherwise, all of it in one process as it stands there.
Floor: reading the pictures and writing as many bytes as the pairs have, in as many processes as the store: one more
than cores, for a shard that is synced keeps its process waiting. Processes have imported everything before the clock
runs.

Crops: random windows from a store and from the plain loop's file, both in the system's cache.

Training: steps of small networks on one thread, with pairs made on the fly: the share of the time that a step waits, as
the training's log has it, and the share of the processor that synthesis takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import date
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from benchmarks.measure import RESULTS, as_said, interleaved, machine, summary, timed, versions
from isp.datasets import store, synthesis
from isp.datasets.recipes import load_recipe
from isp.files import whole_file
from isp.nets.model import Model, ModelConfig
from tools.make_pairs import executor, start_worker

PACKAGES = ("torch", "numpy", "h5py")
PLAIN = "NumPy and gzip"
PER_SHARD = 8
NOISE = 0.01, 1e-4  # shot and read of the plain loop
CROPS = (32, 64, 128)  # packed
KEPT: dict[str, Any] = {"base": "msg", "residual": True, "toe": 5e-3}  # as the recipes of models/ have it
MODELS = {
    "flat": ModelConfig("flat", {"planes": 8}, **KEPT),
    "tiny": ModelConfig("tiny-unet", {"planes": 8}, **KEPT),
    "pyramid": ModelConfig("pyramid", {"planes": 20}, ("packed", "sigma", "base"), **KEPT),
}
BATCH, PATCHES = 8, (32, 48)


def plain_loop(folder: Path, pictures: Sequence[Path], pairs: int, size: int) -> None:
    """What one writes first: pairs of size x size x 4 and 2 size x 2 size x 3."""
    from PIL import Image

    rng = np.random.default_rng(0)
    with h5py.File(folder / "pairs.h5", "w") as file:
        noisy = file.create_dataset("noisy", (pairs, size, size, 4), "f4", compression="gzip")
        clean = file.create_dataset("clean", (pairs, 2 * size, 2 * size, 3), "f4", compression="gzip")
        for i in range(pairs):
            picture = np.asarray(Image.open(pictures[i % len(pictures)]).convert("RGB"), np.float32) / 255
            missing = [(0, max(2 * size - side, 0)) for side in picture.shape[:2]]
            picture = np.pad(picture, [*missing, (0, 0)], "symmetric")[: 2 * size, : 2 * size]
            planes = [picture[::2, ::2, 0], picture[::2, 1::2, 1], picture[1::2, ::2, 1], picture[1::2, 1::2, 2]]
            packed = np.stack(planes, axis=-1)
            sigma = np.sqrt(NOISE[0] * packed + NOISE[1])
            noisy[i] = packed + sigma * rng.normal(size=packed.shape)
            clean[i] = picture


def floor_shard(folder: str, plan: dict[str, Any], number: int, first: int, stop: int) -> int:
    """Read what write_shard reads, write as much as it writes, as it does; the numbers are the same each time."""
    the, source, _ = store._opened(json.dumps(plan))
    rng = np.random.default_rng(0)
    with (
        whole_file(store.shard_path(Path(folder), number), overwrite=True) as part,
        store.ShardWriter(part, the.size, stop - first, None) as shard,
    ):
        for row in range(2):
            noisy, clean = shard.room(row)
            noisy[:], clean[:] = rng.integers(0, 1024, noisy.shape), rng.random(clean.shape, np.float32)
        for row, index in enumerate(range(first, stop)):
            source[index % len(source)]
            shard.put(row)
    return stop - first


def fill(work: Callable[..., int], pool: Executor, plan: store.Plan, pairs: int) -> dict[str, float]:
    """Pairs per second into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        futures = [
            pool.submit(work, folder, plan.as_dict(), number, r.start, r.stop)
            for number, r in enumerate(store.shards(pairs, plan.per_shard))
        ]
        done = sum(future.result() for future in futures)
        return {"pairs_per_s": done / (time.perf_counter() - start)}


def plan_of(photos: Path, recipe: str, size: int) -> store.Plan:
    return store.Plan(load_recipe(recipe), "random", (str(photos.resolve()),), size, per_shard=PER_SHARD)


def measure_synthesis(
    photos: Path, recipes: Sequence[str], *, pairs: int, plain: int, size: int, workers: int, rounds: int
) -> list[dict[str, Any]]:
    """Pairs per second of each recipe, of the plain loop and of the floor; plain: pairs of the plain loop, a round."""
    plans = {name: plan_of(photos, name, size) for name in recipes}
    pictures = [photos / name for name in plans[recipes[0]].open_source().names]  # type: ignore[attr-defined]

    def by_numpy() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            plain_loop(Path(folder), pictures, plain, size)
            return {"pairs_per_s": plain / (time.perf_counter() - start)}

    with executor(workers, None) as pool:
        for plan in plans.values():  # workers import and open
            fill(store.write_shard, pool, plan, min(PER_SHARD * workers, pairs))
        cases = {PLAIN: by_numpy, "floor": lambda: fill(floor_shard, pool, plans[recipes[0]], pairs)}
        for name, plan in plans.items():
            cases[name] = lambda plan=plan: fill(store.write_shard, pool, plan, pairs)  # type: ignore[misc]
        found = interleaved(cases, rounds, label="synthesis")
    base = summary(found[PLAIN]["pairs_per_s"])["median"]
    rows = []
    for name, figures in found.items():
        speed = summary(figures["pairs_per_s"])
        times = round(speed["median"] / base, 1)
        rows.append({"case": name, "size": size, "pairs_per_s": speed, "times_plain": times})
    return rows


def measure_crops(photos: Path, *, pairs: int, size: int, rounds: int, count: int) -> list[dict[str, Any]]:
    """Random crops per second, one after the other in one process: of a store, both sides, linear and float32, and
    items, which are white-balanced and have their noise map; of gzip, both sides as they lie there."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, plan = Path(name), plan_of(photos, "mialgo", size)
        with store.locked(folder / "pairs"):
            store.prepare(folder / "pairs", plan, pairs)
            for number, r in enumerate(store.shards(pairs, PER_SHARD)):
                store.write_shard(str(folder / "pairs"), plan.as_dict(), number, r.start, r.stop)
                store.verify_shard(str(folder / "pairs"), number, r.start, r.stop)  # into the system's cache
        pictures = [photos / name for name in plan.open_source().names]  # type: ignore[attr-defined]
        plain_loop(folder, pictures, pairs, size)
        rng = np.random.default_rng(0)
        with h5py.File(folder / "pairs.h5") as file:
            for crop in (c for c in CROPS if c <= size):
                ours = store.PairStore(folder / "pairs", crop=crop)

                def windows(read: Callable[[int, int, int], object], times: int, crop: int = crop) -> None:
                    for _ in range(times):
                        read(int(rng.integers(pairs)), *rng.integers(size - crop + 1, size=2).tolist())

                def by_gzip(i: int, y: int, x: int, crop: int = crop) -> object:
                    clean = file["clean"][i, 2 * y : 2 * (y + crop), 2 * x : 2 * (x + crop)]
                    return file["noisy"][i, y : y + crop, x : x + crop], clean

                def sides(i: int, y: int, x: int, ours: store.PairStore = ours) -> object:
                    return ours.pair(i)  # draws its own window

                def items(i: int, y: int, x: int, ours: store.PairStore = ours) -> object:
                    return ours[i]

                calls = {
                    "gzip": (by_gzip, max(count // 10, 1)),
                    "store": (sides, count),
                    "store, items": (items, count),
                }
                found = interleaved(
                    {name: timed(lambda c=c: windows(*c)) for name, c in calls.items()},  # type: ignore[misc]
                    rounds, warm_up=True, label=f"crops of {crop}",
                )  # fmt: skip
                speeds = {n: summary([calls[n][1] / s for s in found[n]["seconds"]]) for n in calls}
                for case, speed in speeds.items():
                    times = round(speed["median"] / speeds["gzip"]["median"], 1)
                    rows.append({"case": case, "crop": crop, "crops_per_s": speed, "times_gzip": times})
    return rows


def measure_training(
    photos: Path,
    models: Sequence[str],
    *,
    steps: int,
    rounds: int,
    batch: int = BATCH,
    patches: Sequence[int] = PATCHES,
) -> list[dict[str, Any]]:
    """Milliseconds of a step on one thread, the share of it spent waiting for data, and synthesis' share of the
    processor's time."""
    torch.set_num_threads(1)
    rows = []
    for patch in patches:
        stream = synthesis.PairStream(
            plan_of(photos, "wide", 4).open_source(), load_recipe("wide"), synthesis.CameraChoice("random"),
            batch=batch, size=patch, pool=16,
        )  # fmt: skip
        batches = iter(stream)
        steps_of = {name: _step(MODELS[name]) for name in models}

        def block(step: Callable[[synthesis.Pairs], None], batches: Any = batches) -> dict[str, float]:
            waited, own, all_of_it, start = 0.0, time.thread_time(), time.process_time(), time.perf_counter()
            for _ in range(steps):
                asked = time.perf_counter()
                pairs = next(batches)
                waited += time.perf_counter() - asked
                step(pairs)
            seconds = time.perf_counter() - start
            own, all_of_it = time.thread_time() - own, time.process_time() - all_of_it
            return {
                "ms_per_step": 1e3 * seconds / steps,
                "waited": waited / seconds,
                "synthesis_share": (all_of_it - own) / all_of_it,
            }

        cases = {name: (lambda step=step: block(step)) for name, step in steps_of.items()}  # type: ignore[misc]
        for name, figures in interleaved(cases, rounds, warm_up=True, label=f"steps of {batch} x {patch}").items():
            rows.append(
                {"case": name, "batch": batch, "patch": patch, **{key: summary(v) for key, v in figures.items()}}
            )
        batches.close()  # type: ignore[attr-defined]
    return rows


def _step(config: ModelConfig) -> Callable[[synthesis.Pairs], None]:
    """A step of training as isp.train has it, with L1."""
    torch.manual_seed(0)
    net = Model(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), 1e-4)

    def step(pairs: synthesis.Pairs) -> None:
        packed, sigma, target = pairs.balanced()
        loss = (net(packed.contiguous(memory_format=torch.channels_last), sigma) - target).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def profile(plan: store.Plan, pairs: int) -> dict[str, float]:
    """Milliseconds of processor per pair of each part of write_shard, in this process with one thread."""
    spent: dict[str, float] = {}

    def watched(owner: object, name: str, label: str) -> Callable[[], None]:
        original = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            result = original(*args, **kwargs)
            spent[label] = spent.get(label, 0.0) + time.process_time() - start
            return result

        setattr(owner, name, wrapper)
        return lambda: setattr(owner, name, original)

    source = store._opened(json.dumps(plan.as_dict()))[1]
    undo = [
        watched(type(source), "__getitem__", "read the picture"),
        watched(synthesis, "draw_light", "draw camera and light"),
        watched(synthesis, "draw_pair", "draw the rest"),
        watched(synthesis, "unprocess_clean", "unprocess"),
        watched(synthesis, "blur", "blur"),
        watched(synthesis, "mosaic", "mosaic"),
        watched(synthesis, "_expose", "noise and whole counts"),
        watched(synthesis, "add_defects", "defects"),
        watched(synthesis, "degrade", "degrade, all of it"),
        watched(store, "_store", "to uint16 and float16"),
        watched(store, "checksum", "checksum"),
        watched(store, "write_shard", "all"),
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.make_pairs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("photos", type=Path, help="folder of pictures")
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 1, help="one more than cores: disks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16, help="training steps in a block")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "make_pairs.json")
    args = parser.parse_args(argv)
    recipes = ("mialgo", "iid-ai", "njust-heavy", "upi", "wide")
    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "command": as_said("benchmarks.make_pairs", argv),
        "machine": machine(),
        "versions": versions(PACKAGES),
        "pair": f"packed 4x{args.size}x{args.size} uint16 and 3x{2 * args.size}x{2 * args.size} float16",
        "workers": args.workers,
        "synthesis": measure_synthesis(
            args.photos, recipes,
            pairs=args.pairs, plain=max(args.pairs // 8, 1), size=args.size, workers=args.workers, rounds=args.rounds,
        ),
    }  # fmt: skip
    start_worker()
    results["profile_ms_per_pair"] = {"mialgo": profile(plan_of(args.photos, "mialgo", args.size), 24)}
    results["crops"] = measure_crops(args.photos, pairs=16, size=args.size, rounds=args.rounds, count=300)
    results["training"] = measure_training(args.photos, tuple(MODELS), steps=args.steps, rounds=args.rounds)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(args.output, overwrite=True) as part:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
