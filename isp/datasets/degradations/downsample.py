"""Downsampling: the mean over blocks, which is what larger pixels would have measured."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def downsample(x: Tensor, factor: int) -> Tensor:
    """B C H W to B C H/factor W/factor, means over factor x factor; both sizes must be multiples of it.

    White noise of variance v has the variance v / factor^2 afterwards: this is also how clean frames are made of
    low-ISO raws.
    """
    height, width = x.shape[-2:]
    if factor < 1 or height % factor or width % factor:
        raise ValueError(f"downsample by {factor} needs sizes that are multiples of it, got {height} x {width}")
    return x if factor == 1 else F.avg_pool2d(x, factor)
