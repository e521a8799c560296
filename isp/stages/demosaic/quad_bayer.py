"""Quad-Bayer demosaicing at full resolution: Gaussian models along four directions, fitted to it (see kriging)."""

from __future__ import annotations

from torch import Tensor

from isp.raw.cfa import CFA
from isp.stages.demosaic.kriging import Models, interpolate

MODELS = Models(
    length=8.67,
    stretch=3.74,
    exponent=1.4,
    colour_variance=0.172,
    colour_length=8.06,
    colour_stretch=2.53,
    colour_exponent=1.45,
    isotropic_length=1.14,
    isotropic_colour_variance=0.00811,
    noise_variance=5.97e-4,
    sharpness=3.84,
    grid=2,
    smoothing=3,
)
HALO = MODELS.halo


def quad_bayer(x: Tensor, cfa: CFA) -> Tensor:
    """B 3 H W from a Quad-Bayer mosaic B 1 H W in any phase."""
    return interpolate(x, cfa, MODELS)
