"""What a run trains on, addressed by its step, and the fixed set that it is validated on."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import PurePath
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from isp.datasets.degradations import quantise
from isp.datasets.recipes import Isos, load_recipe
from isp.datasets.sources import DeadLeaves, Folder, Joined, Sample, Source, SourceError, open_source
from isp.datasets.store import PairStore
from isp.datasets.synthesis import PATTERN, CameraChoice, Pairs, PairStream, make_pair
from isp.noise.gaussian import gaussian_noise
from isp.stages.demosaic import mosaic
from isp.train.config import Data, TrainConfig, Validation
from isp.train.teaching import Lessons

AHEAD = 4  # batches of a store read in advance
WINDOWS = 4  # drawn of a validation picture; the one with most detail is taken: skies tell little


class Batch(NamedTuple):
    """What one step sees; linear and white-balanced."""

    packed: Tensor  # B 4 h w
    sigma: Tensor  # B 4 h w, standard deviation of its noise
    target: Tensor  # B 3 2h 2w
    cam_to_output: Tensor  # B 3 3, to linear sRGB
    taught: Tensor | None = None  # B 3 2h 2w, a teacher's output

    @classmethod
    def of(cls, pairs: Pairs, device: torch.device) -> Batch:
        return cls(*pairs.balanced(), pairs.cam_to_output).to(device)

    def to(self, device: torch.device) -> Batch:
        moved = {name: x.to(device, non_blocking=True) for name, x in self._asdict().items() if x is not None}
        return Batch(**moved)

    def parts(self, number: int) -> list[Batch]:
        """Equal parts, for accumulation."""
        if len(self.packed) % number:
            raise ValueError(f"{len(self.packed)} pairs cannot be computed in {number} parts; change batch, accumulate")
        columns = [[None] * number if x is None else x.chunk(number) for x in self]
        return [Batch(*part) for part in zip(*columns, strict=True)]


class Batches(Protocol):
    def batches(self, start: int, *, batch: int, size: int) -> Iterator[Batch]:
        """The batches from step `start` on, of this process's share; batch n depends on n, not on the way to it."""


class Synthesised:
    """Pairs made on the fly, by PairStream."""

    def __init__(self, data: Data, seed: int, device: torch.device, share: tuple[int, int]) -> None:
        self.device = device
        self.stream = PairStream(
            training_source(data),
            [load_recipe(name) for name in data.recipes],
            CameraChoice(data.camera, data.noise),
            batch=1,
            size=1,
            seed=seed,
            isos=None if data.isos is None else Isos.parse(data.isos),
            device=device,
            pool=data.pool,
            renew=data.renew,
            share=share,
        )

    def batches(self, start: int, *, batch: int, size: int) -> Iterator[Batch]:
        for pairs in self.stream.batches(start, batch=batch, size=size):
            yield Batch.of(pairs, self.device)


class Stored:
    """Pairs of a store, each once before any comes again, in an order and with windows that depend on the seed.
    lessons: the teacher's outputs for them."""

    def __init__(
        self, data: Data, seed: int, device: torch.device, share: tuple[int, int], lessons: Lessons | None = None
    ) -> None:
        assert data.store is not None
        self.lessons = lessons
        self.folder, self.seed, self.device, self.share = data.store, seed, device, share
        names = PairStore(data.store).sources()
        self.kept = [i for i, name in enumerate(names) if not is_held_out(name, data.held_out)]
        if not self.kept:
            raise ValueError(f"{data.store}: all of its pictures are held out; lower data.held_out")

    def batches(self, start: int, *, batch: int, size: int) -> Iterator[Batch]:
        rank, of = self.share
        if batch % of:
            raise ValueError(f"a batch of {batch} cannot be shared by {of} processes; expected a multiple of {of}")
        store = PairStore(self.folder, crop=size)

        def read(number: int) -> Batch:
            pairs, taught = zip(*(self._pair(store, number, batch, i) for i in mine), strict=True)
            made = Batch.of(Pairs.joined(pairs), self.device)
            return made if self.lessons is None else made._replace(taught=torch.stack(taught).to(self.device))

        mine = range(rank * (batch // of), (rank + 1) * (batch // of))
        with ThreadPoolExecutor(1) as thread:
            ahead: deque[Future[Batch]] = deque(thread.submit(read, start + n) for n in range(AHEAD))
            try:
                for number in count(start):
                    made = ahead.popleft().result()
                    ahead.append(thread.submit(read, number + AHEAD))
                    yield made
            finally:
                for future in ahead:
                    future.cancel()

    def _pair(self, store: PairStore, number: int, batch: int, i: int) -> tuple[Pairs, Tensor | None]:
        epoch, place = divmod(number * batch + i, len(self.kept))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.kept))
        generator = torch.Generator().manual_seed(self.seed + 2**20 * (number * batch + i))
        pair = self.kept[int(order[place])]
        pairs, (top, left) = store.pair(pair, generator)
        return pairs, None if self.lessons is None else self.lessons(pair, top, left, pairs.noisy.shape[-1])


