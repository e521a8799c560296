"""The DWT hybrid UNet: modulated residual blocks and channel attention in turn, over Haar.

NJUST-KMG in NTIRE 2025 RAIM, raw track (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in the Wild
Challenge", CVPRW 2025, supplementary). The modulation is after J. He et al., "Conditional Sequential Modulation for
Efficient Global Image Retouching", ECCV 2020, Sec. 3.2; the channel attention that of RCAN.
Differs from the paper: nothing known. Where the report is silent: the scale of ResGFM is about 1, skips are added, and
the attention's reduction is 8, which gives the published number of parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.nets.blocks import RCAB
from isp.nets.wavelet import DWT, IDWT


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


class DWTHybrid(nn.Module):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of 8."""

    kind = "raw"
    reach: int | None = None  # the channel attention takes the mean of the whole input

    def __init__(
        self, planes: int = 4, widths: Sequence[int] = (32, 32, 32, 32), pairs: int = 2, reduction: int = 8
    ) -> None:
        super().__init__()
        self.multiple = self.minimum = 2 ** (len(widths) - 1)

        def level(width: int) -> nn.Sequential:
            blocks = [block for _ in range(pairs) for block in (ResGFM(width), RCAB(width, reduction))]
            return nn.Sequential(*blocks)

        steps = list(pairwise(widths))
        self.head = nn.Conv2d(planes, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList([level(a) for a, _ in steps])
        self.downs = nn.ModuleList([nn.Sequential(DWT(), nn.Conv2d(4 * a, b, 3, padding=1)) for a, b in steps])
        self.bottom = level(widths[-1])
        self.ups = nn.ModuleList([nn.Sequential(nn.Conv2d(b, 4 * a, 3, padding=1), IDWT()) for a, b in steps[::-1]])
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
