"""Photons counted one by one: Poisson electrons, Gaussian read noise, an ADC with whole steps.

D = K Poisson(I / K) + N(0, sigma), rounded to steps of q: EMVA 1288 (release 4.0), section 2, the linear camera model.
Variance = K I + sigma^2 + q^2 / 12 wherever sigma >= q / 2 dithers the rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isp.noise.spread import like, spread


def poisson_noise(
    x: Tensor,
    gain: float | Tensor,
    read_std: float | Tensor = 0.0,
    *,
    scale: float,
    step: float = 1.0,
    generator: torch.Generator | None = None,
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """x as a sensor would count it, linear again and in the shape of x; carries no gradient through the counting.

    x: linear, clean, any shape; what lies under black collects no photons and keeps its value.
    gain: K, DN per electron; read_std: DN; shapes as in isp.noise.spread. scale: DN between black and white.
    step: of the quantiser, DN; 0 for none. It rounds to multiples of a step from black, as with a whole black level.
    clip: as in gaussian_noise.
    """
    k = spread(gain, x)
    electrons = torch.poisson((x.clamp(min=0) * (scale / k)), generator=generator)
    counts = x.clamp(max=0) * scale + electrons * k + spread(read_std, x) * like(x, generator)  # DN above black
    if step:
        counts = torch.round(counts / step) * step
    noisy = counts / scale
    return noisy if clip is None else noisy.clamp(*clip)
