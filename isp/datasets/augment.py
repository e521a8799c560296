"""Flips, transposes and crops that keep a mosaic's colour filter array.

J. Liu et al., "Learning Raw Image Denoising with Bayer Pattern Unification and Bayer Preserving Augmentation", CVPR
workshops 2019 (arXiv 1904.12945), section 3: a flip moves the array's phase, so rows or columns are dropped after it; a
transpose keeps RGGB and BGGR and exchanges GRBG and GBRG; phases are unified by cropping, never by reordering planes.
Written here for any array of isp.raw.cfa, not for Bayer alone.

Every function takes the mosaic or an image of the same height and width (the clean RGB), so that one call each keeps a
pair aligned: ... H W. `cfa` is always the array of the mosaic's top left corner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from isp.raw.cfa import CFA


def flip(x: Tensor, cfa: CFA, *, rows: bool = False, columns: bool = False) -> Tensor:
    """x upside down (rows), mirrored (columns) or both, without the first and the last lines that break the array.

    An even Bayer frame loses one line at both ends, an odd one none: the result has x's own cfa.
    """
    if rows:
        drop = _drop(cfa, x.shape[-2], 0)
        x = x.flip(-2)[..., drop : x.shape[-2] - drop, :]
    if columns:
        drop = _drop(cfa, x.shape[-1], 1)
        x = x.flip(-1)[..., drop : x.shape[-1] - drop]
    return x


def transpose(x: Tensor, cfa: CFA) -> tuple[Tensor, CFA]:
    """x with rows and columns exchanged, and the array that it has then."""
    letters = np.array(list(cfa.pattern)).reshape(cfa.rows, cfa.cols).T
    return x.transpose(-2, -1), CFA("".join(letters.ravel()), cfa.cols, cfa.rows)


def crop(x: Tensor, cfa: CFA, top: int, left: int, height: int, width: int) -> Tensor:
    """height x width from (top, left) on, which keep the array: ValueError unless they are multiples of its period."""
    if top % cfa.rows or left % cfa.cols:
        raise ValueError(
            f"a crop at {top}, {left} shifts a {cfa.rows}x{cfa.cols} array; expected multiples of its period"
        )
    if not (0 <= top <= x.shape[-2] - height and 0 <= left <= x.shape[-1] - width):
        raise ValueError(f"a crop of {height} x {width} at {top}, {left} leaves {x.shape[-2]} x {x.shape[-1]}")
    return x[..., top : top + height, left : left + width]


def unify(x: Tensor, cfa: CFA, wanted: CFA) -> Tensor:
    """x without the first lines until its array is `wanted`, cut to whole periods; ValueError for another kind."""
    for down in range(cfa.rows):
        for right in range(cfa.cols):
            if cfa.shifted(down, right) == wanted:
                height, width = x.shape[-2] - down, x.shape[-1] - right
                return x[..., down : down + height // cfa.rows * cfa.rows, right : right + width // cfa.cols * cfa.cols]
    raise ValueError(f"no crop of {cfa} gives {wanted}")


def augment(images: Sequence[Tensor], cfa: CFA, rng: np.random.Generator) -> list[Tensor]:
    """One of the eight flips and transposes, the same for all images (... H W of one size), with cfa unchanged.

    The results are whole periods, and at most two periods smaller in both directions.
    """
    sizes = {tuple(image.shape[-2:]) for image in images}
    if len(sizes) != 1:
        raise ValueError(f"expected images of one size, got {', '.join(f'{h} x {w}' for h, w in sorted(sizes))}")
    rows, columns, transposed = (bool(bit) for bit in rng.integers(0, 2, 3))
    results = []
    for image in images:
        image, now = flip(image, cfa, rows=rows, columns=columns), cfa
        if transposed:
            image, now = transpose(image, cfa)
        results.append(unify(image, now, cfa))
    return results


def _drop(cfa: CFA, lines: int, axis: int) -> int:
    """How many lines to drop after a flip along an axis, so that the array is as it was."""
    letters = np.array(list(cfa.pattern)).reshape(cfa.rows, cfa.cols)
    period = letters.shape[axis]
    seen = letters.take((lines - 1 - np.arange(period)) % period, axis)  # the first lines after the flip
    for drop in range(period):
        if np.array_equal(np.roll(seen, -drop, axis), letters):
            return drop
    raise ValueError(f"no crop of a flipped {cfa} is {cfa}")
