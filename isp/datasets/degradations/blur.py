"""Blur: Gaussian kernels, round or drawn out, a disc of defocus, or any other point spread function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from isp.fast import pairs as compiled


def gaussian_kernels(
    size: Tensor, sigma: Tensor, *, elongation: Tensor | None = None, angle: Tensor | None = None
) -> Tensor:
    """Point spread functions B k k with sum 1; k is the largest of the sizes.

    size: B, odd numbers of pixels; a kernel is cut off beyond its own size. sigma: B, pixels, > 0. elongation: B, the
    longer axis's sigma over the shorter one's, whose product stays sigma^2. angle: B, radians, of the longer axis.
    """
    if bool(((size % 2) == 0).any()) or bool((size < 1).any()):
        raise ValueError(f"blur kernels have odd sizes of at least 1, got {size.tolist()}")
    reach = (int(size.max()) - 1) // 2
    at = torch.arange(-reach, reach + 1, dtype=sigma.dtype, device=sigma.device)
    y, x = at[:, None], at[None, :]  # k 1, 1 k

    def each(values: Tensor) -> Tensor:
        return values[:, None, None]

    stretch = torch.ones_like(sigma) if elongation is None else elongation.sqrt()
    turn = torch.zeros_like(sigma) if angle is None else angle
    along = x * each(turn.cos()) + y * each(turn.sin())
    across = y * each(turn.cos()) - x * each(turn.sin())
    square = (along / each(sigma * stretch)) ** 2 + (across / each(sigma / stretch)) ** 2
    inside = torch.maximum(x.abs(), y.abs()) <= each((size.to(sigma.dtype) - 1) / 2)
    kernels = torch.where(inside, torch.exp(-square / 2), 0.0)
    return kernels / kernels.sum((1, 2), keepdim=True)


def disc_kernel(radius: float, like: Tensor) -> Tensor:
    """The point spread function of a defocused lens, 1 k k with sum 1 in the type of `like`: a disc of this radius
    (pixels), its edge softened over one pixel."""
    reach = max(int(radius + 0.5), 0)
    at = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
    disc = (radius + 0.5 - torch.hypot(at[:, None], at[None, :])).clamp(0, 1)
    return (disc / disc.sum())[None]


def blur(x: Tensor, kernels: Tensor) -> Tensor:
    """Each image convolved with its point spread function, the frame continued by mirror images; the shape of x.

    x: B C H W, linear. kernels: B k k (or 1 k k for all), k odd, as they would appear: a bright point becomes one.
    White noise of variance v in x has the variance v * (kernels**2).sum((1, 2)) afterwards.
    """
    batch, channels, height, width = x.shape
    size = kernels.shape[-1]
    if kernels.ndim != 3 or kernels.shape[1] != size or size % 2 == 0 or kernels.shape[0] not in (1, batch):
        raise ValueError(f"blur needs kernels {batch} k k with odd k for {tuple(x.shape)}, got {tuple(kernels.shape)}")
    reach = size // 2
    if reach >= min(height, width):
        raise ValueError(f"a kernel of {size} x {size} is too large for a frame of {height} x {width} (rows x columns)")
    if x.device.type == "cpu" and not kernels.requires_grad:
        parts = [_by_shifts(x[i : i + 1], kernels[i if len(kernels) > 1 else 0]) for i in range(batch)]
        return parts[0] if batch == 1 else torch.cat(parts)
    weights = kernels.flip(1, 2).to(x.dtype).expand(batch, size, size).repeat_interleave(channels, 0)[:, None]
    planes = F.pad(x, (reach,) * 4, mode="reflect").reshape(1, batch * channels, height + 2 * reach, width + 2 * reach)
    return F.conv2d(planes, weights, groups=batch * channels).view(x.shape)


def _by_shifts(x: Tensor, kernel: Tensor) -> Tensor:
    """The same for 1 C H W and a kernel k k as a sum of shifted frames: on a processor many times as fast as
    convolutions of single channels. A kernel that is a column times a row is applied as two."""
    column, row = kernel.sum(1, keepdim=True), kernel.sum(0, keepdim=True) / kernel.sum()
    separable = torch.allclose(column * row, kernel, rtol=1e-5, atol=1e-7)
    parts = (column, row) if separable else (column.new_ones(1, 1), kernel)
    if (done := compiled.blur(x, *parts)) is not None:
        return done
    for part in parts:
        height, width = x.shape[-2:]
        down, right = part.shape[0] // 2, part.shape[1] // 2
        padded = F.pad(x, (right, right, down, down), mode="reflect")
        x = torch.zeros_like(x)
        for i, weights in enumerate(part.flip(0, 1).tolist()):
            for j, weight in enumerate(weights):
                if weight:
                    x = x.add_(padded[..., i : i + height, j : j + width], alpha=weight)
    return x
