"""SPAN: attention without parameters, and convolutions that are wide only in training.

C. Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPRW 2024, Sec. 3. Names of
modules as in the released weights. 52 planes at x1 is the network of TeleAI in Track 2 of RAIM 2025.
Differs from the paper: no upsampling; the branches of a convolution are fused before it runs, in training too, which is
the same function for less than a quarter of the work.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K's RGB, as released


class Conv3XC(nn.Module):
    """A 3x3 convolution; in training the sum of a 1x1 and a chain 1x1, 3x3, 1x1 through twice the planes.

    As released, the chain's input is padded by zeros before its first convolution and nowhere within, so that its
    biases reach the border as they reach the middle; only then is one 3x3 convolution the same at the border.
    """

    def __init__(self, planes: int, out: int, merged: bool) -> None:
        super().__init__()
        self.merged = merged
        if not merged:
            self.sk = nn.Conv2d(planes, out, 1)
            self.conv = nn.Sequential(
                nn.Conv2d(planes, 2 * planes, 1), nn.Conv2d(2 * planes, 2 * out, 3), nn.Conv2d(2 * out, out, 1)
            )
            self.register_state_dict_pre_hook(refresh)
        # released files carry the fused kernel beside the branches; it is not trained, and all there is when merged
        self.eval_conv = nn.Conv2d(planes, out, 3, padding=1).requires_grad_(merged)

    def fused(self) -> tuple[Tensor, Tensor]:
        """Kernel out planes 3 3 and bias of the one convolution that the branches are."""
        chain: Any = self.conv
        skip: Any = self.sk
        first, middle, last = chain
        outer = last.weight.flatten(1)
        kernel = torch.einsum("om,mnhw,ni->oihw", outer, middle.weight, first.weight.flatten(1))
        bias = outer @ (middle.weight.sum((2, 3)) @ first.bias + middle.bias) + last.bias
        return kernel + pad(skip.weight, (1, 1, 1, 1)), bias + skip.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.eval_conv(x) if self.merged else conv2d(x, *self.fused(), padding=1)


def refresh(conv: Any, prefix: str, keep_vars: bool) -> None:
    """Before a Conv3XC is saved: its fused kernel, of the branches as they are now."""
    with torch.no_grad():
        kernel, bias = conv.fused()
        conv.eval_conv.weight.copy_(kernel)
        conv.eval_conv.bias.copy_(bias)


class SPAB(nn.Module):
    """Swift parameter-free attention block (Eq. 3 to 5): the result, and what its first convolution gave."""

    def __init__(self, width: int, merged: bool) -> None:
        super().__init__()
        self.c1_r = Conv3XC(width, width, merged)
        self.c2_r = Conv3XC(width, width, merged)
        self.c3_r = Conv3XC(width, width, merged)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.c1_r(x)
        h = self.c3_r(nn.functional.silu(self.c2_r(nn.functional.silu(first))))
        return (x + h) * (h.sigmoid() - 0.5), first


class SPAN(nn.Module):
    """B 3 H W to B 3 H W.

    img_range: what the input, less its mean, is multiplied by; 255 as released, with which an untrained network of 52
    planes gives values of about 6, with 1 small ones. merged: the form for deployment, which deployed() makes of a
    trained one.
    """

    kind = "rgb"
    multiple = 1
    minimum = 1
    reach: int | None = 21  # twenty-one 3x3 convolutions

    def __init__(self, width: int = 52, img_range: float = 255.0, merged: bool = False) -> None:
        super().__init__()
        self.width, self.img_range = width, img_range
        self.conv_1 = Conv3XC(3, width, merged)
        self.block_1 = SPAB(width, merged)
        self.block_2 = SPAB(width, merged)
        self.block_3 = SPAB(width, merged)
        self.block_4 = SPAB(width, merged)
        self.block_5 = SPAB(width, merged)
        self.block_6 = SPAB(width, merged)
        self.conv_cat = nn.Conv2d(4 * width, width, 1)
        self.conv_2 = Conv3XC(width, width, merged)
        self.upsampler = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.conv_1((x - x.new_tensor(MEAN).view(1, 3, 1, 1)) * self.img_range)
        low, _ = self.block_1(shallow)
        y = low
        for block in (self.block_2, self.block_3, self.block_4, self.block_5):
            y, _ = block(y)
        y, high = self.block_6(y)
        return self.upsampler(self.conv_cat(torch.cat([shallow, self.conv_2(y), low, high], dim=1)))

    def deployed(self) -> SPAN:
        """The same function with one 3x3 convolution for each Conv3XC: 0.477 M parameters for 2.60 M at 52 planes."""
        network = SPAN(self.width, self.img_range, merged=True).to(self.conv_cat.weight)
        kept = network.state_dict().keys()
        network.load_state_dict({name: value for name, value in self.state_dict().items() if name in kept})
        return network
