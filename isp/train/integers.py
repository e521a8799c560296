"""Convolutions that see 8-bit integers while they are trained, so that an export in integers loses less.

After B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, Sec. 3: forward as in integers, backward as if nothing had been rounded. Differs from the paper: each channel
of what a convolution reads has a range of its own, which is that of the batch; an export has one for the tensor, whose
channels isp.nets.quantise brings near one range before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from isp.nets.quantise import LARGEST, LEVELS


@contextmanager
def in_integers(network: nn.Module) -> Iterator[None]:
    """Within it all convolutions of a network but the first round their weights and what they read, as
    isp.nets.quantise does where it keeps only the first."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)][1:]
    try:
        for layer in convolutions:
            vars(layer)["forward"] = partial(_forward, layer)  # before that of its class
        yield
    finally:
        for layer in convolutions:
            vars(layer).pop("forward", None)


def _forward(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return layer._conv_forward(rounded(x), rounded_weight(layer.weight), layer.bias)


def rounded(x: Tensor) -> Tensor:
    """B C H W at the LEVELS + 1 values of each channel's range over the batch, 0 among them. Its gradient is x's."""
    with torch.no_grad():
        low, high = x.amin((0, 2, 3), keepdim=True).clamp(max=0), x.amax((0, 2, 3), keepdim=True).clamp(min=0)
        scale = ((high - low) / LEVELS).clamp(min=1e-12)
        zero = (-low / scale).round()
        error = ((x / scale).round() + zero).clamp_(0, LEVELS).sub_(zero).mul_(scale).sub_(x)
    return x + error


def rounded_weight(weight: Tensor) -> Tensor:
    """O I h w at whole multiples of LARGEST-ths of each output's largest. Its gradient is weight's."""
    with torch.no_grad():
        scale = weight.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12) / LARGEST
        error = (weight / scale).round_().mul_(scale).sub_(weight)
    return weight + error
