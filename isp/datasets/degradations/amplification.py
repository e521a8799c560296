"""Noise amplification: the noise of a frame made stronger or weaker, whatever its law."""

from __future__ import annotations

from torch import Tensor

from isp.noise.spread import spread


def amplify_noise(noisy: Tensor, clean: Tensor, factor: float | Tensor) -> Tensor:
    """clean plus `factor` times the noise; the shape of noisy. factor: one number, or B 1.

    Standard deviations are multiplied by the factor, shot and read by its square; where noisy was clipped, what is
    left of its noise is.
    """
    if noisy.shape != clean.shape:
        raise ValueError(f"noisy and clean differ in shape: {tuple(noisy.shape)}, {tuple(clean.shape)}")
    return clean + (noisy - clean) * spread(factor, noisy)
