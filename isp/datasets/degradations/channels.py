"""Channel perturbation: each colour a little brighter or darker, as another light or another sensor would have it."""

from __future__ import annotations

from torch import Tensor


def scale_channels(x: Tensor, factors: Tensor) -> Tensor:
    """x times a factor per channel, in the shape of x: B 3 H W, linear; factors: B 3, or 3 for all images."""
    if x.ndim != 4 or factors.shape[-1] != x.shape[1] or factors.ndim > 2:
        raise ValueError(f"scale_channels needs B C H W and factors B C, got {tuple(x.shape)}, {tuple(factors.shape)}")
    return x * factors.to(x.dtype)[..., None, None]
