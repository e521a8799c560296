"""The opcodes that work on an area, pixel by pixel: GainMap, MapTable, MapPolynomial, Delta and Scale per line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from isp.raw.opcodes import (
    AreaOpcode,
    DeltaPerColumn,
    DeltaPerRow,
    GainMap,
    LineOpcode,
    MapPolynomial,
    MapTable,
)
from isp.stages.linearise import back_through_table, through_table

COUNTS_AT_ONE = 65535.0  # the 16-bit value of 1.0, by which MapTable's entries are scaled in lists 2 and 3


def apply_on_area(x: Tensor, opcode: AreaOpcode, counts: bool = False) -> Tensor:
    """x, B C H W, with the opcode applied to its area; the rest is as it was."""
    rows, cols, planes = _area(x, opcode)
    if isinstance(opcode, GainMap):
        gains = gain_map(x, opcode)
        return _change(x, rows, cols, planes, lambda part: part * gains)
    if isinstance(opcode, MapTable):
        unit = 1.0 if counts else COUNTS_AT_ONE
        return _change(x, rows, cols, planes, lambda part: map_table(part * unit, opcode.table) / unit)
    if isinstance(opcode, MapPolynomial):
        return _change(x, rows, cols, planes, lambda part: _polynomial(part, opcode.coefficients))
    line = _line(x, opcode)
    if isinstance(opcode, (DeltaPerRow, DeltaPerColumn)):
        return _change(x, rows, cols, planes, lambda part: part + line)
    return _change(x, rows, cols, planes, lambda part: part * line)


def undo_on_area(x: Tensor, opcode: AreaOpcode, counts: bool = False) -> Tensor:
    """The inverse of apply_on_area. Raises ValueError, by name, where there is none."""
    rows, cols, planes = _area(x, opcode)
    if isinstance(opcode, GainMap):
        if np.any(opcode.map_gains <= 0):
            raise ValueError("GainMap has no inverse: it should hold positive gains only")
        gains = gain_map(x, opcode)
        return _change(x, rows, cols, planes, lambda part: part / gains)
    if isinstance(opcode, MapTable):
        unit = 1.0 if counts else COUNTS_AT_ONE
        return _change(x, rows, cols, planes, lambda part: _unmap_table(part * unit, opcode.table) / unit)
    if isinstance(opcode, MapPolynomial):
        full = COUNTS_AT_ONE if counts else 1.0
        return _change(x, rows, cols, planes, lambda part: _solve_polynomial(part, opcode.coefficients, full))
    line = _line(x, opcode)
    if isinstance(opcode, (DeltaPerRow, DeltaPerColumn)):
        return _change(x, rows, cols, planes, lambda part: part - line)
    if bool((line == 0).any()):
        raise ValueError(f"{opcode.name} has no inverse: a scale is 0")
    return _change(x, rows, cols, planes, lambda part: part / line)


def gain_map(x: Tensor, opcode: GainMap) -> Tensor:
    """The gains at the pixels of the opcode's area: planes rows columns, in x's type.

    The map lies over the whole image, x: B C H W: the centre of row r is at (r + 0.5) / H, which is
    ((r + 0.5) / H - map_origin_v) / map_spacing_v in steps of the map; bilinear between its points, and held at its
    edges. A bilinear map is a product of two thin matrices, one with the weights of its rows and one of its columns.
    """
    height, width = x.shape[-2:]
    rows, cols, planes = _area(x, opcode)
    points_v, points_h, map_planes = opcode.map_gains.shape
    weights_v = _hat_weights(np.arange(height)[rows], height, points_v, opcode.map_origin_v, opcode.map_spacing_v)
    weights_h = _hat_weights(np.arange(width)[cols], width, points_h, opcode.map_origin_h, opcode.map_spacing_h)
    of_plane = [min(plane, map_planes - 1) for plane in range(x.shape[1])[planes]]  # the last one serves the rest
    points = opcode.map_gains.transpose(2, 0, 1)[of_plane].astype(np.float64)  # planes points_v points_h
    along_h = torch.tensor(points @ weights_h.T, dtype=x.dtype, device=x.device)  # planes points_v columns
    return torch.tensor(weights_v, dtype=x.dtype, device=x.device) @ along_h


def _hat_weights(index: np.ndarray, size: int, points: int, origin: float, spacing: float) -> np.ndarray:
    """len(index) points: the share of each map point in the value at each pixel centre. At most two are not 0."""
    if points == 1:  # origin and spacing have no meaning then
        return np.ones((len(index), 1))
    position = np.clip(((index + 0.5) / size - origin) / spacing, 0, points - 1)
    return np.maximum(1 - np.abs(position[:, None] - np.arange(points)), 0)


def map_table(x: Tensor, table: np.ndarray) -> Tensor:
    """x, counts, through the table, joined by straight lines between integers; past its end the last entry holds.

    Negative x mirrors the table through its first point, 2 table[0] - table(-x), as Adobe's SDK does where it keeps
    values under black.
    """
    mapped = through_table(x.abs(), table)
    return torch.where(x < 0, 2 * float(table[0]) - mapped, mapped)


def _unmap_table(y: Tensor, table: np.ndarray) -> Tensor:
    first = float(table[0])
    position = back_through_table((y - first).abs() + first, table.astype(np.float64), "MapTable")
    return torch.where(y < first, -position, position)


def _polynomial(x: Tensor, coefficients: np.ndarray) -> Tensor:
    """c0 + c1 x + c2 x^2 ..., by Horner's rule."""
    result = torch.full_like(x, float(coefficients[-1]))
    for coefficient in coefficients[-2::-1]:
        result = result * x + float(coefficient)
    return result


