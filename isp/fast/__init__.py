"""The classical render without PyTorch: a compiled kernel that takes a Bayer mosaic to the codes of a picture.

It does what isp.pipeline does, which stays the truth, and every code is within half of one of it. `obstacle` tells for
which files and options there is no such way; those go through isp.pipeline.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from isp.fast.library import UnavailableError, library
from isp.fast.structures import GRID, METHODS, TILE, Colour, Mosaic, Picture, colour_of, mosaic_of
from isp.options import RenderOptions
from isp.parameters import RenderParameters, resolve
from isp.raw.image import RawImage
from isp.raw.metadata import ORIENTATIONS, RawMetadata
from isp.threads import in_threads
from isp.threads import processors as processors

BITS = (8, 16)
ROWS = 128  # of a piece of work, a multiple of GRID
MOST_REACH = 14  # rows above and below that a demosaic looks at
COUNTS = (np.uint8, np.uint16, np.float16, np.float32)


def render_pixels(
    raw: RawImage, options: RenderOptions = RenderOptions(), bits: int = 8, threads: int | None = None
) -> np.ndarray:
    """The picture of a raw frame as codes: H W 3, uint8 or uint16, upright, encoded for options.space.

    isp.render followed by isp.save's rounding, within half a code. threads: None for one per processor.
    Raises ValueError where `obstacle` gives a reason.
    """
    return develop(raw, options, bits, threads)[0]


def develop(
    raw: RawImage, options: RenderOptions, bits: int = 8, threads: int | None = None
) -> tuple[np.ndarray, RenderParameters]:
    """render_pixels, and the parameters that it rendered with."""
    if reason := obstacle(raw, options, bits):
        raise ValueError(f"no fast render: {reason}; isp.render has none of these limits")
    meta, p = raw.meta, resolve(raw.meta, options)
    mosaic = counted(raw, p)

    def work(colour: Colour, picture: Picture, box: tuple[int, int, int, int]) -> int:
        by = ctypes.byref
        return kernel().isp_render(by(mosaic), by(colour), by(picture), *box)

    return _run(work, meta, colour_of(p, bits), bits, threads), p


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
    rgb: np.ndarray, meta: RawMetadata, p: RenderParameters, bits: int = 8, threads: int | None = None
) -> np.ndarray:
    """The picture of white-balanced camera RGB as codes: everything that isp.pipeline does after the demosaic.

    rgb: float32, 3 H W of the active area, linear. Returns H W 3, uint8 or uint16, cropped and upright.
    Raises ValueError where `display_obstacle` gives a reason.
    """
    if reason := display_obstacle(meta, p, bits):
        raise ValueError(f"no fast display: {reason}; isp.pipeline has none of these limits")
    top, left, bottom, right = meta.area
    if rgb.shape != (3, bottom - top, right - left) or rgb.dtype != np.float32:
        raise ValueError(f"expected float32 3 {bottom - top} {right - left}, got {rgb.dtype} {rgb.shape}")
    rgb = np.ascontiguousarray(rgb)
    mosaic = mosaic_of(meta, p)

    def work(colour: Colour, picture: Picture, box: tuple[int, int, int, int]) -> int:
        by = ctypes.byref
        return kernel().isp_display(ctypes.c_void_p(rgb.ctypes.data), by(mosaic), by(colour), by(picture), *box)

    return _run(work, meta, colour_of(p, bits), bits, threads)


def obstacle(raw: RawImage, options: RenderOptions, bits: int = 8) -> str | None:
    """Why there is no fast render of this frame with these options, in a few words; None where there is one."""
    meta = raw.meta
    if meta.kind != "bayer":
        return f"{meta.kind} frame"
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


def display_obstacle(meta: RawMetadata, p: RenderParameters, bits: int = 8) -> str | None:
    """Why `display` cannot do it, in a few words; None where it can."""
    if meta.kind != "bayer":
        return f"{meta.kind} frame"
    if p.linear or bits not in BITS:
        return "scene-linear output"
    return _opcodes(meta) or _no_library()


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


def _run(
    work: Callable[[Colour, Picture, tuple[int, int, int, int]], int],
    meta: RawMetadata,
    colour: Colour,
    bits: int,
    threads: int | None,
) -> np.ndarray:
    """The picture from pieces of work: (top, bottom, left, right) of the active area, each by a thread of its own.

    Highlights that are reconstructed need two passes: the first gathers the colours of the whole frame and finds the
    pixels that are nearly clipped, the second does these again.
    """
    top, left, bottom, right = meta.area
    height, width = bottom - top, right - left
    crop = meta.crop
    size = (crop[2] - crop[0], crop[3] - crop[1])
    transpose, flip_rows, flip_columns = ORIENTATIONS[meta.orientation]
    pixels = np.empty((*(size[::-1] if transpose else size), 3), f"uint{bits}")
    view = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    view = view.transpose(1, 0, 2) if transpose else view
    picture = Picture(view.ctypes.data, *view.strides[:2], *crop)
    rows, cols, tiles = -(-height // GRID), -(-width // GRID), -(-width // TILE)
    picture.grid_cols, picture.tiles = cols, tiles
    reconstruct = colour.highlights == 2
    if reconstruct:
        seen = np.zeros((rows, cols, 4), np.float32)
        near = np.zeros((height, tiles), np.uint8)
        picture.point("seen", seen)
        picture.point("near", near)
        first = [(y, min(y + ROWS, height), 0, width) for y in range(0, height, ROWS)]
    else:
        first = [(y, min(y + ROWS, crop[2]), crop[1] // GRID * GRID, crop[3]) for y in range(crop[0], crop[2], ROWS)]

    def render(box: tuple[int, int, int, int]) -> None:
        _demand(work(colour, picture, box))

    threads = threads or processors()
    in_threads(render, first, threads)
    if reconstruct and near.any():
        _demand(kernel().isp_surroundings(ctypes.c_void_p(seen.ctypes.data), rows, cols))
        colour.around = seen.ctypes.data
        in_threads(render, _again(near, width), threads)
    return pixels


def _again(near: np.ndarray, width: int) -> list[tuple[int, int, int, int]]:
    """The pieces that have nearly clipped pixels: in each column of tiles the runs of such rows, joined over gaps that
    cost less than a new start, and cut to ROWS."""
    boxes = []
    for tile in range(near.shape[1]):
        rows = np.flatnonzero(near[:, tile])
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 2 * MOST_REACH) + 1) if len(rows) else ():
            for y in range(int(run[0]), int(run[-1]) + 1, ROWS):
                boxes.append((y, min(y + ROWS, int(run[-1]) + 1), tile * TILE, min((tile + 1) * TILE, width)))
    return boxes


def _demand(failed: int) -> None:
    if failed:
        raise MemoryError
