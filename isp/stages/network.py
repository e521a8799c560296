"""A network in the place of the demosaic (isp.nets): the noise that it is told, and where it is not asked."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from isp.noise.dng import from_dng_noise_profile
from isp.noise.gaussian import amplify, noise_std
from isp.noise.spread import spread
from isp.raw.cfa import CFA
from isp.stages.demosaic import default_method, demosaic, halo_of
from isp.stages.highlights import clipping
from isp.stages.white_balance import white_balance
from isp.tiling import tiled

EXPLAINED = (0.8, 1.6, 5.0, 7.0)  # deviations below saturation: the share of clipping that noise explains rises, falls


def demosaic_by_network(
    x: Tensor,
    cfa: CFA,
    model: Callable[..., Tensor],
    gains: np.ndarray,
    noise_profile: np.ndarray | None,
    *,
    strength: float = 1.0,
    shading: Tensor | None = None,
    progress: bool = False,
) -> Tensor:
    """Camera RGB B 3 H W, linear, in the type of x, from a white-balanced linear Bayer mosaic B 1 H W.

    model: as isp.nets.inference takes it; it works in float32. gains: red, green, blue, that x was balanced with.
    noise_profile: planes 2, (shot, read) before white balance and shading; None: no noise. strength: times the noise.
    shading: 1 1 H W, the factor by which a lens-shading correction has raised x; None: 1.
    """
    from isp.nets.inference import develop_mosaic

    sigma = torch.zeros_like(x)
    if noise_profile is not None:
        sigma = strength * noise_map(x, cfa, gains, noise_profile, shading)
    y = develop_mosaic(model, x.float(), sigma.float(), cfa, progress=progress).to(x.dtype)
    noise = None if noise_profile is None else (float(noise_profile[:, 0].mean()), float(noise_profile[:, 1].mean()))
    return demosaic_saturated(
        y, x, cfa, saturation(x, cfa, gains, shading), noise, white_deviation(noise_profile, strength)
    )


def noise_map(
    x: Tensor, cfa: CFA, gains: np.ndarray, noise_profile: np.ndarray, shading: Tensor | None = None
) -> Tensor:
    """Standard deviation of the noise of each sample of a mosaic B 1 H W, whose own noise was raised with it.

    Arguments as demosaic_by_network's.
    """
    shot, read = (spread(torch.from_numpy(values), x) for values in from_dng_noise_profile(noise_profile, cfa))
    return noise_std(x, *amplify(shot, read, saturation(x, cfa, gains, shading)))


def saturation(x: Tensor, cfa: CFA, gains: np.ndarray, shading: Tensor | None = None) -> Tensor:
    """1 1 H W: what samples of 1, the sensor's white, have become in a mosaic B 1 H W."""
    balanced = white_balance(torch.ones_like(x[:1]), gains, cfa)
    return balanced if shading is None else balanced * shading


def white_deviation(noise_profile: np.ndarray | None, strength: float = 1.0) -> float:
    """Standard deviation of the noise of a sample of 1, before white balance: the mean of the planes' variances."""
    return 0.0 if noise_profile is None else strength * math.sqrt(noise_profile.mean(0).sum())


def demosaic_saturated(
    y: Tensor,
    x: Tensor,
    cfa: CFA,
    white: Tensor,
    noise: tuple[float, float] | None = None,
    deviation: float = 0.0,
) -> Tensor:
    """A network's picture y, B 3 H W, with what is saturated in its mosaic x, B 1 H W, demosaicked as ever.

    white: 1 1 H W, the saturation of each sample. There is no signal in saturated samples that a network could
    restore, and the treatment of highlights has to find them at their saturation, or it takes them for colours: a
    white that a network puts a little lower would turn magenta. The change is gradual over the last few per cent, and
    goes channel by channel. noise: as isp.stages.demosaic.demosaic takes it.
    deviation: as white_deviation gives it. Where noise alone may have lifted samples to their saturation, because the
    network sees a value lower by more than EXPLAINED[0:2] deviations, its picture stays: the demosaic would leave a
    coloured dot. A value lower by more than EXPLAINED[2:] deviations is the network's mistake again.
    """
    method = default_method(cfa.kind)

    def replaced(part: Tensor) -> Tensor:  # B 5 h w
        y, x, white = part.split((3, 1, 1), 1)
        clipped = clipping(x, white)
        if not clipped.any():
            return y
        channels = torch.from_numpy(cfa.channel_map(*x.shape[-2:])).to(x.device)
        own = channels == torch.arange(3, device=x.device).view(1, 3, 1, 1)  # 1 3 h w
        weight = max_pool2d(clipped * own, 3, 1, 1)  # B 3 h w
        if deviation > 0:
            limit = max_pool2d(own * white, 3, 1, 1)  # B 3 h w, the channels' saturation
            weight = weight * (1 - explained((1 - y / limit) / deviation))
        return torch.lerp(y, demosaic(x, cfa, method, noise), weight)

    whole = torch.cat([y, x, white.expand_as(x)], 1)
    if whole.requires_grad and torch.is_grad_enabled():
        return replaced(whole)
    return tiled(replaced, whole, halo_of(method, cfa) or 1)


def explained(z: Tensor) -> Tensor:
    """1 where noise explains that a sample clipped whose value is z deviations below its saturation, else 0."""
    a, b, c, d = EXPLAINED
    return ((z - a) / (b - a)).clamp(0, 1) * ((d - z) / (d - c)).clamp(0, 1)
