"""The render with a network, without PyTorch: tile by tile the compiled kernel makes its inputs, OpenVINO, onnxruntime
or the kernel itself runs it, and the kernel takes its output to the picture.

It gives what isp.pipeline gives with the same export. `obstacle` tells for which files, options and models there is no
such way; those go through isp.pipeline.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import replace
from itertools import pairwise, product
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import isp.fast as classical
from isp.fast.engine import Stream, open_streams
from isp.fast.exports import Export
from isp.fast.integers import read_network, sample_bytes
from isp.fast.structures import Mosaic
from isp.noise.dng import from_dng_noise_profile
from isp.options import RenderOptions
from isp.output import Rows
from isp.parameters import RenderParameters, resolve
from isp.raw.image import RawImage
from isp.raw.metadata import RawMetadata
from isp.threads import in_threads

if TYPE_CHECKING:
    from isp.fast.models import Choice

MARGIN = 16  # packed samples of reflected frame around the frame, as isp.nets.inference
MEMORY = 0.5e9  # bytes that all tiles together may take in the network; with more, less work and as much paging
# For each thread in the kernel: tiles cost little there but what they share, and fresh memory more.
KERNEL_MEMORY = 5e7
PLANES = {"packed": 4, "sigma": 4, "base": 12}  # of the inputs of a raw network
ROWS = 256  # of a piece of work on the whole frame
WITHOUT_MODEL: dict[str, Any] = {"model": None, "strength": 1.0, "runtime": "auto", "precision": "auto"}


class Canvas(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("top", "left", "height", "width")),
        *((name, ctypes.c_float * 4) for name in ("shot", "read", "gain")),
        ("deviation", ctypes.c_float),
    ]


class Part(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("top", "left", "height", "width")]


def develop(
    raw: RawImage, options: RenderOptions, into: np.ndarray | Rows, bits: int = 8, threads: int | None = None
) -> RenderParameters:
    """The picture of a raw frame as codes, and the parameters that it was rendered with: isp.fast.develop of a model.

    isp.render followed by isp.save's rounding. threads: None for one per processor.
    """
    threads = threads or classical.processors()
    p = resolve(raw.meta, options)
    rgb = camera_rgb(raw, p, threads)
    classical.display(rgb, raw.meta, p, into, bits, threads)
    return p


def obstacle(raw: RawImage, options: RenderOptions, bits: int = 8) -> str | None:
    """Why there is no fast render of this frame with this model, in a few words; None where there is one."""
    from isp.fast.models import choose

    assert options.model is not None
    choice = choose(options.model, options.runtime, options.precision)
    if choice.path is None:
        return f"no export of model {options.model}" if choice.runtime != "torch" else "runtime torch"
    export = choice.export()
    c = export.config
    if export.kind != "raw" or export.reach is None:
        return f"network {c['network']}, which takes RGB or sees the whole frame"
    if c["base"] not in (None, "msg"):
        return f"base {c['base']}"
    if "sigma" in c["inputs"] and not knows_noise(raw.meta):
        return "noise that must be estimated from the frame"
    if (reason := classical.obstacle(raw, replace(options, **WITHOUT_MODEL), bits)) is not None:
        return reason
    return None


def knows_noise(meta: RawMetadata) -> bool:
    """Whether the noise follows from the file and the shipped profiles."""
    from isp.noise.frame import frame_noise

    return frame_noise(meta, None)[0] is not None


def camera_rgb(raw: RawImage, p: RenderParameters, threads: int, memory: float | None = None) -> np.ndarray:
    """White-balanced camera RGB, linear, float32 3 H W of the active area, by the model of the parameters.

    memory: bytes that all tiles together may take in the network; None: as is best (needs).
    """
    from isp.fast.models import choose

    assert p.model is not None
    choice = choose(p.model, p.runtime, p.precision)
    meta, (export, best) = raw.meta, needs(choice, threads)
    memory = best if memory is None else memory
    saturated = classical.counted(raw, p)
    mosaic = Mosaic.from_buffer_copy(saturated)
    mosaic.toe = export.config["toe"] or 0
    height, width = mosaic.height, mosaic.width
    canvas = canvas_of(meta, p, mosaic, export.multiple, export.minimum)
    tiles = grid(canvas.height // 2, canvas.width // 2, export, choice.precision, threads, memory)
    first = tiles[0].part
    planes = sum(PLANES[name] for name in export.config["inputs"])
    rgb = np.empty((3, height, width), np.float32)
    shape = (1, planes, first.height, first.width)
    spare, streams = SimpleQueue[Inputs](), SimpleQueue[Stream | None]()
    working = min(threads, len(tiles))
    for _ in range(working):
        spare.put(Inputs.empty(export, first.height, first.width))

    def develop(tile: Tile | None) -> None:
        if tile is None:  # one thread opens the network, while the others make the first inputs
            opened: list[Stream | None] = [None]  # for nothing more to be done, where it fails
            try:
                opened[:] = open_streams(export.path, choice.runtime, shape, working, choice.precision)
            finally:
                for stream in opened:
                    streams.put(stream)
            return
        inputs = spare.get()
        inputs.fill(mosaic, canvas, tile.part)
        stream = streams.get()
        if stream is not None:
            developed(tile, stream(inputs.x), inputs.base, mosaic, canvas, rgb)
        streams.put(stream)
        spare.put(inputs)

    def saturate(top: int) -> None:
        by = ctypes.byref
        classical.kernel().isp_saturated(by(saturated), by(canvas), _at(rgb), top, min(top + ROWS, height))

    in_threads(develop, [None, *tiles], threads)
    in_threads(saturate, range(0, height, ROWS), threads)
    return rgb


def needs(choice: Choice, threads: int) -> tuple[Export, float]:
    """What a model's file says, with what a sample needs in its runtime, and how many bytes all tiles together should
    take there."""
    export = choice.export()
    if choice.runtime != "kernel":
        return export, MEMORY
    return export._replace(sample_bytes=sample_bytes(read_network(export.path))), threads * KERNEL_MEMORY


class Inputs(NamedTuple):
    """What a network sees of a tile, and what is added to its output."""

    x: np.ndarray  # 1 planes h w
    packed: np.ndarray | None  # 4 h w, 4 h w and 12 h w: parts of x, or, of base, memory of its own
    sigma: np.ndarray | None
    base: np.ndarray | None

    @classmethod
    def empty(cls, export: Export, h: int, w: int) -> Inputs:
        names, parts, at = export.config["inputs"], dict.fromkeys(PLANES), 0
        x = np.empty((1, sum(PLANES[name] for name in names), h, w), np.float32)
        for name in names:
            parts[name] = x[0, at : at + PLANES[name]]
            at += PLANES[name]
        if export.config["residual"] and "base" not in names:
            parts["base"] = np.empty((PLANES["base"], h, w), np.float32)
        return cls(x, **parts)

    def fill(self, mosaic: Mosaic, canvas: Canvas, part: Part) -> None:
        by = ctypes.byref
        classical.kernel().isp_inputs(by(mosaic), by(canvas), by(part), *map(_at, self[1:]))


def developed(
    tile: Tile, y: np.ndarray, base: np.ndarray | None, mosaic: Mosaic, canvas: Canvas, rgb: np.ndarray
) -> None:
    """A tile's pixels of rgb, of its network's output, 1 3 2h 2w or 1 12 h w; base: 12 h w, added to it."""
    part, by = tile.part, ctypes.byref
    if y.size != PLANES["base"] * part.height * part.width or y.dtype != np.float32:
        raise ValueError(f"the network gives {y.dtype} {y.shape}; expected float32 1 12 {part.height} {part.width}")
    top, bottom = (min(max(canvas.top + 2 * n, 0), mosaic.height) for n in tile.box[:2])
    left, right = (min(max(canvas.left + 2 * n, 0), mosaic.width) for n in tile.box[2:])
    classical.kernel().isp_developed(
        by(mosaic), by(canvas), by(part), _at(y), y.shape[1] == PLANES["base"], _at(base), _at(rgb),
        top, bottom, left, right,
    )  # fmt: skip


class Tile(NamedTuple):
    part: Part  # what it sees of the canvas
    box: tuple[int, int, int, int]  # what it gives of the canvas, packed samples: top, bottom, left, right


def canvas_of(meta: RawMetadata, p: RenderParameters, mosaic: Mosaic, multiple: int, minimum: int) -> Canvas:
    """The frame and the reflected margin around it, from a red sample on and of a size that the network takes."""
    assert meta.cfa is not None

    def side(n: int, first: int) -> tuple[int, int]:
        before = 2 * MARGIN + first
        packed = -(-(before + n + 2 * MARGIN) // 2)
        return -before, 2 * max(-(-packed // multiple), -(-minimum // multiple)) * multiple

    (top, height), (left, width) = side(mosaic.height, mosaic.down), side(mosaic.width, mosaic.right)
    canvas = Canvas(top, left, height, width)
    canvas.gain = (ctypes.c_float * 4)(*p.gains[meta.cfa.channels].ravel())
    if p.noise_profile is not None:
        for name, values in zip(("shot", "read"), from_dng_noise_profile(p.noise_profile, meta.cfa), strict=True):
            setattr(canvas, name, (ctypes.c_float * 4)(*(p.strength**2 * values)))
        canvas.deviation = p.strength * math.sqrt(p.noise_profile.mean(0).sum())
    return canvas


def grid(h: int, w: int, export: Export, precision: str, threads: int, memory: float = MEMORY) -> list[Tile]:
    """Tiles of one size that cover a canvas of h w packed samples with the least work, and fit into memory together.

    Each gives the frame up to the middle of what it shares with the next, and sees beyond that as far as the network
    reaches; of rougher arithmetic than float32, as far as what it sees counts (Export.overlap).
    """
    multiple, around = export.multiple, export.reach if precision == "float32" else export.overlap
    assert around is not None
    shared = 2 * -(-around // multiple)
    units = (h // multiple, w // multiple)

    def side(size: int, count: int) -> int:  # of a tile, in multiples
        return -(-(size + (count - 1) * shared) // count)

    def cost(counts: tuple[int, int]) -> tuple[bool, float]:
        rounds = -(-counts[0] * counts[1] // threads)
        samples = multiple**2 * side(units[0], counts[0]) * side(units[1], counts[1])
        needed = min(counts[0] * counts[1], threads) * samples * export.sample_bytes
        return (needed > memory, needed if needed > memory else rounds * samples)

    most = [range(1, max(size // max(shared, 1), 1) + 1) for size in units]  # tiles of twice what they share, at least
    counts = min(product(most[0], most[1]), key=cost)
    rows, columns = (_cuts(size, count, side(size, count)) for size, count in zip(units, counts, strict=True))
    tiles = []
    for (top, bottom, first, last), (left, right, start, end) in product(rows, columns):
        part = Part(multiple * top, multiple * left, multiple * (bottom - top), multiple * (right - left))
        tiles.append(Tile(part, (multiple * first, multiple * last, multiple * start, multiple * end)))
    return tiles


def _cuts(size: int, count: int, side: int) -> list[tuple[int, int, int, int]]:
    """Tiles along one axis: where each begins and ends, and where the part that it gives begins and ends."""
    starts = [i * (size - side) // max(count - 1, 1) for i in range(count)]
    cuts = [0, *((b + a + side) // 2 for a, b in pairwise(starts)), size]
    return [(start, start + side, *cut) for start, cut in zip(starts, pairwise(cuts), strict=True)]


def _at(array: np.ndarray | None) -> ctypes.c_void_p | None:
    return None if array is None else ctypes.c_void_p(array.ctypes.data)