def open_batches(config: TrainConfig, device: torch.device, share: tuple[int, int]) -> Batches:
    """The batches of a recipe. share: (rank, of), this process's part of each batch."""
    if config.data.store is None:
        return Synthesised(config.data, config.seed, device, share)
    cache = None if config.teacher is None else config.teacher.cache
    return Stored(config.data, config.seed, device, share, None if cache is None else Lessons(cache))


class Picked:
    """Some pictures of a source."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.indices[index]]


def is_held_out(name: str, share: float) -> bool:
    """Whether a picture is kept from training: by the hash of its file name, the folder and the suffix aside."""
    digest = hashlib.sha256(PurePath(name).stem.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def split(source: Source, share: float, held_out: bool) -> Source | None:
    """The pictures of a source that are held out, or those that are not; None where there are none.

    Files go by their names; of other sources the number stands for the name. Dead leaves, of which there is no end, are
    all trained on.
    """
    if isinstance(source, DeadLeaves):
        return None if held_out else source
    names = source.names if isinstance(source, Folder) else [str(i) for i in range(len(source))]
    indices = [i for i, name in enumerate(names) if is_held_out(name, share) == held_out]
    return Picked(source, indices) if indices else None


def _opened(places: Sequence[str], dead_leaves: int, share: float, held_out: bool) -> Source | None:
    sources = [split(open_source(place, size=dead_leaves), share, held_out) for place in places]
    found = [source for source in sources if source is not None]
    files = sum(len(source) for source in found if not isinstance(source, DeadLeaves))
    for source in found:
        if isinstance(source, DeadLeaves) and files:
            source.length = files  # half of the pictures, as in a pair store
    return None if not found else found[0] if len(found) == 1 else Joined(found)


def training_source(data: Data) -> Source:
    """All pictures but those held out."""
    source = _opened(data.sources, data.dead_leaves, data.held_out, held_out=False)
    if source is None:
        raise SourceError(f"{', '.join(data.sources)}: all pictures are held out; lower data.held_out")
    return source


def validation_set(data: Data, validation: Validation, seed: int) -> list[Pairs]:
    """One clean window per picture, B = 1: its noisy side is to be made anew, by renoised. Empty where nothing is held
    out and no other source is named; dead leaves that were not trained on where there is nothing else."""
    if data.store is not None and not validation.sources:
        names = PairStore(data.store).sources()
        store = PairStore(data.store)
        size = min(validation.size, store.size)
        store = PairStore(data.store, crop=size)
        held = [i for i, name in enumerate(names) if is_held_out(name, data.held_out)][: validation.pictures]
        return [store.pair(i, torch.Generator().manual_seed(i))[0] for i in held]
    source: Source | None
    if validation.sources:
        source = _opened(validation.sources, data.dead_leaves, 1.0, held_out=True)
    else:
        source = _opened(data.sources, data.dead_leaves, data.held_out, held_out=True)
    if source is None and "dead-leaves" in (validation.sources or data.sources):
        source = DeadLeaves(2 * validation.size, seed=seed + 1)
    if source is None:
        return []
    recipe, choice = load_recipe(data.recipes[0]), CameraChoice(data.camera, data.noise)
    found = []
    for i in range(min(validation.pictures, len(source))):
        windows = [
            make_pair(source, recipe, choice, seed=seed + 1, index=i + turn * len(source), size=validation.size)
            for turn in range(WINDOWS)
        ]
        found.append(max(windows, key=_detail))
    return found


def _detail(pairs: Pairs) -> float:
    """How much there is to get wrong in the clean side: the mean step between neighbours, of the light's logarithm."""
    return float(pairs.clean.clamp(min=1e-3).log().diff(dim=-1).abs().mean())


def renoised(pairs: Pairs, shot: float, read: float, seed: int) -> Batch:
    """The clean side of a pair under this noise (before white balance), in the whole counts of its sensor."""
    generator = torch.Generator().manual_seed(seed)
    noisy = gaussian_noise(mosaic(pairs.clean, PATTERN), shot, read, generator=generator)
    noisy = quantise(noisy, pairs.scale[:, None], pairs.black[:, None])
    rows = torch.ones_like(pairs.shot)
    quantised = max(read, 1 / (12 * float(pairs.scale.min()) ** 2))
    made = Pairs(
        noisy=pixel_unshuffle(noisy, 2), clean=pairs.clean, shot=shot * rows, read=quantised * rows, gains=pairs.gains,
        cam_to_output=pairs.cam_to_output, exposure_ev=pairs.exposure_ev, scale=pairs.scale, black=pairs.black,
        records=pairs.records,
    )  # fmt: skip
    return Batch.of(made, torch.device("cpu"))
