"""The colour of the light, estimated from a linear frame: the neutral for white balance.

All four assume that some average of the scene is grey, and differ in the average: with f a channel, blurred by sigma,
(mean |d^n f / dx^n|^p)^(1/p). G. D. Finlayson, E. Trezzi, "Shades of Gray and Colour Constancy", CIC 2004; J. van de
Weijer, T. Gevers, A. Gijsenij, "Edge-Based Color Constancy", IEEE TIP 16(9), 2007, whose framework holds them all.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from isp.raw.cfa import CFA

CLIPPED = 0.98  # samples from here on are taken for saturated, whose ratios tell nothing
MINKOWSKI = 6  # Finlayson and Trezzi's best p, for shades of grey and grey edge
# On 39 photographs mosaicked under four lights, mean angular errors are 10.0 degrees for grey world, 6.9 for shades of
# grey, 7.8 for grey edge, 4.6 for white patch, and 17.7 with no white balance. Sigmas from 0.5 to 3 are within 0.2.
SIGMA = 1.0  # of the grey edge's blur, in CFA periods (pixels for RGB)
WHITE_PERCENTILE = 99.9  # white patch: of each channel; 99.99 gains 0.7 degrees, but hot pixels may be as many
FLOOR = 0.05  # smallest entry of a neutral: a gain of 20 is more than any light asks for
METHODS = ("grey-world", "shades-of-grey", "grey-edge", "white-patch")


def estimate_neutral(x: Tensor, cfa: CFA | None, method: str, mask: Tensor | None = None) -> np.ndarray:
    """3, float64: camera RGB of a neutral under the light of the scene, largest 1, each at least FLOOR.

    x: linear, black 0 and white 1, not white-balanced: B 1 H W with its cfa, or B 3 H W; a batch counts as one scene.
    mask: B 1 H W, bool, True where to look; everywhere by default. One CFA period with a saturated or non-finite
    sample, or one outside the mask, does not count, in all three channels. A frame where nothing counts gives 1, 1, 1.
    """
    planes = 3 if cfa is None else 1
    if x.ndim != 4 or x.shape[1] != planes:
        raise ValueError(f"estimate_neutral needs B {planes} H W for this CFA ({cfa}), got {tuple(x.shape)}")
    if method not in METHODS:
        raise ValueError(f"white balance method {method!r} is unknown; expected one of {', '.join(METHODS)}")
    usable = (x.detach().isfinite() & (x.detach() < CLIPPED)).all(1, keepdim=True)
    if mask is not None:
        usable = usable & mask
    colours = torch.where(usable, x.detach(), 0.0)
    if cfa is not None:
        colours, usable = _periods(colours, usable, cfa)
    if method == "grey-edge":
        colours, usable = _edges(colours, usable)
    samples = colours.movedim(1, -1)[usable[:, 0]].double()  # N 3
    if not len(samples):
        return np.ones(3)
    if method == "white-patch":
        rank = max(int(np.ceil(len(samples) * WHITE_PERCENTILE / 100)), 1)
        light = samples.kthvalue(rank, dim=0).values
    elif method == "grey-world":
        light = samples.mean(0)
    else:
        light = (samples**MINKOWSKI).mean(0) ** (1 / MINKOWSKI)
    neutral = light.cpu().numpy()
    return np.maximum(neutral / neutral.max(), FLOOR) if neutral.max() > 0 else np.ones(3)


def _periods(mosaic: Tensor, usable: Tensor, cfa: CFA) -> tuple[Tensor, Tensor]:
    """One colour for each CFA period: B 3 h w means of its samples, and B 1 h w whether all of them count.

    Rows and columns beyond the last whole period are left out, unless there is no whole one.
    """
    height, width = mosaic.shape[-2:]
    rows, cols = min(cfa.rows, height), min(cfa.cols, width)
    channels = torch.as_tensor(cfa.channel_map(height, width), device=mosaic.device)
    planes = [
        avg_pool2d(mosaic * (channels == c), (rows, cols))
        / max(float((channels[:rows, :cols] == c).double().mean()), 1e-9)
        for c in range(3)
    ]
    return torch.cat(planes, 1), avg_pool2d(usable.to(mosaic.dtype), (rows, cols)) == 1


def _edges(colours: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient magnitude of each channel after a blur, B 3 h w, and where no unusable one came into it."""
    radius = int(np.ceil(3 * SIGMA))
    t = torch.arange(-radius, radius + 1, dtype=colours.dtype, device=colours.device)
    smooth = torch.exp(-(t**2) / (2 * SIGMA**2))
    smooth = smooth / smooth.sum()
    slope = -t * smooth
    slope = slope / (slope * -t).sum()
    across = _filter(_filter(colours, smooth, 2), slope, 3)
    down = _filter(_filter(colours, slope, 2), smooth, 3)
    box = torch.ones_like(smooth)
    bad = _filter(_filter((~usable).to(colours.dtype), box, 2), box, 3)
    return torch.hypot(across, down), bad < 0.5


def _filter(x: Tensor, kernel: Tensor, dim: int) -> Tensor:
    """x filtered along one dimension (2 or 3), its edges repeated."""
    radius, channels = len(kernel) // 2, x.shape[1]
    border = (0, 0, radius, radius) if dim == 2 else (radius, radius, 0, 0)
    weights = kernel.view((1, 1, -1, 1) if dim == 2 else (1, 1, 1, -1)).repeat(channels, 1, 1, 1)
    return conv2d(pad(x, border, "replicate"), weights, groups=channels)
