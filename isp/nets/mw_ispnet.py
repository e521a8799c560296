"""MW-ISPNet, also known as MWRCAN: groups of residual channel attention over Haar wavelets, for raw and for RGB.

A. Ignatov et al., "AIM 2020 Challenge on Learned Image Signal Processing Pipeline", ECCVW 2020, Sec. 3.1 (team
MW-ISPNet). 64, 128 and 128 planes with 20 blocks per group is the alternative generator of MiAlgo in the raw track of
NTIRE 2025 RAIM; the RGB form with 16, 32 and 32 and one or two blocks is NJUST-KMG's in its Track 2.
Differs from the paper: with more than four planes (a noise map), the outermost skip carries the first four alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.nets.blocks import RCAB
from isp.nets.wavelet import DWT, IDWT


class Group(nn.Module):
    """Residual blocks with channel attention and a convolution, with a skip around all of them."""

    def __init__(self, width: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*[RCAB(width, reduction) for _ in range(blocks)])
        self.last = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(self.body(x))


class Body(nn.Module):
    """What both forms share: B planes h w to B out h w, where the first `out` of the planes skip everything."""

    multiple = 8
    minimum = 8
    reach: int | None = None  # the channel attention takes the mean of the whole input

    def __init__(self, planes: int, out: int, widths: Sequence[int], blocks: int, reduction: int) -> None:
        super().__init__()
        a, b, c = widths

        def group(width: int) -> Group:
            return Group(width, blocks, reduction)

        def conv(before: int, after: int) -> nn.Conv2d:
            return nn.Conv2d(before, after, 3, padding=1)

        self.out = out
        self.dwt, self.idwt = DWT(), IDWT()
        self.down1 = nn.Sequential(conv(4 * planes, a), nn.PReLU(), group(a))
        self.down2 = nn.Sequential(DWT(), conv(4 * a, b), nn.PReLU(), group(b))
        self.down3 = nn.Sequential(DWT(), conv(4 * b, c), nn.PReLU())
        self.middle = nn.Sequential(group(c), group(c))
        self.up1 = nn.Sequential(conv(c, 4 * b), nn.PReLU(), IDWT())
        self.up2 = nn.Sequential(group(b), conv(b, 4 * a), nn.PReLU(), IDWT())
        self.up3 = nn.Sequential(group(a), conv(a, 4 * out))

    def body(self, x: Tensor) -> Tensor:
        x1 = self.down1(self.dwt(x))
        x2 = self.down2(x1)
        x3 = self.middle(self.down3(x2))
        x2 = self.up1(x3) + x2
        x1 = self.up2(x2) + x1
        return self.idwt(self.up3(x1)) + x[:, : self.out]  # Haar is linear: the same skip as between the bands


class MWISPNet(Body):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of 8."""

    kind = "raw"

    def __init__(
        self, planes: int = 4, widths: Sequence[int] = (64, 128, 128), blocks: int = 20, reduction: int = 16
    ) -> None:
        super().__init__(planes, 4, widths, blocks, reduction)
        self.tail = nn.Conv2d(4, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.tail(self.body(x)), 2)


class MWISPNetRGB(Body):
    """RGB to RGB: B 3 H W to B 3 H W; H and W multiples of 8."""

    kind = "rgb"

    def __init__(self, widths: Sequence[int] = (16, 32, 32), blocks: int = 1, reduction: int = 16) -> None:
        super().__init__(3, 3, widths, blocks, reduction)
        self.tail = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(x))
