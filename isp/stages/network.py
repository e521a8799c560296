"""A network in the place of the demosaic (isp.nets): the noise that it is told, and where it is not asked."""

from __future__ import annotations

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
    return demosaic_saturated(y, x, cfa, saturation(x, cfa, gains, shading), noise)


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


def demosaic_saturated(
    y: Tensor, x: Tensor, cfa: CFA, white: Tensor, noise: tuple[float, float] | None = None
) -> Tensor:
    """A network's picture y, B 3 H W, with what is saturated in its mosaic x, B 1 H W, demosaicked as ever.

    white: 1 1 H W, the saturation of each sample. There is no signal in saturated samples that a network could
    restore, and the treatment of highlights has to find them at their saturation, or it takes them for colours: a
    white that a network puts a little lower would turn magenta. The change is gradual over the last few per cent, and
    goes channel by channel. noise: as isp.stages.demosaic.demosaic takes it.
    """
    method = default_method(cfa.kind)

    def replaced(part: Tensor) -> Tensor:  # B 5 h w
        y, x, share = part.split((3, 1, 1), 1)
        clipped = clipping(share, share.new_ones(()))
        if not clipped.any():
            return y
        channels = torch.from_numpy(cfa.channel_map(*x.shape[-2:])).to(x.device)
        own = clipped * (channels == torch.arange(3, device=x.device).view(1, 3, 1, 1))  # B 3 h w
        return torch.lerp(y, demosaic(x, cfa, method, noise), max_pool2d(own, 3, 1, 1))

    whole = torch.cat([y, x, x / white], 1)
    if whole.requires_grad and torch.is_grad_enabled():
        return replaced(whole)
    return tiled(replaced, whole, halo_of(method, cfa) or 1)
