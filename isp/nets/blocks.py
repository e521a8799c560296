"""Blocks that two or more papers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, pixel_shuffle

from isp.nets.wavelet import DWT, IDWT


class ChannelAttention(nn.Module):
    """Each plane scaled by a weight in (0, 1) made of the means of all planes.

    Y. Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018, Sec. 3.3.
    """

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width, width // reduction, 1)
        self.up = nn.Conv2d(width // reduction, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class RCAB(nn.Module):
    """Residual block with channel attention; ECCV 2018 as above, Sec. 3.4."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.attention = ChannelAttention(width, reduction)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.second(self.first(x).relu()))


class UNet(nn.Module):
    """The plain UNet of TongJi-IPOE's networks: B planes h w to B out h w, and its features on the way.

    After O. Ronneberger et al., "U-Net", MICCAI 2015: two 3x3 convolutions with ReLU at each level, 2x2 max-pooling,
    3x3 transposed convolutions of stride 2. out None: no last convolution, widths[0] planes come out. slope: of the
    activations below 0.
    """

    def __init__(self, planes: int, out: int | None, widths: Sequence[int] = (16, 32, 64), slope: float = 0.0) -> None:
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        # At each level two convolutions down and two up; a step to the grid below and back moves a site by up to 2: one
        # within a pooled pair, one within the transposed convolution.
        self.reach = 2
        for _ in widths[1:]:
            self.reach = 2 * self.reach + 2 + 2 + 2
        self.encoders = nn.ModuleList([pair(a, b, slope) for a, b in pairwise([planes, *widths])])
        steps = list(pairwise(widths))[::-1]
        self.ups = nn.ModuleList([nn.ConvTranspose2d(b, a, 3, 2, padding=1, output_padding=1) for a, b in steps])
        self.decoders = nn.ModuleList([pair(2 * a, a, slope) for a, _ in steps])
        self.last: nn.Module = nn.Identity()
        if out is not None:
            self.last = nn.Conv2d(widths[0], out, 3, padding=1)
            self.reach += 1
        he(self)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The features of each level, from the finest to the coarsest."""
        features = [self.encoders[0](x)]
        for encoder in self.encoders[1:]:
            features.append(encoder(max_pool2d(features[-1], 2)))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        *skips, x = features
        for up, decoder, skip in zip(self.ups, self.decoders, skips[::-1], strict=True):
            x = decoder(torch.cat([skip, up(x)], 1))
        return self.last(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class HaarUNet(nn.Module):
    """A UNet over Haar wavelets with added skips: B planes h w to B 3 2h 2w; h and w multiples of `multiple`.

    Of NJUST-KMG's hybrid and of MiAlgo's student (NTIRE 2025 RAIM, raw track). level: makes the blocks of a level of
    this width. bottom: those of the last. kernel: side of the convolutions that fit the bands to the next level.
    """

    kind = "raw"
    reach: int | None = None  # both have attention over the whole input

    def __init__(
        self, planes: int, widths: Sequence[int], level: Callable[[int], nn.Module], bottom: nn.Module, kernel: int
    ) -> None:
        super().__init__()
        self.multiple = self.minimum = 2 ** (len(widths) - 1)

        def fit(a: int, b: int) -> nn.Conv2d:
            return nn.Conv2d(a, b, kernel, padding=kernel // 2)

        steps = list(pairwise(widths))
        self.head = nn.Conv2d(planes, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList([level(a) for a, _ in steps])
        self.downs = nn.ModuleList([nn.Sequential(DWT(), fit(4 * a, b)) for a, b in steps])
        self.bottom = bottom
        self.ups = nn.ModuleList([nn.Sequential(fit(b, 4 * a), IDWT()) for a, b in steps[::-1]])
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


def he(module: nn.Module) -> None:
    """Weights of variance 2 / inputs and biases of 0, for plain stacks of ReLU: under the defaults of torch, whose
    variance is a sixth of it, features fade with depth and the first layers hardly learn.

    K. He et al., "Delving Deep into Rectifiers", ICCV 2015, Sec. 2.2; the U-Net's own choice (Sec. 3).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            if not layer.weight.is_meta:  # no values to draw, for which PyTorch would import its compiler: seconds
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def pair(planes: int, width: int, slope: float = 0.0) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU, or with what `relu` makes of a slope."""
    return nn.Sequential(
        nn.Conv2d(planes, width, 3, padding=1),
        relu(slope),
        nn.Conv2d(width, width, 3, padding=1),
        relu(slope),
    )


def relu(slope: float) -> nn.Module:
    """ReLU, or below 0 a line of this slope: in a plain stack a unit that is 0 for every input never learns again."""
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
