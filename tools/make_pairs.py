"""python -m tools.make_pairs: training pairs of noisy raw and clean target, at scale."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isp.datasets.store import Plan

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h

EXAMPLES = """\
examples:
  python -m tools.make_pairs photos/ --recipe mialgo --camera random --iso 800-12800 -n 10000 -o pairs/ --workers 8
  python -m tools.make_pairs photos/ dead-leaves --recipe upi -n 2000 -o pairs/ --size 128
  python -m tools.make_pairs raws/ --recipe iid-ai -n 500 -o pairs/       clean low-ISO raws: their own camera
  python -m tools.make_pairs photos/ --recipe mialgo --camera photo.dng --preview look.html    a look, no store
  python -m tools.make_pairs -o pairs/ --verify                           read every byte of what is there
  python -m tools.make_pairs photos/ ... -o pairs/ --dask tcp://head:8786 the same on a cluster with a shared disk

Run again with the same arguments, the command goes on where it was interrupted, however that happened; a larger -n
adds pairs. With --verify, shards that fail their checksums are made again. A pair depends on the recipe, camera,
sources, ISOs, size, seed and its index, and on nothing else.

exit code: 0 the store is complete (and verified), 1 some shards failed, 2 wrong usage, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.make_pairs",
        usage="%(prog)s SOURCE... --recipe NAME -n N -o DIR [options]   (--help lists them)",
        description="Make pairs of noisy raw and clean target from clean pictures, into a folder of HDF5 shards.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("sources", nargs="*", metavar="SOURCE", help="folder of images or of raws, HDF5 file, or dead-leaves")
    add("-o", "--output", type=Path, metavar="DIR", help="the store")
    add("-n", "--pairs", type=whole(1), metavar="N", help="pairs that the store shall hold")
    add("--recipe", metavar="NAME", help="mialgo, iid-ai, njust-heavy, njust-light, upi, wide, or a .yaml of your own")
    add(
        "--camera",
        default="random",
        metavar="C",
        help="random (default; drawn between real ones), a name, .yaml or DNG",
    )
    add(
        "--iso", metavar="ISOS", help="800-12800 (log-uniform), 1600,3200 (one of these) or 6400; default: the recipe's"
    )
    add("--noise", metavar="PROFILE", help="noise profile in place of the camera's and the recipe's, by name or .yaml")
    add(
        "--size",
        type=whole(4),
        default=512,
        metavar="S",
        help="side of the packed raw, half the target's; default: 512",
    )
    add("--seed", type=whole(0), default=0, metavar="N", help="default: 0")
    add("--workers", type=whole(1), default=1, metavar="N", help="processes; default: 1")
    add(
        "--dask", metavar="ADDRESS", help="of a dask scheduler, whose workers see the same files; in place of --workers"
    )
    add("--per-shard", type=whole(1), default=32, metavar="N", help="pairs in a file; default: 32")
    add(
        "--compression",
        default="none",
        metavar="C",
        help="none (default), gzip, lzf, bitshuffle-lz4 or zstd (hdf5plugin)",
    )
    add("--verify", action="store_true", help="read everything back and compare checksums; alone: only that")
    add(
        "--preview", type=Path, metavar="FILE", help="write the first pairs as a page (.html) or a contact sheet (.png)"
    )
    add("--preview-pairs", type=whole(1), default=12, metavar="N", help="default: 12")
    return parser


def whole(least: int) -> Callable[[str], int]:
    """For argparse: a whole number from `least` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
        return int(text)

    return number


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not arguments.sources and not (arguments.verify and arguments.output):
        parser.error(
            "expected at least one SOURCE: a folder, an HDF5 file, or dead-leaves (--verify -o DIR needs none)"
        )
    if arguments.sources and not arguments.recipe:
        parser.error("expected --recipe: mialgo, iid-ai, njust-heavy, njust-light, upi, wide, or a .yaml of your own")
    if arguments.sources and not arguments.preview and not (arguments.output and arguments.pairs):
        parser.error("expected -o DIR and -n N (or --preview FILE)")
    if arguments.preview and arguments.preview.suffix.lower() not in (".html", ".png"):
        parser.error(f"--preview is {arguments.preview}; expected a name that ends in .html or .png")
    try:
        if not arguments.sources:
            with executor(arguments.workers, arguments.dask) as pool:
                return _report(_verify(arguments.output, pool))
        plan = _plan(arguments)
        if arguments.preview:
            _preview(plan, arguments.preview, arguments.preview_pairs)
        return _make(plan, arguments) if arguments.output and arguments.pairs else 0
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _plan(arguments: argparse.Namespace) -> Plan:
    """What is asked for, with every name in it resolved; ValueError for what does not exist."""
    from isp.datasets.recipes import Isos, load_recipe
    from isp.datasets.store import Plan, compression_options
    from isp.datasets.synthesis import CameraChoice, check_isos

    recipe = load_recipe(arguments.recipe)
    isos = Isos.parse(arguments.iso) if arguments.iso else None
    choice = CameraChoice(arguments.camera, arguments.noise)
    compression_options(arguments.compression)
    for line in check_isos(choice, recipe, isos):
        print(f"warning: {line}", file=sys.stderr)
    places = tuple(place if place == "dead-leaves" else str(Path(place).resolve()) for place in arguments.sources)
    return Plan(
        recipe=recipe,
        camera=_resolved(arguments.camera),
        sources=places,
        size=arguments.size,
        seed=arguments.seed,
        isos=isos,
        noise=arguments.noise and _resolved(arguments.noise),
        per_shard=arguments.per_shard,
        compression=arguments.compression,
    )


def _resolved(name: str) -> str:
    """A name, or the whole path where it is a file: workers may run elsewhere."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def _preview(plan: Plan, path: Path, count: int) -> None:
    from isp.datasets.preview import contact_sheet, preview_page
    from isp.datasets.synthesis import CameraChoice, make_pair

    source, choice = plan.open_source(), CameraChoice(plan.camera, plan.noise)
    pairs = [
        make_pair(source, plan.recipe, choice, seed=plan.seed, index=i, size=plan.size, isos=plan.isos)
        for i in range(count)
    ]
    (preview_page if path.suffix.lower() == ".html" else contact_sheet)(path, pairs)
    print(f"{path}: {count} pairs, noisy side left")


