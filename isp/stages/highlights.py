"""Highlights: what to show where the sensor saturated.

White balance lifts the channels' saturation apart: channel c ends at gains[c]. Left alone, a clipped white turns
magenta, for its green ends first. "clip" ends every channel where the first one ends. "reconstruct" estimates the
clipped channels from the others and from the colour around the clipped area.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HALO: dict[str, int | None] = {"clip": 0, "reconstruct": None}

NEAR, CLIPPED = 0.94, 0.985  # shares of a channel's saturation between which it passes from trusted to clipped
FADING = 0.6  # share of the last channel's saturation at which colour starts to fade to neutral
WHITENESS = 0.1  # reluctance to explain a highlight by added white rather than by more of the surrounding colour
BRIGHTEST = 2.0  # estimates end here, as multiples of the largest gain
NEAR_WHITE = 0.9  # share of the picture's white from which on its inverse turns to saturation
DEEPEST = 0.1  # the least share of its largest channel that a surrounding colour's channel counts as
LAST = 16.0  # how exclusively the channel that clips last counts
GRID = 4  # the colour around is kept on a grid of this many pixels
PRIOR = 1e-4  # weight of the coarser surroundings against one trusted sample; of neutral at the coarsest


def treat_highlights(x: Tensor, gains: np.ndarray, method: str, shading: Tensor | None = None) -> Tensor:
    """Camera RGB B 3 H W with its saturated areas treated; same shape.

    x: white-balanced, linear; channel c saturates at gains[c], the smallest gain is 1.
    shading: 1 3 H W, the factor by which a lens-shading correction has raised x and its saturation; None: 1.
    method: "clip": at most 1, which keeps what the sensor saw of all three channels, and no more. "reconstruct":
    clipped channels are raised to where the others and the surroundings suggest, at most BRIGHTEST times the largest
    gain; pixels with every channel below NEAR of its saturation are returned as they are.
    """
    if method not in HALO:
        raise ValueError(f"highlights method is {method!r}; expected one of {', '.join(HALO)}")
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"treat_highlights needs an image B 3 H W, got {tuple(x.shape)}")
    if method == "clip":
        return x.clamp(max=1)
    saturation = torch.as_tensor(np.asarray(gains), dtype=x.dtype, device=x.device).view(1, 3, 1, 1)
    if shading is not None:
        saturation = saturation * shading  # 1 3 H W
    near = (x > NEAR * saturation).any(1)  # B H W
    if not near.any():
        return x
    batch, row, col = near.nonzero(as_tuple=True)
    colour = _at(_surroundings(x, saturation), batch, row, col)  # N 3
    limit = saturation.expand_as(x)[batch, :, row, col]  # N 3
    raised = _raise(x[batch, :, row, col], colour, limit)  # N 3
    pixels = (batch[:, None], torch.arange(3, device=x.device), row[:, None], col[:, None])
    return x.index_put(pixels, raised)


def saturate_whites(x: Tensor, gains: np.ndarray, white: float) -> Tensor:
    """Camera RGB whose clipped render has x's whites, and saturates there as a sensor would: B 3 H W in, the same out.

    x: white-balanced, linear; `white` is the grey level that the picture shows as white. Undoing white balance alone
    would leave red and blue of a white far below saturation, which no sensor does. From NEAR_WHITE of white on, the
    gains fade in, and with them every channel c reaches gains[c], its saturation.
    Source: T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, section 3.4.
    """
    grey = x.mean(1, keepdim=True) / white
    share = ((grey - NEAR_WHITE).clamp(min=0) / (1 - NEAR_WHITE)).clamp(max=1) ** 2
    lift = torch.as_tensor(np.asarray(gains), dtype=x.dtype, device=x.device).view(1, 3, 1, 1) / white
    return x * torch.maximum(1 + share * (lift - 1), torch.ones_like(x))


def _raise(x: Tensor, colour: Tensor, saturation: Tensor) -> Tensor:
    """N 3 pixels with their clipped channels estimated, from the colour around them (N 3, positive, any scale).

    A highlight is some of the colour around plus some white (the dichromatic reflection model, S. Shafer, "Using color
    to separate reflection components", 1985): x = a colour + b. Both shares follow from the trusted channels by least
    squares, with a penalty on b that decides where there is but one. Towards full clipping the estimate fades to
    neutral.
    """
    x = torch.minimum(x, saturation)
    clipped = clipping(x, saturation)
    # Where all are clipped, the one counts that the colour around would have clipped last: no step where it does.
    light = x / torch.maximum(colour, DEEPEST * colour.amax(1, keepdim=True))
    trust = 1 - clipped + 1e-3 * torch.softmax(LAST * torch.log(light.clamp(min=1e-6)), 1)  # noise may be below 0
    n = trust.sum(1, keepdim=True)
    colour = colour * n / (trust * colour).sum(1, keepdim=True)
    cc, c = (trust * colour**2).sum(1, keepdim=True), n  # c: sum of trust * colour
    cx, sx = (trust * colour * x).sum(1, keepdim=True), (trust * x).sum(1, keepdim=True)
    white = ((cc * sx - c * cx) / (cc * n * (1 + WHITENESS) - c * c)).clamp(min=0)
    estimate = (cx - c * white) / cc * colour + white
    last = (x / saturation).amin(1, keepdim=True)
    fading = _smoothstep((last - FADING) / (CLIPPED - FADING))
    neutral = torch.maximum(estimate, x).amax(1, keepdim=True)
    estimate = torch.minimum(estimate + fading * (neutral - estimate), BRIGHTEST * saturation.amax(1, keepdim=True))
    return x + clipped * (estimate - x).clamp(min=0)


def _surroundings(x: Tensor, saturation: Tensor) -> Tensor:
    """The mean colour of the trusted pixels around each point of a grid, B 3 h w; brighter ones count more.

    A pyramid of sums carries it into the clipped areas: where a level has seen no trusted pixel, the coarser one
    tells (S. Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.3: push and pull).
    """
    x = x[..., ::2, ::2]  # enough to know a colour
    light = x / (saturation if saturation.shape[-1] == 1 else saturation[..., ::2, ::2])
    weight = (1 - clipping(light, light.new_ones(()))).prod(1, keepdim=True) * light.mean(1, keepdim=True).clamp(min=0)
    both = torch.cat([x.clamp(min=0) * weight, weight], 1)  # B 4 H/2 W/2: weighted colour, weight
    seen = _pool(both, (GRID // 2, GRID // 2))
    levels = [seen]
    while max(levels[-1].shape[-2:]) > 1:
        levels.append(_pool(levels[-1], _factors(levels[-1])))
    mean = torch.ones_like(levels[-1][:, :3])
    for level in reversed(levels):
        if mean.shape[-2:] != level.shape[-2:]:
            factors = tuple(float(f) for f in _factors(level))
            mean = F.interpolate(mean, scale_factor=factors, mode="bilinear", align_corners=False)
            mean = mean[..., : level.shape[-2], : level.shape[-1]]
        mean = (level[:, :3] + PRIOR * mean) / (level[:, 3:] + PRIOR)
    return mean


def _pool(x: Tensor, factors: tuple[int, int]) -> Tensor:
    """Means over blocks of rows x columns, the frame continued by zeros: sizes are rounded up."""
    height, width = x.shape[-2:]
    return F.avg_pool2d(F.pad(x, (0, -width % factors[1], 0, -height % factors[0])), factors)


def _factors(x: Tensor) -> tuple[int, int]:
    """By how much the pyramid reduces rows and columns: by 2 down to one."""
    return min(x.shape[-2], 2), min(x.shape[-1], 2)


def _at(around: Tensor, batch: Tensor, row: Tensor, col: Tensor) -> Tensor:
    """N 3: the grid's values at pixels, interpolated bilinearly."""
    y, x = (at.to(around.dtype) / GRID - (GRID / 2 - 1) / GRID for at in (row, col))  # every second pixel was seen
    y, x = y.clamp(0, around.shape[-2] - 1), x.clamp(0, around.shape[-1] - 1)
    top, left = y.floor().long(), x.floor().long()
    bottom, right = (top + 1).clamp(max=around.shape[-2] - 1), (left + 1).clamp(max=around.shape[-1] - 1)
    down, across = (y - top)[:, None], (x - left)[:, None]
    upper = torch.lerp(around[batch, :, top, left], around[batch, :, top, right], across.expand(-1, 3))
    lower = torch.lerp(around[batch, :, bottom, left], around[batch, :, bottom, right], across.expand(-1, 3))
    return torch.lerp(upper, lower, down.expand(-1, 3))


def clipping(x: Tensor, saturation: Tensor) -> Tensor:
    """0 for a trusted value, 1 for a clipped one."""
    return _smoothstep((x / saturation - NEAR) / (CLIPPED - NEAR))


def _smoothstep(t: Tensor) -> Tensor:
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)
