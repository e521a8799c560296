"""Crops and orientation: which pixels are shown, and which way up."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from isp.raw.metadata import ORIENTATIONS

Box = tuple[int, int, int, int]  # top, left, bottom, right; bottom and right exclusive


def crop(x: Tensor, box: Box) -> Tensor:
    """The box of x, B C bottom-top right-left (a view). A crop by odd offsets changes the phase of a mosaic.

    Raises ValueError for a box that is empty or leaves x, B C H W.
    """
    top, left, bottom, right = box
    height, width = x.shape[-2:]
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(f"crop {box} (top, left, bottom, right) should lie in {height} x {width} (rows x columns)")
    return x[..., top:bottom, left:right]


def uncrop(x: Tensor, box: Box, size: tuple[int, int]) -> Tensor:
    """An image of size (H, W) whose crop by the box is x; around it the edge of x is repeated."""
    top, left, bottom, right = box
    if tuple(x.shape[-2:]) != (bottom - top, right - left):
        raise ValueError(f"uncrop {box} needs B C {bottom - top} {right - left}, got {tuple(x.shape)}")
    if min(top, left) < 0 or bottom > size[0] or right > size[1]:
        raise ValueError(f"crop {box} (top, left, bottom, right) should lie in {size[0]} x {size[1]} (rows x columns)")
    return pad(x, (left, size[1] - right, top, size[0] - bottom), mode="replicate")


def orient(x: Tensor, orientation: int) -> Tensor:
    """x, B C H W, the way up that the Orientation tag (1 to 8) asks for; 5 to 8 exchange H and W."""
    transpose, flip_rows, flip_columns = _steps(orientation)
    if transpose:
        x = x.transpose(-2, -1)
    dims = [-2] * flip_rows + [-1] * flip_columns
    return x.flip(dims) if dims else x


def unorient(x: Tensor, orientation: int) -> Tensor:
    """x, B C H W, as the sensor stored it: the inverse of orient."""
    transpose, flip_rows, flip_columns = _steps(orientation)
    dims = [-2] * flip_rows + [-1] * flip_columns
    if dims:
        x = x.flip(dims)
    return x.transpose(-2, -1) if transpose else x


def _steps(orientation: int) -> tuple[bool, bool, bool]:
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation should be 1 to 8; got {orientation!r}")
    return ORIENTATIONS[orientation]