def _make(plan: Plan, arguments: argparse.Namespace) -> int:
    """Make what is missing of the store; returns the exit code."""
    from tqdm import tqdm

    from isp.datasets.store import locked, missing, prepare, shard_path, write_shard

    folder, pairs = arguments.output, arguments.pairs
    plan.open_source()  # complains before anything is begun
    shards = -(-pairs // plan.per_shard)
    with locked(folder), executor(min(arguments.workers, shards), arguments.dask) as pool:
        for line in prepare(folder, plan, pairs):
            print(f"warning: {line}", file=sys.stderr)
        complaints = _verify(folder, pool, drop=True) if arguments.verify else []
        todo, unusable = missing(folder, pairs, plan.per_shard)
        for line in complaints + unusable:
            print(f"warning: {line}; made again", file=sys.stderr)
        wanted = sum(len(indices) for _, indices in todo)
        failed, made, start = 0, 0, time.perf_counter()
        with tqdm(total=wanted, unit="pair", disable=None if wanted else True) as bar:
            futures: dict[Future[int], int] = {}
            try:
                for number, indices in todo:
                    future = pool.submit(write_shard, str(folder), plan.as_dict(), number, indices.start, indices.stop)
                    future.add_done_callback(partial(_advance, bar, len(indices)))
                    futures[future] = number
                for future in as_completed(futures):
                    if (error := future.exception()) is None:
                        made += future.result()
                    else:
                        failed += 1
                        path = shard_path(folder, futures[future])
                        tqdm.write(f"error: {path}: {' '.join(str(error).split())}", file=sys.stderr)
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        seconds = time.perf_counter() - start
        speed = f"{made} pairs made in {seconds:.1f} s ({made / seconds:.1f} pairs/s), {pairs - wanted} were there"
        print(f"{folder}: {speed if wanted else f'complete, {pairs} pairs'}")
        if failed:
            print(f"{failed} shards failed; the same command makes them again", file=sys.stderr)
            return 1
        return _report(_verify(folder, pool)) if arguments.verify else 0


def _advance(bar: Any, pairs: int, done: Future[int]) -> None:
    """Move the bar on by a shard, made or failed."""
    bar.update(pairs)


def _verify(folder: Path, pool: Executor, drop: bool = False) -> list[str]:
    """A line for everything that is wrong with the shards of a store; drop: those that are there and fail are removed,
    and what is missing counts as right."""
    from tqdm import tqdm

    from isp.datasets.store import read_plan, shard_path, shards, verify_shard

    content = read_plan(folder)
    ranges = shards(content["pairs"], content["plan"]["per_shard"])
    work = [(n, r) for n, r in enumerate(ranges) if not drop or shard_path(folder, n).exists()]
    problems: dict[int, list[str]] = {}
    with tqdm(total=sum(len(r) for _, r in work), unit="pair", desc="verify", disable=None if work else True) as bar:
        futures = {pool.submit(verify_shard, str(folder), n, r.start, r.stop): (n, r) for n, r in work}
        for future in as_completed(futures):
            number, indices = futures[future]
            problems[number] = future.result()
            bar.update(len(indices))
            if problems[number] and drop:
                shard_path(folder, number).unlink()
    known = {shard_path(folder, n).name for n in range(len(ranges))}
    extra = sorted(path for path in folder.glob("shard-*.h5") if path.name not in known)
    return [line for n in sorted(problems) for line in problems[n]] + [
        f"{path}: is no shard of this store" for path in extra
    ]


def _report(problems: list[str]) -> int:
    for line in problems:
        print(f"error: {line}", file=sys.stderr)
    print("not whole" if problems else "verified: every pair once, every checksum right")
    return 1 if problems else 0


class _InProcess(Executor):
    """Work done at once, here: one worker needs no process of its own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def executor(workers: int, dask: str | None) -> Iterator[Executor]:
    """Where the work is done: a dask cluster, processes, or here. Each process computes with one thread."""
    if dask:
        try:
            from distributed import Client
        except ImportError as error:
            raise ValueError("--dask needs the package distributed; pip install 'dask[distributed]'") from error
        with Client(dask) as client:
            client.run(start_worker)
            yield client.get_executor()
    elif workers > 1:
        import os
        from multiprocessing import get_context

        os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")  # large pages: a tenth of the time
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=start_worker) as pool:
            yield pool
    else:
        start_worker()
        yield _InProcess()


def start_worker() -> None:
    """One thread for each process, memory kept for the next pair, and no process outlives the command."""
    import ctypes
    import multiprocessing
    import os
    import threading

    import torch

    torch.set_num_threads(1)
    if (
        sys.platform == "linux"
    ):  # glibc would give each picture's memory back, and have it zeroed page by page for the next
        keep = getattr(ctypes.CDLL(None), "mallopt", None)
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD) if keep else ():
            keep(option, 1 << 30)
    warnings.filterwarnings("ignore", message=".*extrapolated", category=UserWarning)  # told once, by the command
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid == os.getppid():

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
