"""The render with a network, without PyTorch: the compiled kernel makes its inputs, OpenVINO, onnxruntime or the kernel
itself runs it, and the kernel takes its output to the picture: tile by tile, and in the kernel a few rows of a tile at
a time, so that neither inputs nor camera RGB are in memory as a whole, but for what highlights need a second time.

In float32 it gives what isp.pipeline gives with the same export; in rougher arithmetic tiles overlap by less than the
network's reach, and there are as many as threads, so that pixels beside their borders may differ. `obstacle` tells for
which files, options and models there is no such way; those go through isp.pipeline.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise, product
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import isp.fast as classical
from isp.fast.engine import Stream, open_streams
from isp.fast.exports import Export
from isp.fast.integers import TURN, aligned, column_bytes, read_network
from isp.fast.structures import Band, Mosaic
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
AHEAD = 4  # times rows of inputs that others may make before they are taken
PLANES = {"packed": 4, "sigma": 4, "base": 12}  # of the inputs of a raw network
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
    if reason := classical.obstacle(raw, replace(options, **WITHOUT_MODEL), bits):
        raise ValueError(f"no fast render: {reason}; isp.render has none of these limits")
    threads = threads or classical.processors()
    p = resolve(raw.meta, options)
    bands: dict[int, Band] = {}  # of which the picture is still being made
    spare: list[Band] = []
    pieces = classical.display(bands.__getitem__, raw.meta, p, into, bits)
    _, left, _, right = raw.meta.area

    def take(box: classical.Box) -> Band:
        try:
            band = spare.pop()
        except IndexError:
            band = Band.of(np.empty((3, classical.ROWS, right - left), np.float32), 0)
        band.first = box[0]
        return band

    def complete(box: classical.Box, band: Band) -> None:
        number = box[0] // classical.ROWS
        bands[number] = band
        if pieces.begin(box):
            spare.append(bands.pop(number))

    _develop(raw, p, threads, MEMORY, pieces.boxes, take, complete)
    pieces.finish(threads)
    return p


def camera_rgb(raw: RawImage, p: RenderParameters, threads: int, memory: float = MEMORY) -> np.ndarray:
    """White-balanced camera RGB, linear, float32 3 H W of the active area, by the model of the parameters.

    memory: bytes that all tiles together may take in the network.
    """
    top, left, bottom, right = raw.meta.area
    height, width = bottom - top, right - left
    rgb = np.empty((3, height, width), np.float32)
    boxes = [(y, min(y + classical.ROWS, height), 0, width) for y in range(0, height, classical.ROWS)]
    _develop(
        raw, p, threads, memory, boxes, lambda box: Band.of(rgb[:, box[0] : box[1]], box[0]), lambda box, band: None
    )
    return rgb


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


def _develop(
    raw: RawImage,
    p: RenderParameters,
    threads: int,
    memory: float,
    boxes: Sequence[classical.Box],
    take: Callable[[classical.Box], Band],
    complete: Callable[[classical.Box, Band], None],
) -> None:
    """Camera RGB of boxes of rows of the active area, by tiles. take: where that of a box goes.
    complete: is called with it when all of it is there, if it can be by a thread that is not behind others."""
    from isp.fast.models import choose

    assert p.model is not None
    choice = choose(p.model, p.runtime, p.precision)
    meta, export = raw.meta, choice.export()
    saturated = classical.counted(raw, p)
    mosaic = Mosaic.from_buffer_copy(saturated)
    mosaic.toe = export.config["toe"] or 0
    canvas = canvas_of(meta, p, mosaic, export.multiple, export.minimum)
    tiles = tiles_of(choice, canvas.height // 2, canvas.width // 2, threads, memory)
    height, width = tiles[0].part.height, tiles[0].part.width
    rows, kept = height, 1
    if choice.runtime == "kernel":
        rows, kept = TURN, read_network(export.path).behind + 1 + AHEAD
    planes = sum(PLANES[name] for name in export.config["inputs"])
    working = min(threads, len(tiles))
    spare, streams = SimpleQueue[Inputs](), SimpleQueue[Stream | None]()
    everyone = [Inputs(export, rows, width, kept) for _ in range(working)]
    for one in everyone:
        spare.put(one)
    gathered, stopped = _Gathered(boxes, mosaic.width, take), Event()

    def finish(given: tuple[classical.Box, Band]) -> None:
        box, band = given
        by = ctypes.byref
        classical.kernel().isp_saturated(by(saturated), by(canvas), by(band), *box[:2])
        complete(box, band)

    def help_others(inputs: Inputs) -> None:
        """Do what others would have to do, if they are behind, as processors are not all as fast all the time."""
        progress = [(one.progress, i) for i, one in enumerate(everyone) if one.working]
        if inputs.progress < max(progress)[0]:
            return
        least, last = min(progress)
        if whole := gathered.whole():
            finish(whole)
        elif least < inputs.progress:
            everyone[last].make()

    def develop(tile: Tile | None) -> None:
        if tile is None:  # one thread opens the network, while the others make the first inputs
            opened: list[Stream | None] = [None]  # for nothing more to be done, where it fails
            try:
                shape = (1, planes, height, width)
                opened[:] = open_streams(export.path, choice.runtime, shape, working, choice.precision)
            finally:
                for stream in opened:
                    streams.put(stream)
            return
        inputs = spare.get()
        inputs.begin(mosaic, canvas, tile.part)
        stream = streams.get()
        if stream is not None:
            stream.begin()
            given = 0
            while given * rows < height and not stopped.is_set():
                y = stream(inputs.take())
                if y is None:
                    continue
                part = Part(tile.part.top + given * rows, tile.part.left, rows, width)
                write = developed(part, y, inputs.base(given), mosaic, canvas)
                gathered.put(area_of(tile, part, mosaic, canvas), write)
                given += 1
                inputs.progress += 1
                help_others(inputs)
        inputs.working = False
        streams.put(stream)
        spare.put(inputs)
        while not stopped.is_set() and (whole := gathered.whole()):
            finish(whole)

    in_threads(develop, [None, *tiles], threads, stopped.set)


class Inputs:
    """What a network sees of tiles of one size, and what is added to its output: some of their rows at a time, which
    are kept until their output is there. Another thread may make some ahead."""

    def __init__(self, export: Export, rows: int, width: int, kept: int) -> None:
        self.rows, names = rows, export.config["inputs"]
        self.x = np.empty((kept, sum(PLANES[name] for name in names), rows, width), np.float32)
        self.parts: dict[str, np.ndarray] = {}
        at = 0
        for name in names:
            self.parts[name] = self.x[:, at : at + PLANES[name]]
            at += PLANES[name]
        self.residual = export.config["residual"]
        if self.residual and "base" not in names:
            self.parts["base"] = np.empty((kept, PLANES["base"], rows, width), np.float32)
        self.places = [  # of each of those that are kept
            [_at(self.parts[name][slot] if name in self.parts else None) for name in PLANES] for slot in range(kept)
        ]
        self.memory = aligned(classical.kernel().isp_inputs_memory(width))
        self.taken = self.made = self.count = 0
        self.working, self.progress = False, 0  # of who takes these: at a tile; how many times rows have come out
        self.alone = Lock()

    def begin(self, mosaic: Mosaic, canvas: Canvas, part: Part) -> None:
        """The next rows are the first of a tile; they are made now."""
        with self.alone:
            self.mosaic, self.canvas, self.part = mosaic, canvas, part
            self.taken = self.made = 0
            self.count = -(-part.height // self.rows)
            self._make()
        self.working = True

    def take(self) -> np.ndarray | None:
        """The next rows, planes rows w; beyond the last ones of the tile there may be more. None: there are none."""
        if self.taken == self.count:
            return None
        if self.taken == self.made:
            with self.alone:
                if self.taken == self.made:  # still
                    self._make()
        self.taken += 1
        return self.x[(self.taken - 1) % len(self.x)]

    def base(self, number: int) -> np.ndarray | None:
        """What is added to the output of the rows that were taken at this number, 12 rows w."""
        return self.parts["base"][number % len(self.x)] if self.residual else None

    def make(self) -> bool:
        """Make the rows after those that are there, by another thread than takes them; False: there are enough, or it
        does so itself."""
        if not self.alone.acquire(blocking=False):
            return False
        try:
            wanted = self.made < min(self.count, self.taken + AHEAD)
            if wanted:
                self._make()
            return wanted
        finally:
            self.alone.release()

    def _make(self) -> None:
        slot, by = self.made % len(self.x), ctypes.byref
        part = Part(self.part.top + self.made * self.rows, self.part.left, self.rows, self.part.width)
        classical.kernel().isp_inputs(
            by(self.mosaic), by(self.canvas), by(part), _at(self.memory), self.made > 0, *self.places[slot]
        )
        self.made += 1


class _Gathered:
    """Camera RGB in boxes of rows, as classical.Pieces has them, which come in parts."""

    def __init__(
        self,
        boxes: Sequence[classical.Box],
        width: int,
        take: Callable[[classical.Box], Band],
    ) -> None:
        self.boxes, self.take = boxes, take
        self.missing = {box: (box[1] - box[0]) * width for box in boxes}  # pixels
        self.begun: dict[classical.Box, Band] = {}
        self.ended = SimpleQueue[tuple[classical.Box, Band]]()
        self.alone = Lock()

    def put(self, area: classical.Box, write: Callable[[Band, classical.Box], None]) -> None:
        """Of every box what lies in this area of the frame: write puts it there."""
        top, bottom, left, right = area
        first, last = (max(row // classical.ROWS - self.boxes[0][0] // classical.ROWS, 0) for row in (top, bottom))
        for box in self.boxes[first : last + 1]:
            part = max(top, box[0]), min(bottom, box[1]), left, right
            if part[0] >= part[1] or left >= right:
                continue
            with self.alone:
                if box not in self.begun:
                    self.begun[box] = self.take(box)
                band = self.begun[box]
            write(band, part)
            with self.alone:
                self.missing[box] -= (part[1] - part[0]) * (right - left)
                if self.missing[box] == 0:
                    self.ended.put((box, self.begun.pop(box)))

    def whole(self) -> tuple[classical.Box, Band] | None:
        """A box of which all is there, once; None: no other."""
        try:
            return self.ended.get_nowait()
        except Empty:
            return None


def developed(
    part: Part, y: np.ndarray, base: np.ndarray | None, mosaic: Mosaic, canvas: Canvas
) -> Callable[[Band, classical.Box], None]:
    """What writes camera RGB of a network's output on a part, 3 2h 2w or 12 h w; base: 12 h w, added to it."""
    if y.size != PLANES["base"] * part.height * part.width or y.dtype != np.float32:
        raise ValueError(f"the network gives {y.dtype} {y.shape}; expected float32 12 {part.height} {part.width}")
    by, packed = ctypes.byref, len(y) == PLANES["base"]

    def write(band: Band, box: classical.Box) -> None:
        classical.kernel().isp_developed(by(mosaic), by(canvas), by(part), _at(y), packed, _at(base), by(band), *box)

    return write


