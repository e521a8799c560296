"""WaveletFusionNet: a small UNet whose decoder fuses wavelet bands with those of its encoder.

NulltoZero in NTIRE 2025 RAIM, Track 2 (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in the Wild Challenge",
CVPRW 2025, supplementary): 12 planes, two levels of wavelets, three blocks in the encoder for one in the decoder.
Reconstructed: the report has no more than that. The blocks (RCAB), the convolutions between levels and the fusion are
chosen here so that the parameters come within 1 % of the published 0.303 M; a network of theirs would not load.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from isp.nets.blocks import RCAB
from isp.nets.wavelet import DWT, IDWT


class Fusion(nn.Module):
    """Features from below, B 2C h/2 w/2, to B C h w: to four bands, mixed with the encoder's four, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.fuse = nn.Conv2d(8 * width, 4 * width, 1)
        self.idwt = IDWT()
        self.merge = nn.Conv2d(2 * width, width, 1)

    def forward(self, below: Tensor, bands: Tensor, skip: Tensor) -> Tensor:
        x = self.idwt(self.fuse(torch.cat([self.up(below), bands], 1)))
        return self.merge(torch.cat([x, skip], 1))


class WaveletFusionNet(nn.Module):
    """RGB to RGB, as a correction of its input: B 3 H W to B 3 H W; H and W multiples of 2 ** depth.

    encoder, decoder: blocks on each level, at the bottom one behind the other.
    """

    kind = "rgb"
    reach: int | None = None  # the channel attention takes the mean of the whole input

    def __init__(self, base: int = 12, depth: int = 2, encoder: int = 3, decoder: int = 1, reduction: int = 8) -> None:
        super().__init__()
        self.multiple = self.minimum = 2**depth
        widths = [base * 2**level for level in range(depth + 1)]

        def level(width: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*[RCAB(width, reduction) for _ in range(blocks)])

        self.head = nn.Conv2d(3, base, 3, padding=1)
        self.encoders = nn.ModuleList([level(width, encoder) for width in widths[:-1]])
        self.dwt = DWT()
        self.downs = nn.ModuleList([nn.Conv2d(a, b, 1) for a, b in pairwise(widths)])
        self.bottom = level(widths[-1], encoder + decoder)
        self.fusions = nn.ModuleList([Fusion(width) for width in widths[-2::-1]])
        self.decoders = nn.ModuleList([level(width, decoder) for width in widths[-2::-1]])
        self.tail = nn.Conv2d(base, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            bands = self.dwt(y)
            skips.append((bands, y))
            y = down(bands[:, : y.shape[1]])  # the low band alone goes deeper
        y = self.bottom(y)
        for fusion, decoder in zip(self.fusions, self.decoders, strict=True):
            y = decoder(fusion(y, *skips.pop()))
        return x + self.tail(y)
