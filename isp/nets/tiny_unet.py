"""The tiny wavelet UNet, for raw and for RGB.

MiAlgo's student in NTIRE 2025 RAIM, Track 2 and phase 3 (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in
the Wild Challenge", CVPRW 2025, supplementary): Haar in the place of strided convolutions, 1x1 convolutions to a
quarter of the planes before it and back after its inverse, one residual block per level.
Differs from the paper: nothing known of the RGB form; the raw form, of packed planes and with a PixelShuffle, is ours,
and has no global residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.nets.flat import Block
from isp.nets.wavelet import DWT, IDWT


class WaveletUNet(nn.Module):
    """The UNet of both forms: B planes h w to B out h w."""

    def __init__(self, planes: int, out: int, widths: Sequence[int]) -> None:
        super().__init__()
        if any(width % 4 for width in widths[1:]):
            raise ValueError(
                f"widths are {tuple(widths)}; after the first, expected multiples of 4 (Haar has four bands)"
            )
        self.multiple = self.minimum = 2 ** (len(widths) - 1)
        # At each level above the last two convolutions down, two up, and 1 within a pair of samples; head and tail.
        self.reach: int | None = 2 * self.multiple + 5 * (self.multiple - 1) + 2
        steps = list(pairwise(widths))
        self.head = nn.Conv2d(planes, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList([Block(a) for a, _ in steps])
        self.downs = nn.ModuleList([nn.Sequential(nn.Conv2d(a, b // 4, 1), DWT()) for a, b in steps])
        self.bottom = Block(widths[-1])
        self.ups = nn.ModuleList([nn.Sequential(IDWT(), nn.Conv2d(b // 4, a, 1)) for a, b in steps[::-1]])
        self.merges = nn.ModuleList([nn.Conv2d(2 * a, a, 1) for a, _ in steps[::-1]])
        self.decoders = nn.ModuleList([Block(a) for a, _ in steps[::-1]])
        self.tail = nn.Conv2d(widths[0], out, 3, padding=1)

    def body(self, x: Tensor) -> Tensor:
        x = self.head(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, merge, decoder in zip(self.ups, self.merges, self.decoders, strict=True):
            x = decoder(merge(torch.cat([skips.pop(), up(x)], 1)))
        return self.tail(x)


class TinyUNet(WaveletUNet):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of 4."""

    kind = "raw"

    def __init__(self, planes: int = 4, widths: Sequence[int] = (16, 24, 48)) -> None:
        super().__init__(planes, 12, widths)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.body(x), 2)


class TinyUNetRGB(WaveletUNet):
    """RGB to RGB, as a correction of its input: B 3 H W to B 3 H W; H and W multiples of 4."""

    kind = "rgb"

    def __init__(self, widths: Sequence[int] = (16, 24, 48)) -> None:
        super().__init__(3, 3, widths)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
