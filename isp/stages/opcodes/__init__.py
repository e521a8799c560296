"""Opcode lists applied to an image, and undone. Source: DNG 1.7.1, chapter 7.

Scales. Lists 2 and 3 work on linear values, black 0 and white 1. List 1 works on the stored counts: a table is
indexed by the count, a polynomial and a delta are in counts, as in Adobe's SDK. Nothing is clipped (the SDK pins
results to 1), and negatives stay.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.raw.errors import UnsupportedRawError
from isp.raw.opcodes import (
    AreaOpcode,
    FixBadPixelsConstant,
    FixBadPixelsList,
    FixVignetteRadial,
    GainMap,
    Opcode,
    TrimBounds,
    UnknownOpcode,
    WarpFisheye,
    WarpRectilinear,
    WarpRectilinear2,
)
from isp.stages.geometry import Box, crop, uncrop
from isp.stages.opcodes.area import apply_on_area, undo_on_area
from isp.stages.opcodes.bad_pixels import fix_bad_pixels
from isp.stages.opcodes.vignette import apply_vignette, undo_vignette
from isp.stages.opcodes.warp import apply_warp, undo_warp

Warp = (WarpRectilinear, WarpRectilinear2, WarpFisheye)
BadPixels = (FixBadPixelsConstant, FixBadPixelsList)


def apply_opcodes(x: Tensor, opcodes: Sequence[Opcode], *, cfa: CFA | None = None, counts: bool = False) -> Tensor:
    """x after the opcodes, in order: B C H W; only TrimBounds changes H and W.

    cfa: the array seen from x's top left, where x is a mosaic. counts: x holds stored counts (OpcodeList1).
    An unknown optional opcode is skipped with a warning. Raises UnsupportedRawError for an unknown mandatory one and
    for one that would break a mosaic (a warp; in OpcodeList2, a trim that shifts its phase); ValueError for one that
    does not fit x.
    """
    for opcode in opcodes:
        if _skipped(opcode, cfa, counts):
            continue
        if isinstance(opcode, AreaOpcode):
            x = apply_on_area(x, opcode, counts)
        elif isinstance(opcode, FixVignetteRadial):
            x = apply_vignette(x, opcode)
        elif isinstance(opcode, Warp):
            x = apply_warp(x, opcode)
        elif isinstance(opcode, BadPixels):
            x = fix_bad_pixels(x, opcode, cfa, counts)
        elif isinstance(opcode, TrimBounds):
            x = crop(x, _bounds(opcode))
            cfa = cfa and cfa.shifted(opcode.top, opcode.left)
    return x


def lens_shading(x: Tensor, opcodes: Sequence[Opcode], cfa: CFA | None = None) -> Tensor | None:
    """1 C H W: what the lens-shading corrections of a list make of samples of 1 in the place of x, which is B C H W;
    None where the list holds none."""
    corrections = [opcode for opcode in opcodes if isinstance(opcode, (GainMap, FixVignetteRadial))]
    return apply_opcodes(torch.ones_like(x[:1]), corrections, cfa=cfa) if corrections else None


def undo_opcodes(
    x: Tensor,
    opcodes: Sequence[Opcode],
    *,
    cfa: CFA | None = None,
    counts: bool = False,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """The image that apply_opcodes turns into x: B C H W.

    Exact for maps, gains, scales and deltas. A warp is undone by the numerically inverted map: it resamples, so what
    lay outside and the finest detail are gone. Mended pixels stay mended. What TrimBounds cut off is filled from the
    edge; size: H and W before the list, by default up to the trim's own bottom and right.
    Raises ValueError where there is no inverse (a gain of 0, a table or polynomial that is not monotone).
    """
    sizes: list[tuple[int, int] | None] = []  # before each opcode
    for opcode in opcodes:
        sizes.append(size)
        if isinstance(opcode, TrimBounds):
            size = (opcode.bottom - opcode.top, opcode.right - opcode.left)
    for opcode, before in zip(reversed(opcodes), reversed(sizes), strict=True):
        if _skipped(opcode, cfa, counts):
            continue
        if isinstance(opcode, AreaOpcode):
            x = undo_on_area(x, opcode, counts)
        elif isinstance(opcode, FixVignetteRadial):
            x = undo_vignette(x, opcode)
        elif isinstance(opcode, Warp):
            x = undo_warp(x, opcode)
        elif isinstance(opcode, TrimBounds):
            x = uncrop(x, _bounds(opcode), before or (opcode.bottom, opcode.right))
    return x


def after_trims(box: Box, opcodes: Sequence[Opcode]) -> Box:
    """Where a box of the image before the list lies in the image after it: cut to each TrimBounds and moved with it.

    Raises UnsupportedRawError where nothing of it is left.
    """
    top, left, bottom, right = box
    for opcode in opcodes:
        if isinstance(opcode, TrimBounds):
            top, left = max(top, opcode.top) - opcode.top, max(left, opcode.left) - opcode.left
            bottom, right = min(bottom, opcode.bottom) - opcode.top, min(right, opcode.right) - opcode.left
            if top >= bottom or left >= right:
                raise UnsupportedRawError(f"TrimBounds {_bounds(opcode)} leaves nothing of {box}")
    return top, left, bottom, right


def _bounds(opcode: TrimBounds) -> Box:
    return opcode.top, opcode.left, opcode.bottom, opcode.right


def _skipped(opcode: Opcode, cfa: CFA | None, counts: bool) -> bool:
    """Whether the opcode is an unknown one that may be left out; raises for one that cannot be applied to a mosaic."""
    if isinstance(opcode, UnknownOpcode):
        if not opcode.optional:
            raise UnsupportedRawError(f"the file demands {opcode.name}, which this library does not know")
        warnings.warn(f"skipped the optional {opcode.name}", stacklevel=3)
        return True
    if cfa is not None and isinstance(opcode, Warp):
        raise UnsupportedRawError(f"{opcode.name} on a mosaic would mix its colours; it belongs in OpcodeList3")
    # In list 1 the active area moves with a trim, and the pattern with the active area.
    if (
        cfa is not None
        and isinstance(opcode, TrimBounds)
        and not counts
        and (opcode.top % cfa.rows or opcode.left % cfa.cols)
    ):
        raise UnsupportedRawError(
            f"TrimBounds {_bounds(opcode)} on a mosaic would shift its {cfa.rows}x{cfa.cols} colour pattern"
        )
    return False
