"""The student of MiAlgo's third phase: a Haar UNet of residual blocks with two Restormer blocks at the bottom.

MiAlgo in NTIRE 2025 RAIM, raw track (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in the Wild Challenge",
CVPRW 2025, supplementary), distilled there from its two-stage Restormer.
Differs from the paper: nothing known. Where the report is silent: skips are added, and the Restormer blocks have norms
with bias, 8 heads and the expansion of their paper.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from isp.nets.blocks import HaarUNet
from isp.nets.flat import Block
from isp.nets.restormer import RestormerBlock


class MiAlgoStudent(HaarUNet):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of 8."""

    def __init__(
        self, planes: int = 4, widths: Sequence[int] = (64, 64, 128, 256), blocks: int = 3, heads: int = 8
    ) -> None:
        def level(width: int) -> nn.Sequential:
            return nn.Sequential(*[Block(width) for _ in range(blocks)])

        attention = [RestormerBlock(widths[-1], heads, 2.66, bias_free=False) for _ in range(2)]
        super().__init__(planes, widths, level, nn.Sequential(*attention), kernel=1)
