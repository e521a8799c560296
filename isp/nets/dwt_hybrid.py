"""The DWT hybrid UNet: modulated residual blocks and channel attention in turn, over Haar.

NJUST-KMG in NTIRE 2025 RAIM, raw track (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in the Wild
Challenge", CVPRW 2025, supplementary). The modulation is after J. He et al., "Conditional Sequential Modulation for
Efficient Global Image Retouching", ECCV 2020, Sec. 3.2; the channel attention that of RCAN.
Differs from the paper: nothing known. Where the report is silent: the scale of ResGFM is about 1, skips are added, and
the attention's reduction is 8, which gives the published number of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from isp.nets.blocks import RCAB, HaarUNet


class ResGFM(nn.Module):
    """x + (1 + scale) * residual + shift, where scale and shift are made of x by a small network of their own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.condition = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(width // 2, 2 * width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.condition(x).chunk(2, 1)
        return x + (1 + scale) * self.residual(x) + shift


class DWTHybrid(HaarUNet):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of 8."""

    def __init__(
        self, planes: int = 4, widths: Sequence[int] = (32, 32, 32, 32), pairs: int = 2, reduction: int = 8
    ) -> None:
        def level(width: int) -> nn.Sequential:
            blocks = [block for _ in range(pairs) for block in (ResGFM(width), RCAB(width, reduction))]
            return nn.Sequential(*blocks)

        super().__init__(planes, widths, level, level(widths[-1]), kernel=3)