def _solve_polynomial(y: Tensor, coefficients: np.ndarray, full: float) -> Tensor:
    """x with polynomial(x) = y, on the stretch around 0 .. full where the polynomial is monotone; the end of that
    stretch where there is none.

    Newton's method, kept inside a bracket that every step narrows; a last step outside of no_grad carries the
    gradient 1 / slope.
    """
    derivative = coefficients[1:] * np.arange(1, len(coefficients))
    turns = np.roots(derivative[::-1]) if np.any(derivative) else np.array([0.5 * full])
    turns = turns.real[np.abs(turns.imag) <= 1e-12 * full]
    if np.any((turns > 0) & (turns < full)):
        raise ValueError(f"MapPolynomial has no inverse: it should be monotone from 0 to {full:g}")
    low = max([t for t in turns if t <= 0], default=-8 * full)
    high = min([t for t in turns if t >= full], default=8 * full)
    middle = 0.5 * full
    sign = 1.0 if np.polynomial.polynomial.polyval(middle, derivative) > 0 else -1.0
    with torch.no_grad():
        below, above = torch.full_like(y, low), torch.full_like(y, high)
        x = torch.full_like(y, middle)
        for _ in range(60):
            error = (_polynomial(x, coefficients) - y) * sign
            below, above = torch.where(error <= 0, x, below), torch.where(error >= 0, x, above)
            step = x - error * sign / _polynomial(x, derivative)
            inside = (step >= below) & (step <= above)
            new = torch.where(inside, step, (below + above) / 2)
            moved = float((new - x).abs().max()) if new.numel() else 0.0
            x = new
            if moved <= 4 * torch.finfo(y.dtype).eps * full:
                break
        slope = _polynomial(x, derivative)
        slope = torch.where(slope == 0, torch.full_like(slope, torch.inf), slope)
    return (x - (_polynomial(x, coefficients) - y) / slope).clamp(low, high)


def _line(x: Tensor, opcode: AreaOpcode) -> Tensor:
    """The number of each touched row, N 1, or column, N; in x's type."""
    assert isinstance(opcode, LineOpcode)
    rows, cols, _ = _area(x, opcode)
    touched = len(range(x.shape[-1 if opcode.ALONG else -2])[cols if opcode.ALONG else rows])
    values = torch.tensor(getattr(opcode, opcode.FIELD)[:touched], dtype=x.dtype, device=x.device)
    return values if opcode.ALONG else values[:, None]


def _area(x: Tensor, opcode: AreaOpcode) -> tuple[slice, slice, slice]:
    """The rows, columns and planes of x that the opcode touches."""
    channels, height, width = x.shape[1:]
    planes = slice(min(opcode.plane, channels), min(opcode.plane + opcode.planes, channels))
    if opcode.everywhere and isinstance(opcode, LineOpcode):  # it has no number for any line
        return slice(0, 0), slice(0, 0), planes
    if opcode.everywhere:
        return slice(0, height), slice(0, width), planes
    rows = slice(min(opcode.top, height), min(opcode.bottom, height), opcode.row_pitch)
    return rows, slice(min(opcode.left, width), min(opcode.right, width), opcode.col_pitch), planes


def _change(x: Tensor, rows: slice, cols: slice, planes: slice, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A copy of x with function applied to this part of it."""
    part = x[:, planes, rows, cols]
    if part.numel() == 0:
        return x
    changed = function(part)
    if part.shape == x.shape:
        return changed
    out = x.clone()
    out[:, planes, rows, cols] = changed
    return out
