"""What every metric of two pictures starts with: a check, and the border left out."""

from __future__ import annotations

from torch import Tensor


def paired(x: Tensor, truth: Tensor, border: int, smallest: int = 1) -> tuple[Tensor, Tensor]:
    """Both pictures B C H W without `border` pixels on each side. ValueError unless they are alike, 4-dimensional,
    floating point, and at least `smallest` pixels high and wide after the crop."""
    if x.ndim != 4 or x.shape != truth.shape:
        raise ValueError(f"two pictures B C H W of one shape are compared, got {tuple(x.shape)}, {tuple(truth.shape)}")
    if not (x.is_floating_point() and truth.is_floating_point()):
        raise ValueError(
            f"pictures of floating point are compared, got {x.dtype}, {truth.dtype}; convert with .float()"
        )
    return cropped(x, border, smallest), cropped(truth, border, smallest)


def cropped(x: Tensor, border: int, smallest: int = 1) -> Tensor:
    """B C H W without `border` pixels on each side; ValueError where less than `smallest` would be left."""
    height, width = x.shape[-2:]
    if border < 0 or min(height, width) - 2 * border < smallest:
        raise ValueError(
            f"a border of {border} leaves {height - 2 * border}x{width - 2 * border} of {height}x{width} pixels; "
            f"at least {smallest}x{smallest} must be left"
        )
    return x[..., border : height - border, border : width - border]
