"""Noise levels of many phones and exposures, drawn at random.

T. Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, section 3.1, fitted there to the Darmstadt
Noise Dataset: ln shot ~ U(ln 1e-4, ln 0.012), ln read = 2.18 ln shot + 1.20 + N(0, 0.26). "wide" is ours: the same
line from frames that are practically free of noise to a phone at ISO 25600, and 2.7 times as far to both sides of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAWS = {"upi": (1e-4, 0.012, 0.26), "wide": (1e-6, 0.03, 0.7)}  # lowest and highest shot, deviation of ln read


def sample_upi(
    batch: int, *, law: str = "upi", generator: torch.Generator | None = None, device: str | torch.device = "cpu"
) -> tuple[Tensor, Tensor]:
    """(shot, read) for each of a batch of images, B 1 each, linear. law: a name in LAWS."""
    lowest, highest, spread = LAWS[law]
    low, high = math.log(lowest), math.log(highest)
    log_shot = low + (high - low) * torch.rand((batch, 1), generator=generator, device=device)
    log_read = 2.18 * log_shot + 1.20 + spread * torch.randn((batch, 1), generator=generator, device=device)
    return log_shot.exp(), log_read.exp()
