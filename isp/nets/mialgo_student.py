"""The student of MiAlgo's third phase: a Haar UNet of residual blocks with two Restormer blocks at the bottom.

MiAlgo in NTIRE 2025 RAIM, raw track (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in the Wild Challenge",
CVPRW 2025, supplementary), distilled there from its two-stage Restormer.
Differs from the paper: nothing known. Where the report is silent: skips are added, and the Restormer blocks have norms
with bias, 8 heads and the expansion of their paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.nets.flat import Block
from isp.nets.restormer import RestormerBlock
from isp.nets.wavelet import DWT, IDWT


class MiAlgoStudent(nn.Module):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of 8."""

    kind = "raw"
    reach: int | None = None  # the attention at the bottom is over the whole input

    def __init__(
        self, planes: int = 4, widths: Sequence[int] = (64, 64, 128, 256), blocks: int = 3, heads: int = 8
    ) -> None:
        super().__init__()
        self.multiple = self.minimum = 2 ** (len(widths) - 1)
        steps = list(pairwise(widths))

        def level(width: int) -> nn.Sequential:
            return nn.Sequential(*[Block(width) for _ in range(blocks)])

        self.head = nn.Conv2d(planes, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList([level(a) for a, _ in steps])
        self.downs = nn.ModuleList([nn.Sequential(DWT(), nn.Conv2d(4 * a, b, 1)) for a, b in steps])
        self.bottom = nn.Sequential(*[RestormerBlock(widths[-1], heads, 2.66, bias_free=False) for _ in range(2)])
        self.ups = nn.ModuleList([nn.Sequential(nn.Conv2d(b, 4 * a, 1), IDWT()) for a, b in steps[::-1]])
        self.decoders = nn.ModuleList([level(a) for a, _ in steps[::-1]])
        self.tail = nn.Conv2d(widths[0], 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(up(x) + skips.pop())
        return pixel_shuffle(self.tail(x), 2)
