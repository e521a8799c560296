"""MSUnet: two plain UNets, one behind the other, on RGB.

TongJi-IPOE in NTIRE 2025 RAIM, Track 2 (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in the Wild
Challenge", CVPRW 2025, supplementary). Differs from the paper: nothing known.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from isp.nets.blocks import UNet


class MSUnet(nn.Module):
    """RGB to RGB: B 3 H W to B 3 H W; H and W multiples of 4."""

    kind = "rgb"

    def __init__(self, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        self.first = UNet(3, 3, widths)
        self.second = UNet(3, 3, widths)
        self.multiple = self.minimum = self.first.multiple
        self.reach: int | None = self.first.reach + self.second.reach

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))
