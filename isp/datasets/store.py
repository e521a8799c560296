"""The pair store: a folder of HDF5 shards, filled by any number of processes, whole after any interruption.

    store.json       what determines the pairs (recipe, camera, ISOs, size, seed, sources) and how many there shall be
    shard-00000.h5   pairs 0 to PER_SHARD - 1, shard-00001.h5 the next ones, and so on

A shard is written beside its place and renamed when it is whole, so that what is there is done, and what is not is done
again: nothing is marked, nothing can be lost or made twice. Pair i is the same bytes in whatever shard, by whichever
process: isp.datasets.synthesis.make_pair(seed, i).

Datasets of a shard with N pairs: `noisy` N 4 h w, uint16: the packed RGGB mosaic's counts, exact, as they were
quantised; `clean` N 3 2h 2w, float16, sensor-linear camera RGB: 11 bits of each value, which in the shadows, where the
noise is small, is finer than uint16 would be, and at white 90 times finer than a phone's noise at ISO 800; `index`,
`seed`, `shot` N 4, `read` N 4, `gains` N 3, `cam_to_output` N 3 3, `exposure_ev`, `scale`, `black`; `record`: every
parameter as JSON; `checksum`: CRC-32 of all of a pair. Uncompressed unless asked: noisy data hardly shrinks.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import Dataset

from isp import __version__
from isp.datasets.recipes import Isos, Recipe
from isp.datasets.sources import DeadLeaves, Joined, Source, open_source
from isp.datasets.synthesis import CameraChoice, Pairs, make_pair
from isp.fast import pairs as compiled
from isp.files import whole_file

FORMAT = 1
PER_SHARD = 32
PAGE = 4096  # bytes; what begins and ends with a page, in memory and in the file, needs no cache of the system
SYNC = 1 << 23  # bytes that are synced at once
COMPRESSIONS = ("none", "gzip", "lzf", "bitshuffle-lz4", "zstd")
# name: shape of one pair's row, from the packed size, and type
ROWS: dict[str, tuple[tuple[int, ...], str]] = {
    "index": ((), "i8"),
    "seed": ((), "u8"),
    "shot": ((4,), "f8"),
    "read": ((4,), "f8"),
    "gains": ((3,), "f8"),
    "cam_to_output": ((3, 3), "f8"),
    "exposure_ev": ((), "f8"),
    "scale": ((), "f8"),
    "black": ((), "f8"),
}


class StoreError(ValueError):
    """A store or a shard that is not what it should be, in one line that begins with its path."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what the pairs are and where they go; the number of pairs aside."""

    recipe: Recipe
    camera: str
    sources: tuple[str, ...]
    size: int = 512  # packed, both sides
    seed: int = 0
    isos: Isos | None = None  # in place of the recipe's
    noise: str | None = None  # a profile, in place of the camera's and the recipe's
    per_shard: int = PER_SHARD
    compression: str = "none"

    def as_dict(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.as_dict(),
            "camera": self.camera,
            "sources": list(self.sources),
            "size": self.size,
            "seed": self.seed,
            "isos": None if self.isos is None else str(self.isos),
            "noise": self.noise,
            "per_shard": self.per_shard,
            "compression": self.compression,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        isos = values["isos"]
        return cls(
            **{
                **values,
                "recipe": Recipe.from_dict(values["recipe"]),
                "sources": tuple(values["sources"]),
                "isos": None if isos is None else Isos.parse(isos),
            }
        )

    def open_source(self) -> Source:
        """The sources as one; dead leaves beside files are as many as those."""
        sources = [open_source(place, size=2 * self.size, seed=self.seed) for place in self.sources]
        files = sum(len(source) for source in sources if not isinstance(source, DeadLeaves))
        for source in sources:
            if isinstance(source, DeadLeaves) and files:
                source.length = files
        return sources[0] if len(sources) == 1 else Joined(sources)


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.h5"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, created if need be, for this process alone; the lock goes with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"{folder}: another process is writing to this store") from error
        yield


def prepare(folder: Path, plan: Plan, pairs: int) -> list[str]:
    """Begin the store, or go on with it: writes store.json and clears away what a killed process left behind. Returns
    warnings. Raises StoreError for a folder that holds other pairs than the plan's.
    """
    path = folder / "store.json"
    warnings = []
    if path.exists():
        there = read_plan(folder)
        stated, wanted = there["plan"], json.loads(json.dumps(plan.as_dict()))
        for name in wanted:
            if name == "sources":  # the same pictures may lie elsewhere now
                same = [Path(place).name for place in stated[name]] == [Path(place).name for place in wanted[name]]
            else:
                same = stated[name] == wanted[name]
            if not same:
                said, asked = (
                    value["name"] if name == "recipe" and stated[name]["name"] != wanted[name]["name"] else value
                    for value in (stated[name], wanted[name])
                )
                raise StoreError(f"{folder}: was begun with {name} {said}, now {asked}; choose another folder")
        if there["pairs"] > pairs:
            raise StoreError(f"{folder}: was begun for {there['pairs']} pairs, now {pairs}; it only grows")
        if there["version"] != __version__:
            warnings.append(
                f"{folder}: was begun with isp {there['version']}, this is {__version__}: pairs may differ in kind"
            )
    elif any(folder.glob("shard-*.h5")):
        raise StoreError(f"{folder}: holds shards but no store.json; choose another folder")
    content = {"format": FORMAT, "version": __version__, "pairs": pairs, "plan": plan.as_dict()}
    with whole_file(path, overwrite=True) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for left in folder.glob(".s*"):  # temporaries of store.json and of shards
        left.unlink()
    return warnings


def read_plan(folder: Path) -> dict[str, Any]:
    """What store.json says: format, version, pairs, plan."""
    path = folder / "store.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise StoreError(f"{path}: has format {content['format']}; this version reads format {FORMAT}")
        Plan.from_dict(content["plan"])
        if not isinstance(content["pairs"], int) or not isinstance(content["version"], str):
            raise KeyError("pairs, version")
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise StoreError(f"{folder}: is no pair store; it has no store.json") from error
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: is damaged ({' '.join(str(error).split())})") from error
    return dict(content)


def shards(pairs: int, per_shard: int) -> list[range]:
    """The indices of each shard."""
    return [range(first, min(first + per_shard, pairs)) for first in range(0, pairs, per_shard)]


def missing(folder: Path, pairs: int, per_shard: int) -> tuple[list[tuple[int, range]], list[str]]:
    """The shards that have yet to be made, and a line for each that is there but cannot be used."""
    todo, complaints = [], []
    for number, indices in enumerate(shards(pairs, per_shard)):
        path = shard_path(folder, number)
        if path.exists():
            try:
                with h5py.File(path, "r") as file:
                    held = file["index"][()].tolist()
            except (OSError, KeyError, RuntimeError) as error:
                complaints.append(f"{path}: cannot be read ({_one_line(error)})")
            else:
                if held == list(indices):
                    continue
                if held != list(indices)[: len(held)]:  # else: the store has grown since
                    complaints.append(f"{path}: holds other pairs than {indices.start} to {indices.stop - 1}")
        todo.append((number, indices))
    return todo, complaints


@lru_cache(maxsize=1)
def _opened(key: str) -> tuple[Plan, Source, CameraChoice]:
    plan = Plan.from_dict(json.loads(key))
    return plan, plan.open_source(), CameraChoice(plan.camera, plan.noise)


def write_shard(folder: str, plan: Mapping[str, Any], number: int, first: int, stop: int) -> int:
    """Make one shard, pairs first to stop - 1, replacing what is there; returns how many pairs it holds.

    plan: Plan.as_dict(). For worker processes: plain arguments, and the source stays open between calls.
    """
    the, source, choice = _opened(json.dumps(plan))
    size, count, options = the.size, stop - first, compression_options(the.compression)
    with (
        whole_file(shard_path(Path(folder), number), overwrite=True) as part,
        ShardWriter(part, size, count, options) as shard,
    ):
        file = shard.file
        file.attrs["format"], file.attrs["version"], file.attrs["cfa"] = FORMAT, __version__, "RGGB"
        rows = {name: np.zeros((count, *shape), kind) for name, (shape, kind) in ROWS.items()}
        records, checksums = [], np.zeros(count, "u4")
        for row, index in enumerate(range(first, stop)):
            pair = make_pair(source, the.recipe, choice, seed=the.seed, index=index, size=size, isos=the.isos)
            counts, target = shard.room(row)
            _store(pair, counts, target)
            shard.put(row)
            record = json.dumps(pair.records[0])
            values = _values(pair)
            for name, value in values.items():
                rows[name][row] = value
            records.append(record)
            checksums[row] = checksum(counts, target, {n: v[row] for n, v in rows.items()}, record)
        for name, column in rows.items():
            file[name] = column
        file.create_dataset("record", data=records, dtype=h5py.string_dtype())
        file["checksum"] = checksums
    return count


def _store(pair: Pairs, counts: np.ndarray, clean: np.ndarray) -> None:
    """What a shard holds of a pair, into counts 4 h w, uint16, and clean 3 2h 2w, float16."""
    if compiled.counts(pair.noisy, float(pair.scale), float(pair.black), counts) is None:
        counts[:] = pair.counts()[0].numpy()
    torch.from_numpy(clean).copy_(pair.clean[0])


class ShardWriter:
    """A shard's file, whose pixels are written in a thread while the next pair is made, and past the system's cache
    where they can be: each pair would be copied into it, to be written later all the same.

    with ShardWriter(path, size, count, options) as shard:      # options: of compression_options
        counts, clean = shard.room(row)                         # 4 size size, uint16, and 3 2size 2size, float16
        ...                                                     # fill both
        shard.put(row)
    """

    def __init__(self, path: Path, size: int, count: int, options: Mapping[str, Any] | None) -> None:
        with ExitStack() as stack:
            self.file = stack.enter_context(h5py.File(path, "w", alignment_threshold=PAGE, alignment_interval=PAGE))
            self._datasets = (
                _dataset(self.file, "noisy", (count, 4, size, size), "u2", options),
                _dataset(self.file, "clean", (count, 3, 2 * size, 2 * size), "f2", options),
            )
            self._rooms = _room(size), _room(size)
            self._direct: int | None = None
            with suppress(AttributeError, OSError):  # a system without such a way, a disk that has none
                self._direct = os.open(path, os.O_WRONLY | os.O_DIRECT)
                stack.callback(os.close, self._direct)
            self._thread = stack.enter_context(ThreadPoolExecutor(1))
            self._writing: Future[None] | None = None
            self._unsynced = 0  # bytes
            self._stack = stack.pop_all()

    def room(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the pair of a row is put before it is written; the next but one takes the same."""
        return self._rooms[row % 2]

    def put(self, row: int) -> None:
        """Have what is in a row's room written, when the row before it is."""
        self._wait()
        self._writing = self._thread.submit(self._write, row)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _write(self, row: int) -> None:
        for dataset, values in zip(self._datasets, self.room(row), strict=True):
            if not self._past_the_cache(dataset, row, values):
                dataset[row] = values
            self._unsynced += values.nbytes
        if self._unsynced >= SYNC:  # or the disk would begin when the shard is whole
            getattr(os, "fdatasync", os.fsync)(self.file.id.get_vfd_handle())  # macOS has only the second
            self._unsynced = 0

    def _past_the_cache(self, dataset: h5py.Dataset, row: int, values: np.ndarray) -> bool:
        """Whether the row is written; what the disk does not take goes the other way, and fails there."""
        start = dataset.id.get_offset()
        if self._direct is None or start is None or (start | values.nbytes | values.ctypes.data) % PAGE:
            return False
        with suppress(OSError):
            return os.pwrite(self._direct, values.data, start + row * values.nbytes) == values.nbytes
        return False

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        with self._stack:
            self._wait()


def _room(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory for a pair, from the beginning of a page on, of large ones where Linux has them: a disk takes more of
    those at once."""
    counts, clean = 4 * size**2, 12 * size**2  # samples of two bytes
    memory = mmap.mmap(-1, 2 * (counts + clean), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    samples = np.frombuffer(memory, "<u2")
    return samples[:counts].reshape(4, size, size), samples[counts:].view("<f2").reshape(3, 2 * size, 2 * size)


def _values(pair: Pairs) -> dict[str, Any]:
    said = pair.records[0]
    tensors = {name: getattr(pair, name)[0].numpy() for name in ROWS if name not in ("index", "seed")}
    return {"index": said["index"], "seed": said["seed"], **tensors}


def checksum(counts: np.ndarray, clean: np.ndarray, values: Mapping[str, Any], record: str) -> int:
    """CRC-32 of a pair: its two arrays, its numbers in the order of ROWS, its record."""
    from imagecodecs import deflate_crc32

    crc = 0
    for array in (counts, clean):  # zlib's takes six times as long
        crc = deflate_crc32(np.ascontiguousarray(array).data.cast("B"), crc)  # type: ignore[arg-type]
    for name, (_, kind) in ROWS.items():
        crc = zlib.crc32(np.asarray(values[name], dtype=kind).tobytes(), crc)
    return zlib.crc32(record.encode(), crc)


def _dataset(
    file: h5py.File, name: str, shape: tuple[int, ...], kind: str, options: Mapping[str, Any] | None
) -> h5py.Dataset:
    if options is None:  # one piece, there from the start: a pair, and any crop of it, has its place
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        return file.create_dataset(name, shape, kind, dcpl=layout)
    return file.create_dataset(name, shape, kind, chunks=(1, 1, *shape[2:]), **options)


def compression_options(name: str) -> Mapping[str, Any] | None:
    """What h5py takes for a compression by name; None for none. Raises StoreError for an unknown one."""
    if name in ("bitshuffle-lz4", "zstd"):
        try:
            import hdf5plugin
        except ImportError as error:
            raise StoreError(f"compression {name!r} needs the package hdf5plugin; pip install hdf5plugin") from error
        return dict(hdf5plugin.Bitshuffle() if name == "bitshuffle-lz4" else hdf5plugin.Zstd())
    known: dict[str, Mapping[str, Any] | None] = {
        "none": None,
        "gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
        "lzf": {"compression": "lzf", "shuffle": True},
    }
    if name not in known:
        raise StoreError(f"compression is {name!r}; expected one of {', '.join(COMPRESSIONS)}")
    return known[name]


def verify_shard(folder: str, number: int, first: int, stop: int) -> list[str]:
    """A line for everything that is wrong with a shard that should hold pairs first to stop - 1: every byte is read."""
    path = shard_path(Path(folder), number)
    if not path.exists():
        return [f"{path}: is missing (pairs {first} to {stop - 1})"]
    problems = []
    try:
        with _reader(path) as file:
            if (held := file["index"][()].tolist()) != list(range(first, stop)):
                return [f"{path}: holds pairs {_span(held)} instead of {first} to {stop - 1}"]
            columns = {name: file[name][()] for name in ROWS}
            records, sums = file["record"].asstr()[()], file["checksum"][()]
            for row, index in enumerate(held):
                values = {name: column[row] for name, column in columns.items()}
                if checksum(file["noisy"][row], file["clean"][row], values, records[row]) != sums[row]:
                    problems.append(f"{path}: pair {index} does not match its checksum")
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        return [f"{path}: cannot be read ({_one_line(error)})"]
    return problems


def _span(held: list[int]) -> str:
    return f"{held[0]} to {held[-1]} ({len(held)})" if held else "none"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _reader(path: Path) -> h5py.File:
    with suppress(ImportError):
        import hdf5plugin  # noqa: F401 - reading a shard that it compressed needs it, others do without
    return h5py.File(path, "r")


class _Shard:
    """An open shard: its numbers and records at hand, its pixels mapped into memory where they are not compressed."""

    def __init__(self, path: Path) -> None:
        file = _reader(path)
        self.columns = {  # of Pairs, float32
            name: torch.from_numpy(file[name][()]).float() for name in ROWS if name not in ("index", "seed")
        }
        self.records = file["record"].asstr()[()]
        self.noisy, self.clean = (_pixels(path, file[name]) for name in ("noisy", "clean"))


def _pixels(path: Path, dataset: h5py.Dataset) -> h5py.Dataset | np.ndarray:
    """The dataset, as a map of the file where it lies there in one piece: HDF5 takes longer to find a crop than the
    crop takes to read."""
    start = dataset.id.get_offset()
    return dataset if start is None else np.memmap(path, dataset.dtype, "c", start, dataset.shape)


class PairStore(Dataset[dict[str, Any]]):
    """The pairs of a store, for torch.utils.data.DataLoader with any number of workers.

    store[i] is a dict of tensors, white-balanced and linear: `packed` 4 h w, `sigma` 4 h w (standard deviation of its
    noise), `target` 3 2h 2w, and what renders it (`gains` 3, `cam_to_output` 3 3, `exposure_ev`), `shot` and `read` (4
    each, before white balance), `index`. Values are not clipped: where `packed` reaches its plane's gain, the sensor
    is saturated.
    crop: side of a random window of the packed side, drawn by PyTorch's default generator; None: the whole pair.
    Shards that are yet to be made are left out; a damaged one raises StoreError when the store is opened.
    """

    def __init__(self, folder: str | Path, crop: int | None = None) -> None:
        self.folder, self.crop = Path(folder), crop
        content = read_plan(self.folder)
        self.size: int = content["plan"]["size"]
        if crop is not None and not 0 < crop <= self.size:
            raise ValueError(f"a crop of {crop} does not fit pairs of {self.size} (packed)")
        self._places: list[tuple[Path, int]] = []
        for number, _ in enumerate(shards(content["pairs"], content["plan"]["per_shard"])):
            path = shard_path(self.folder, number)
            if path.exists():
                try:
                    with _reader(path) as file:
                        self._places += [(path, row) for row in range(len(file["index"]))]
                except (OSError, KeyError, RuntimeError) as error:
                    raise StoreError(f"{path}: cannot be read ({_one_line(error)}); make_pairs rebuilds it") from error
        self._shards: dict[tuple[int, Path], _Shard] = {}

    def __len__(self) -> int:
        return len(self._places)

    def _shard(self, path: Path) -> _Shard:
        key = (os.getpid(), path)  # HDF5 handles do not cross processes
        if key not in self._shards:
            try:
                self._shards[key] = _Shard(path)
            except (OSError, KeyError, RuntimeError, ValueError) as error:
                raise StoreError(f"{path}: cannot be read ({_one_line(error)})") from error
        return self._shards[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": {}}

    def sources(self) -> list[str]:
        """The name of each pair's picture."""
        return [json.loads(self._shard(path).records[row])["source"] for path, row in self._places]

    def pair(self, i: int, generator: torch.Generator | None = None) -> tuple[Pairs, tuple[int, int]]:
        """Pair i as synthesised, cropped if the store is, and the window's top and left in packed sites. generator: of
        the window; None: PyTorch's default one."""
        path, row = self._places[i]
        shard = self._shard(path)
        side = self.crop or self.size
        top, left = torch.randint(self.size - side + 1, (2,), generator=generator).tolist()
        try:
            counts = shard.noisy[row, :, top : top + side, left : left + side]
            clean = shard.clean[row, :, 2 * top : 2 * (top + side), 2 * left : 2 * (left + side)]
        except (OSError, RuntimeError) as error:
            raise StoreError(f"{path}: cannot be read ({_one_line(error)})") from error
        numbers = {name: column[row : row + 1] for name, column in shard.columns.items()}
        scale, black = numbers["scale"], numbers["black"]
        pairs = Pairs(
            noisy=(torch.from_numpy(counts.astype(np.float32))[None] - black) / scale,
            clean=torch.from_numpy(clean).float()[None],
            records=(json.loads(shard.records[row]),),
            **numbers,
        )
        return pairs, (top, left)

    def __getitem__(self, i: int) -> dict[str, Any]:
        pairs, _ = self.pair(i)
        packed, sigma, target = (x[0] for x in pairs.balanced())
        names = ("gains", "cam_to_output", "exposure_ev", "shot", "read")
        rest = {name: getattr(pairs, name)[0] for name in names}
        return {"packed": packed, "sigma": sigma, "target": target, "index": pairs.records[0]["index"], **rest}