def area_of(tile: Tile, part: Part, mosaic: Mosaic, canvas: Canvas) -> classical.Box:
    """The pixels of the frame that these rows of a tile give."""
    rows = max(tile.box[0], part.top), min(tile.box[1], part.top + part.height)
    top, bottom = (min(max(canvas.top + 2 * n, 0), mosaic.height) for n in rows)
    left, right = (min(max(canvas.left + 2 * n, 0), mosaic.width) for n in tile.box[2:])
    return top, bottom, left, right


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


def tiles_of(choice: Choice, h: int, w: int, threads: int, memory: float = MEMORY) -> list[Tile]:
    """The tiles of a canvas of h w packed samples in a model's runtime."""
    export = choice.export()
    columns = column_bytes(read_network(export.path)) if choice.runtime == "kernel" else 0.0
    return grid(h, w, export, choice.precision, threads, memory, columns)


def grid(
    h: int, w: int, export: Export, precision: str, threads: int, memory: float = MEMORY, columns: float = 0.0
) -> list[Tile]:
    """Tiles of one size that cover a canvas of h w packed samples with the least work, and fit into memory together.

    Each gives the frame up to the middle of what it shares with the next, and sees beyond that as far as the network
    reaches; of rougher arithmetic than float32, as far as what it sees counts (Export.overlap). columns: bytes that a
    column of a tile needs, however high, where it is not for each sample the export's sample_bytes.
    """
    multiple, around = export.multiple, export.reach if precision == "float32" else export.overlap
    assert around is not None
    shared = 2 * -(-around // multiple)
    units = (h // multiple, w // multiple)

    most = [max(size // max(shared, 1), 1) for size in units]  # tiles of twice what they share, at least
    down, across = np.arange(1, most[0] + 1)[:, None], np.arange(1, most[1] + 1)
    # sides of a tile, in multiples
    tall, wide = (-(-(size + (n - 1) * shared) // n) for size, n in zip(units, (down, across), strict=True))
    number, samples = down * across, multiple**2 * tall * wide
    each = wide * multiple * columns if columns else samples * export.sample_bytes
    needed = np.minimum(number, threads) * each
    work = np.where(needed > memory, np.inf, -(-number // threads) * samples)
    best = int((work if np.isfinite(work).any() else needed).argmin())
    sides = zip(units, divmod(best, most[1]), (tall[:, 0], wide), strict=True)
    cuts = [_cuts(size, i + 1, int(side[i])) for size, i, side in sides]
    tiles = []
    for (top, bottom, first, last), (left, right, start, end) in product(*cuts):
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
