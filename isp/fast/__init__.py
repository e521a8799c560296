"""The classical render without PyTorch: a compiled kernel that takes a Bayer mosaic to the codes of a picture.

It does what isp.pipeline does, which stays the truth, and every code is within half of one of it. `obstacle` tells for
which files and options there is no such way; those go through isp.pipeline.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from isp.fast.library import UnavailableError, library
from isp.fast.structures import GRID, METHODS, TILE, Band, Colour, Mosaic, Picture, colour_of, mosaic_of
from isp.options import RenderOptions
from isp.output import Rows
from isp.parameters import RenderParameters, resolve
from isp.raw.image import RawImage
from isp.raw.metadata import ORIENTATIONS, RawMetadata
from isp.threads import in_threads
from isp.threads import processors as processors

BITS = (8, 16)
ROWS = 128  # of a piece of work, a multiple of GRID
MOST_REACH = 14  # rows above and below that a demosaic looks at
COUNTS = (np.uint8, np.uint16, np.float16, np.float32)
Box = tuple[int, int, int, int]  # of the active area: top, bottom, left, right


def render_pixels(
    raw: RawImage, options: RenderOptions = RenderOptions(), bits: int = 8, threads: int | None = None
) -> np.ndarray:
    """The picture of a raw frame as codes: H W 3, uint8 or uint16, upright, encoded for options.space.

    isp.render followed by isp.save's rounding, within half a code. threads: None for one per processor.
    Raises ValueError where `obstacle` gives a reason.
    """
    height, width = picture_size(raw.meta)
    pixels = np.empty((height, width, 3), f"uint{bits}")
    develop(raw, options, pixels, bits, threads)
    return pixels


def picture_size(meta: RawMetadata) -> tuple[int, int]:
    """Height and width of the picture of a frame, upright."""
    top, left, bottom, right = meta.crop
    transpose = ORIENTATIONS[meta.orientation][0]
    return (right - left, bottom - top) if transpose else (bottom - top, right - left)


def develop(
    raw: RawImage, options: RenderOptions, into: np.ndarray | Rows, bits: int = 8, threads: int | None = None
) -> RenderParameters:
    """render_pixels into an array, H W 3, or into what takes its rows, from several threads and in any order; returns
    the parameters that it rendered with."""
    if reason := obstacle(raw, options, bits):
        raise ValueError(f"no fast render: {reason}; isp.render has none of these limits")
    meta, p = raw.meta, resolve(raw.meta, options)
    mosaic = counted(raw, p)

    def work(colour: Colour, picture: Picture, box: Box) -> int:
        by = ctypes.byref
        return kernel().isp_render(by(mosaic), by(colour), by(picture), *box)

    threads = threads or processors()
    pieces = Pieces(work, meta, colour_of(p, bits, kernel()), into)
    in_threads(pieces.begin, pieces.boxes, threads)
    pieces.finish(threads)
    return p


def counted(raw: RawImage, p: RenderParameters) -> Mosaic:
    """A Bayer frame for the kernel: its counts, and what turns them into the white-balanced mosaic."""
    top, left = raw.meta.area[:2]
    counts = raw.mosaic
    if counts.dtype not in (np.uint16, np.float32):
        counts = counts.astype(np.float32 if counts.dtype.kind == "f" else np.uint16)
    if counts.strides[1] != counts.itemsize:
        counts = np.ascontiguousarray(counts)
    mosaic = mosaic_of(raw.meta, p)
    mosaic.floating = counts.dtype == np.float32
    mosaic.stride = counts.strides[0] // counts.itemsize
    mosaic.point("counts", counts[top:, left:])
    return mosaic


def display(
    band_of: Callable[[int], Band], meta: RawMetadata, p: RenderParameters, into: np.ndarray | Rows, bits: int = 8
) -> Pieces:
    """The picture of white-balanced camera RGB as codes: everything that isp.pipeline does after the demosaic, of a
    frame that `obstacle` has nothing against.

    band_of: camera RGB of the rows of a box, by its number; as long as the box may be asked for (Pieces). into: as
    develop's; the picture is cropped and upright.
    """
    mosaic = mosaic_of(meta, p)

    def work(colour: Colour, picture: Picture, box: Box) -> int:
        by = ctypes.byref
        return kernel().isp_display(by(band_of(box[0] // ROWS)), by(mosaic), by(colour), by(picture), *box)

    return Pieces(work, meta, colour_of(p, bits, kernel()), into)


def obstacle(raw: RawImage, options: RenderOptions, bits: int = 8) -> str | None:
    """Why there is no fast render of this frame with these options, in a few words; None where there is one."""
    meta = raw.meta
    if meta.kind != "bayer":
        return f"{meta.kind} frame"
    top, left, bottom, right = meta.area
    if min(bottom - top, right - left) < 2:
        return "a frame of one row or column"
    if options.linear or bits not in BITS:
        return "scene-linear output"
    if options.model is not None:
        return "a model"
    if options.demosaic != "auto" and options.demosaic not in METHODS:
        return f"demosaic {options.demosaic}"
    if options.fix_defects:
        return "fix_defects"
    if options.temperature is None and options.wb not in ("as-shot", "daylight") and "," not in options.wb:
        return f"white balance {options.wb}, estimated from the frame"
    if meta.opcode_list1:
        return f"OpcodeList1 with {meta.opcode_list1[0].name}"
    if reason := _opcodes(meta):
        return reason
    if raw.mosaic.dtype not in COUNTS:
        return f"{raw.mosaic.dtype} counts"
    if raw.mosaic.dtype.kind == "f" and meta.linearization_table is not None:
        return "LinearizationTable on float counts"
    if raw.mosaic.dtype.kind == "f" and not np.isfinite(raw.mosaic).all():
        return "counts that are not finite numbers"
    return _no_library()


def _opcodes(meta: RawMetadata) -> str | None:
    if other := next((opcode.name for opcode in meta.opcode_list2 if opcode.name != "GainMap"), None):
        return f"OpcodeList2 with {other}"
    return f"OpcodeList3 with {meta.opcode_list3[0].name}" if meta.opcode_list3 else None


def _no_library() -> str | None:
    found = library()
    return str(found) if isinstance(found, UnavailableError) else None


def kernel() -> ctypes.CDLL:
    found = library()
    assert isinstance(found, ctypes.CDLL)
    return found


class Pieces:
    """The picture from pieces of work: boxes of the active area, of at most ROWS rows, each by a thread of its own.

    Highlights that are reconstructed need two passes: the first gathers the colours of the whole frame and finds the
    pixels that are nearly clipped, the second does these again. Rows are given away as soon as they are done.
    """

    def __init__(
        self, work: Callable[[Colour, Picture, Box], int], meta: RawMetadata, colour: Colour, into: np.ndarray | Rows
    ) -> None:
        top, left, bottom, right = meta.area
        height, self.width = bottom - top, right - left
        self.work, self.colour, self.crop = work, colour, meta.crop
        self.strips = _Strips(meta, into, colour.bits)
        self.rows, self.cols, self.tiles = -(-height // GRID), -(-self.width // GRID), -(-self.width // TILE)
        self.reconstruct = colour.highlights == 2
        first, start, end, stop = (0, 0, height, self.width) if self.reconstruct else self.crop
        start = start // GRID * GRID
        self.boxes: list[Box] = [  # of the first pass; box number i lies in the rows i * ROWS ... (i + 1) * ROWS
            (max(y, first), min(y + ROWS, end), start, stop) for y in range(first // ROWS * ROWS, end, ROWS)
        ]
        if self.reconstruct:
            self.seen = np.zeros((self.rows, self.cols, 4), np.float32)
            self.near = np.zeros((height, self.tiles), np.uint8)
        self.waiting: dict[int, Strip] = {}  # for the second pass, by the number of their box

    def begin(self, box: Box) -> bool:
        """Do a box of the first pass; returns whether it is done with."""
        strip = self.strips.take(*box[:2])
        self._render(box, strip)
        if self.reconstruct and self.near[box[0] : box[1]].any():
            self.waiting[box[0] // ROWS] = strip
            return False
        self.strips.give(strip)
        return True

    def finish(self, threads: int) -> None:
        """The second pass, when all boxes have had the first one."""
        if self.waiting:
            _demand(kernel().isp_surroundings(ctypes.c_void_p(self.seen.ctypes.data), self.rows, self.cols))
            self.colour.around = self.seen.ctypes.data
            again = _again(self.near, self.width)
            in_threads(lambda box: self._render(box, self.waiting[box[0] // ROWS]), again, threads)
            in_threads(self.strips.give, list(self.waiting.values()), threads)
        self.strips.finish()

    def _render(self, box: Box, strip: Strip) -> None:
        start, end = strip.top, strip.top + len(strip.pixels)
        picture = Picture(strip.pixels.ctypes.data, *strip.pixels.strides[:2], start, self.crop[1], end, self.crop[3])
        picture.grid_cols, picture.tiles = self.cols, self.tiles
        if self.reconstruct:
            picture.point("seen", self.seen)
            picture.point("near", self.near)
        _demand(self.work(self.colour, picture, box))


class Strip(NamedTuple):
    """Rows of the picture that lie side by side on the sensor."""

    top: int  # the first one, in the active area
    pixels: np.ndarray  # as the sensor sees them: a view


class _Strips:
    """Where pixels go: into an array; or into memory for a few rows, from where they are given away."""

    def __init__(self, meta: RawMetadata, into: np.ndarray | Rows, bits: int) -> None:
        self.crop, self.size = meta.crop, picture_size(meta)
        self.transpose, flip_rows, flip_columns = ORIENTATIONS[meta.orientation]
        self.steps = (-1 if flip_rows else 1, -1 if flip_columns else 1)
        self.kind = np.dtype(f"uint{bits}")
        self.rows = None if isinstance(into, np.ndarray) else into
        self.whole = into if isinstance(into, np.ndarray) else None
        if self.transpose and self.whole is None:  # rows of the sensor are columns of the picture
            self.whole = np.empty((*self.size, 3), self.kind)
        self.spare: list[np.ndarray] = []

    def take(self, top: int, bottom: int) -> Strip:
        """The part of these rows of the active area that is in the picture."""
        top, bottom = max(top, self.crop[0]), max(min(bottom, self.crop[2]), self.crop[0])
        count = max(bottom - top, 0)
        if self.whole is not None:
            turned = self.whole[:: self.steps[0], :: self.steps[1]]
            turned = turned.transpose(1, 0, 2) if self.transpose else turned
            return Strip(top, turned[top - self.crop[0] :][:count])
        try:
            memory = self.spare.pop()
        except IndexError:
            memory = np.empty((ROWS, self.size[1], 3), self.kind)
        return Strip(top, memory[:count][:: self.steps[0], :: self.steps[1]])

    def give(self, strip: Strip) -> None:
        """It is done."""
        if self.whole is not None or self.rows is None:
            return
        upright = strip.pixels[:: self.steps[0], :: self.steps[1]]
        first = strip.top - self.crop[0]
        if len(upright):
            self.rows(first if self.steps[0] == 1 else self.size[0] - first - len(upright), upright)
        memory = upright.base  # which it is a view of
        assert memory is not None
        self.spare.append(memory)

    def finish(self) -> None:
        """All are done."""
        if self.whole is not None and self.rows is not None:
            self.rows(0, self.whole)


def _again(near: np.ndarray, width: int) -> list[Box]:
    """The pieces that have nearly clipped pixels: in each column of tiles the runs of such rows, joined over gaps that
    cost less than a new start, and cut where bands begin."""
    boxes = []
    for tile in range(near.shape[1]):
        rows = np.flatnonzero(near[:, tile])
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 2 * MOST_REACH) + 1) if len(rows) else ():
            y, end = int(run[0]), int(run[-1]) + 1
            while y < end:
                cut = min(y // ROWS * ROWS + ROWS, end)
                boxes.append((y, cut, tile * TILE, min((tile + 1) * TILE, width)))
                y = cut
    return boxes


def _demand(failed: int) -> None:
    if failed:
        raise MemoryError
