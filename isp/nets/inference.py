"""A model on whole mosaics: every Bayer phase, any size from 2x2 up, in tiles that fit into memory.

The mosaic is continued by reflection about its outermost samples until it is an RGGB mosaic with a margin around it,
of a size that the model takes; tiles of that canvas overlap and are blended by weights that rise smoothly from one to
the other. Where a model's reach is bounded, a tile's weight is 0 wherever its border could be felt, so that tiles give
the whole frame's values. Where it is not (attention or pooling over the frame), the ramp takes the whole overlap.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

from isp.nets.model import PATTERN, Model
from isp.raw.cfa import CFA
from isp.stages.demosaic.bayer import reflect

# In units of the packed mosaic, whose samples are two pixels wide.
MARGIN = 16  # the reflected frame around the frame: borders are developed as its inside is
OVERLAP = 32  # of neighbouring tiles where reach is unbounded: 64 pixels, as the PolyU-AISP system of RAIM 2025
TILE = 512  # a tile's side, where memory allows and the overlap is no sixth of it: larger ones leave the CPU's cache
PROBE = 64  # side of the tile whose memory is measured
MEMORY = 1.2e9  # bytes that a batch of tiles may take in the network; a 12 MP frame's own tensors take 0.6e9 more
WORKSPACE = 1.5  # measured on a CPU, 1.3 to 2.1: what is taken from the system to what is alive
SLOW = 2.0  # seconds from which on a progress bar shows


def develop_mosaic(
    model: Callable[..., Tensor],
    mosaic: Tensor,
    sigma: Tensor,
    cfa: CFA,
    *,
    tile: int | None = None,
    overlap: int | None = None,
    batch: int | None = None,
    memory: float | None = None,
    dtype: torch.dtype = torch.float32,
    progress: bool = False,
) -> Tensor:
    """Camera RGB B 3 H W, linear, white-balanced and not clipped, of a Bayer mosaic, by a model.

    model: isp.nets.model.Model, or what else takes (packed, sigma) and has its multiple, minimum and reach.
    mosaic, sigma: B 1 H W, at least 2x2; white-balanced linear samples and their noise's standard deviation.
    tile, overlap: pixels, the side of a tile and what neighbours share; rounded to what the model takes. None: 1024, or
    six overlaps, or what fits into `memory`; twice the model's reach, or 64 where that is not bounded.
    batch: tiles that go through the network at once; None: on CUDA as many as fit into `memory`, else 1.
    memory: bytes for them; None: 1.2e9, on CUDA half of what is free.
    dtype: torch.bfloat16 runs the network, not what is around it, under autocast.
    progress: a bar on stderr, where that is a terminal, for what takes more than two seconds.

    With an overlap of at least twice the reach the result is that of a single tile, to rounding. Gradients flow where
    the mosaic or the sigma asks for them; parameters get none (they are trained on tiles of the trainer's own).
    """
    if cfa.kind != "bayer":
        raise ValueError(f"models take Bayer mosaics, got {cfa}; a demosaic of isp.stages.demosaic treats it")
    if mosaic.ndim != 4 or mosaic.shape[1] != 1 or min(mosaic.shape[-2:]) < 2:
        raise ValueError(f"expected a mosaic B 1 H W of at least 2x2, got {tuple(mosaic.shape)}")
    if sigma.shape != mosaic.shape:
        raise ValueError(f"sigma is {tuple(sigma.shape)}; expected the mosaic's shape, {tuple(mosaic.shape)}")
    rules: Any = model
    multiple, reach = rules.multiple, rules.reach
    minimum = -(-rules.minimum // multiple) * multiple
    down, right = (int(n[0]) for n in (cfa.channels == PATTERN.channels[0, 0]).nonzero())  # the first red
    height, width = mosaic.shape[-2:]
    rows, cols = _margins(height, down, multiple, minimum), _margins(width, right, multiple, minimum)
    canvas = torch.cat([reflect(x, rows, cols) for x in (mosaic, sigma)], 1)  # B 2 2h 2w
    h, w = (side // 2 for side in canvas.shape[-2:])

    shared = (OVERLAP if reach is None else 2 * reach) if overlap is None else -(-overlap // 2)
    shared = -(-shared // multiple) * multiple
    least = max(shared + multiple, minimum)
    if tile is not None and tile // 2 < min(least, max(h, w)):
        raise ValueError(f"tile is {tile} pixels; expected at least {2 * least}, of which {2 * shared} overlap")
    if memory is None:
        memory = torch.cuda.mem_get_info(mosaic.device)[0] / 2 if mosaic.is_cuda else MEMORY
    side = tile // 2 if tile is not None else max(TILE, 6 * shared)
    each = 0.0  # bytes for a packed sample, where anything hangs on it
    if max(h, w) > PROBE and (tile is None or mosaic.is_cuda):
        each = sample_bytes(model, mosaic.device)
    if tile is None and each:
        side = max(min(side, math.isqrt(int(memory / each))), least)
    trusted = None if reach is None else min(reach, shared // 2)
    vertical = _spans(h, side, shared, multiple, trusted, rows[0], height, mosaic)
    horizontal = _spans(w, side, shared, multiple, trusted, cols[0], width, mosaic)
    tiles = [(image, y, x) for image in range(len(mosaic)) for y in vertical for x in horizontal]
    if batch is None:
        fitting = memory / (each * vertical[0].side * horizontal[0].side) if mosaic.is_cuda and each else 1
        batch = max(int(fitting), 1)

    out = mosaic.new_zeros((len(mosaic), 3, height, width))
    asked = torch.is_grad_enabled() and (mosaic.requires_grad or sigma.requires_grad)
    bar = tqdm(total=len(tiles), unit="tile", delay=SLOW, leave=False, disable=None if progress else True)
    with bar, nullcontext() if asked else torch.inference_mode():
        for i in range(0, len(tiles), batch):
            some = tiles[i : i + batch]
            parts = torch.stack([canvas[image, :, y.canvas, x.canvas] for image, y, x in some])  # n 2 2h 2w
            packed, spread = (pixel_unshuffle(part, 2) for part in parts.split(1, 1))  # n 4 h w
            rgb = model(packed, spread) if dtype == torch.float32 else model(packed, spread, dtype)
            for (image, y, x), part in zip(some, rgb.to(out.dtype), strict=True):
                weight = y.weight[:, None] * x.weight
                out[image, :, y.frame, x.frame] += part[:, y.inside, x.inside] * weight
            bar.update(len(some))
    return out


class Span(NamedTuple):
    """One tile along one axis; pixels."""

    canvas: slice  # what it sees of the canvas
    frame: slice  # what it gives of the frame
    inside: slice  # that, in the tile
    weight: Tensor  # of each of these

    @property
    def side(self) -> int:
        return int(self.canvas.stop - self.canvas.start) // 2


def _margins(n: int, first: int, multiple: int, minimum: int) -> tuple[int, int]:
    """Pixels before and after n pixels, the first red one of which is `first`: an RGGB canvas of a size that fits."""
    before = 2 * MARGIN + first
    packed = -(-(before + n + 2 * MARGIN) // 2)
    return before, 2 * max(-(-packed // multiple) * multiple, minimum) - before - n


def _spans(
    size: int, side: int, shared: int, multiple: int, trusted: int | None, before: int, n: int, like: Tensor
) -> list[Span]:
    """Equal tiles of at most `side`, starting at multiples of `multiple`, along a canvas of `size`; packed samples.

    shared: the least overlap. trusted: a tile's weight is 0 this near to its ends; None: the ramp takes all of the
    overlap. before, n: the frame in the canvas, pixels.
    """
    units, per_tile, per_overlap = size // multiple, max(side // multiple, 1), shared // multiple
    count = 1 if units <= per_tile else -(-(units - per_overlap) // (per_tile - per_overlap))
    per_tile = -(-(units + (count - 1) * per_overlap) // count)  # no larger than so many need
    starts = [2 * multiple * (i * (units - per_tile) // max(count - 1, 1)) for i in range(count)]
    length, edge = 2 * multiple * per_tile, 2 * (trusted or 0)
    at = torch.arange(length, device=like.device, dtype=torch.float64) + 0.5
    weights = torch.zeros(count, 2 * size, device=like.device, dtype=torch.float64)
    for i, start in enumerate(starts):
        weight = torch.ones_like(at)
        for other, inwards in ((i - 1, at), (i + 1, length - at)):
            if 0 <= other < count:
                ramp = length - abs(starts[other] - start) - 2 * edge
                weight *= _smoothstep((inwards - edge) / max(ramp, 1e-3))
        weights[i, start : start + length] = weight
    weights = (weights / weights.sum(0)).to(like.dtype)
    spans = []
    for start, weight in zip(starts, weights, strict=True):
        first, last = max(start, before), min(start + length, before + n)
        if first < last:
            frame, inside = slice(first - before, last - before), slice(first - start, last - start)
            spans.append(Span(slice(start, start + length), frame, inside, weight[first:last]))
    return spans


def _smoothstep(t: Tensor) -> Tensor:
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def sample_bytes(model: Callable[..., Tensor], device: torch.device | str = "cpu") -> float:
    """Bytes that a tile needs on its way through the model, for each of its packed samples, weights aside.

    Measured, not modelled: a small tile goes through it while the bytes of what is alive are counted, with an allowance
    for the operators' own memory; larger tiles need more in proportion to their area. Models that are no modules
    (isp.nets.runtime) count as the module of their configuration.
    """
    rules: Any = model
    module = model if isinstance(model, nn.Module) else Model(rules.config).to(device)
    side = -(-max(PROBE, rules.minimum) // rules.multiple) * rules.multiple
    dtype = next((x.dtype for x in module.parameters()), torch.float32)
    x = torch.rand((1, 4, side, side), device=device, dtype=dtype)
    return activation_bytes(module, x, x)


def activation_bytes(module: nn.Module, *given: Tensor) -> float:
    """The same of any module, on what it is given, batch planes h w; inputs aside."""
    with torch.no_grad(), _Alive() as alive:
        module(*given)
    return WORKSPACE * alive.most / given[0][0, 0].numel()


class _Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that exist: those made in the block, as long as anything refers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:  # for which PyTorch would import its compiler: seconds
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                if id(storage) not in self.known:
                    self.known.add(id(storage))
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._gone, id(storage), storage.nbytes())
        return result

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size
