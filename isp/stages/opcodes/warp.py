"""Lens distortion and lateral colour: WarpRectilinear, WarpRectilinear2 and WarpFisheye. DNG 1.7.1, chapter 7.

Each opcode says where in the distorted image the value of a corrected pixel is found. Resampling is bicubic by
convolution with a = -0.75 (R. Keys, "Cubic Convolution Interpolation", IEEE TASSP 1981; the kernel of Adobe's SDK,
without its quantisation to 1/32 pixel). Positions outside the image are held to its edge, and so are the kernel's
outer taps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from isp.raw.opcodes import WarpFisheye, WarpRectilinear, WarpRectilinear2
from isp.stages.opcodes.lens import Lens

AnyWarp = WarpRectilinear | WarpRectilinear2 | WarpFisheye
Positions = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (y, x) in pixels to (y, x) in pixels, float64

TILE = 256  # pixels; positions and sampling are float64, which tiles keep small
REACH = 2  # pixels that bicubic interpolation looks at on either side
NEWTON_STEPS = 12
CONVERGED = 1e-9  # pixels


def apply_warp(x: Tensor, opcode: AnyWarp) -> Tensor:
    """The corrected image, B C H W, from the distorted one."""
    return _resample(x, opcode, lambda plane: lambda y, x_: source_positions(opcode, plane, x.shape, y, x_))


def undo_warp(x: Tensor, opcode: AnyWarp) -> Tensor:
    """The distorted image, B C H W, from the corrected one: resampled at the numerically inverted positions."""
    return _resample(x, opcode, lambda plane: lambda y, x_: destination_positions(opcode, plane, x.shape, y, x_))


def _resample(x: Tensor, opcode: AnyWarp, positions_of: Callable[[int], Positions]) -> Tensor:
    """x sampled at positions_of(plane)(y, x) for every pixel, tile by tile."""
    channels, height, width = x.shape[1:]
    planes = len(opcode.kr)
    if planes not in (1, channels):
        raise ValueError(f"{opcode.name} states {planes} planes; the image has {channels}")
    groups = [slice(0, channels)] if planes == 1 else [slice(plane, plane + 1) for plane in range(channels)]
    out = torch.empty_like(x)
    for plane, channel in enumerate(groups):
        positions = positions_of(plane)
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                bottom, right = min(top + TILE, height), min(left + TILE, width)
                rows = torch.arange(top, bottom, dtype=torch.float64, device=x.device)
                cols = torch.arange(left, right, dtype=torch.float64, device=x.device)
                y_, x_ = positions(*torch.meshgrid(rows, cols, indexing="ij"))
                out[:, channel, top:bottom, left:right] = _sample(x[:, channel], y_, x_)
    return out


def _sample(x: Tensor, y_: Tensor, x_: Tensor) -> Tensor:
    """x, B C H W, at these positions, h w each: B C h w."""
    height, width = x.shape[-2:]
    y_, x_ = y_.clamp(0, height - 1), x_.clamp(0, width - 1)
    y0, y1 = max(int(y_.min()) - REACH, 0), min(int(y_.max()) + REACH + 2, height)
    x0, x1 = max(int(x_.min()) - REACH, 0), min(int(x_.max()) + REACH + 2, width)
    grid = torch.stack([2 * (x_ - x0) / max(x1 - x0 - 1, 1) - 1, 2 * (y_ - y0) / max(y1 - y0 - 1, 1) - 1], dim=-1)
    part = x[..., y0:y1, x0:x1].double()
    grid = grid.expand(len(part), *grid.shape)
    return grid_sample(part, grid, mode="bicubic", padding_mode="border", align_corners=True).to(x.dtype)


def source_positions(opcode: AnyWarp, plane: int, shape: torch.Size, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where the value of the corrected pixel (y, x) is found in the distorted image, in pixels."""
    lens = Lens.of(shape[-2], shape[-1], opcode.cx, opcode.cy)
    dy, dx = (y - lens.y) / lens.radius, (x - lens.x) / lens.radius
    r2 = dy.square() + dx.square()
    ratio = _radial(opcode, plane, r2)
    to_y, to_x = dy * ratio, dx * ratio
    if not isinstance(opcode, WarpFisheye):
        kt0, kt1 = (float(k) for k in opcode.kt[plane])
        to_x = to_x + 2 * kt0 * dx * dy + kt1 * (r2 + 2 * dx.square())
        to_y = to_y + 2 * kt1 * dx * dy + kt0 * (r2 + 2 * dy.square())
    return lens.y + lens.radius * to_y, lens.x + lens.radius * to_x


def _radial(opcode: AnyWarp, plane: int, r2: Tensor) -> Tensor:
    """The radius in the distorted image over that in the corrected one, where the latter's square is r2."""
    k = [float(value) for value in opcode.kr[plane]]
    if isinstance(opcode, WarpRectilinear):
        return _horner(k, r2)
    if isinstance(opcode, WarpFisheye):
        r = r2.sqrt()
        angle = r.atan()
        per_r = torch.where(r > 1e-6, angle / r.clamp(min=1e-6), torch.ones_like(r))  # atan(r) / r is 1 at 0
        return per_r * _horner(k, angle.square())
    low, high = float(opcode.min_valid_radius[plane]), float(opcode.max_valid_radius[plane])
    polynomial = _horner(k, r2.sqrt().clamp(low, high))
    return 1 / polynomial if opcode.use_reciprocal else polynomial


def _horner(coefficients: list[float], x: Tensor) -> Tensor:
    result = torch.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result


def destination_positions(
    opcode: AnyWarp, plane: int, shape: torch.Size, y: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """The corrected pixel whose value is found at (y, x) in the distorted image, in pixels.

    Newton's method on source_positions, with the slopes taken by differences.
    """
    to_y, to_x = y, x
    step = 1e-3  # pixels
    for _ in range(NEWTON_STEPS):
        at_y, at_x = source_positions(opcode, plane, shape, to_y, to_x)
        error_y, error_x = at_y - y, at_x - x
        if float(torch.maximum(error_y.abs().max(), error_x.abs().max())) < CONVERGED:
            break
        down_y, down_x = source_positions(opcode, plane, shape, to_y + step, to_x)
        right_y, right_x = source_positions(opcode, plane, shape, to_y, to_x + step)
        yy, xy = (down_y - at_y) / step, (down_x - at_x) / step
        yx, xx = (right_y - at_y) / step, (right_x - at_x) / step
        determinant = yy * xx - yx * xy
        determinant = torch.where(determinant.abs() < 1e-6, torch.full_like(determinant, 1e-6), determinant)
        to_y = to_y - (xx * error_y - yx * error_x) / determinant
        to_x = to_x - (yy * error_x - xy * error_y) / determinant
    return to_y, to_x
