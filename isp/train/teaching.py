"""A teacher's outputs for all pairs of a store, computed once: HDF5, half precision, resumable."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle
from tqdm import tqdm

from isp.datasets.store import PairStore
from isp.nets.inference import develop_mosaic
from isp.nets.load import find_model, load_model
from isp.nets.model import PATTERN
from isp.train.config import TrainConfig
from isp.train.group import Group


class Lessons:
    """What a teacher makes of each pair of a store: lessons[i, top, left, size] is a window of it, 3 2size 2size."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = -1

    def __call__(self, i: int, top: int, left: int, size: int) -> Tensor:
        if self._file is None or self._process != os.getpid():  # HDF5 handles do not cross processes
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        rows, cols = slice(2 * top, 2 * (top + size)), slice(2 * left, 2 * (left + size))
        return torch.from_numpy(self._file["output"][i, :, rows, cols].astype(np.float32))


def prepare(config: TrainConfig, group: Group, progress: bool) -> None:
    """Fill the cache that a recipe's teacher names, by the first of the processes; the others wait."""
    if config.teacher is None or config.teacher.cache is None:
        return
    assert config.data.store is not None
    if group.rank == 0:
        write_lessons(config.teacher.cache, config.teacher.model, PairStore(config.data.store), group.device, progress)
    if group.of > 1:
        torch.distributed.barrier()


def write_lessons(path: str | Path, teacher: str, store: PairStore, device: torch.device, progress: bool) -> None:
    """Fill the file with the outputs that it has not yet. ValueError where it is another teacher's or store's."""
    path = Path(path)
    pairs, side = len(store), 2 * store.size
    digest = hashlib.sha256(find_model(teacher).read_bytes()).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "a") as file:
        if "output" not in file:
            file.create_dataset("output", (pairs, 3, side, side), "f2", chunks=(1, 3, side, side))
            file.create_dataset("done", (pairs,), "?")
            file.attrs["teacher"] = digest
        if file.attrs.get("teacher") != digest or file["output"].shape != (pairs, 3, side, side):
            raise ValueError(f"{path} holds the outputs of another teacher or store; remove it, or name another file")
        missing = np.flatnonzero(~file["done"][()])
        model = load_model(teacher).to(device)
        for i in tqdm(missing, unit="pair", desc="teacher", disable=None if progress and len(missing) else True):
            packed, sigma, _ = store.pair(int(i))[0].balanced()
            mosaic, noise = (pixel_shuffle(x.to(device), 2) for x in (packed, sigma))
            file["output"][i] = develop_mosaic(model, mosaic, noise, PATTERN)[0].cpu().half().numpy()
            file["done"][i] = True
            file.flush()
