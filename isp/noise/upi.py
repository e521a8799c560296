"""Noise levels of many phones and exposures, drawn at random.

T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, section 3.1, fitted there to the Darmstadt
Noise Dataset: ln shot ~ U(ln 1e-4, ln 0.012), ln read = 2.18 ln shot + 1.20 + N(0, 0.26).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sample_upi(
    batch: int, *, generator: torch.Generator | None = None, device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """(shot, read) for each of a batch of images, B 1 each, linear."""
    low, high = math.log(1e-4), math.log(0.012)
    log_shot = low + (high - low) * torch.rand((batch, 1), generator=generator, device=device)
    log_read = 2.18 * log_shot + 1.20 + 0.26 * torch.randn((batch, 1), generator=generator, device=device)
    return log_shot.exp(), log_read.exp()
