"""A flat residual network at half resolution, the strong small baseline of this library.

Ours, after B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, Sec. 3
(residual blocks without normalisation), and M. Gharbi et al., "Deep Joint Demosaicking and Denoising", SIGGRAPH Asia
2016 (all at half resolution, on packed raw). The last convolution starts at 0: over a classical demosaic the network
begins as that demosaic.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.nets.blocks import relu


class Block(nn.Module):
    """inner: planes between its convolutions; None: as many as it takes. out: planes that it gives, with a convolution
    1x1 for its shortcut; None: as many as it takes, and these for it."""

    def __init__(self, width: int, slope: float = 0.0, inner: int | None = None, out: int | None = None) -> None:
        super().__init__()
        inner = width if inner is None else inner
        self.shortcut = nn.Identity() if out is None else nn.Conv2d(width, out, 1)
        self.first = nn.Conv2d(width, inner, 3, padding=1)
        self.relu = relu(slope)
        self.second = nn.Conv2d(inner, width if out is None else out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.second(self.relu(self.first(x)))


class Flat(nn.Module):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w."""

    kind = "raw"
    multiple = 1
    minimum = 1

    def __init__(self, planes: int = 4, width: int = 48, blocks: int = 6) -> None:
        super().__init__()
        self.reach: int | None = 2 * blocks + 2
        self.head = nn.Conv2d(planes, width, 3, padding=1)
        self.body = nn.Sequential(*[Block(width) for _ in range(blocks)])
        self.tail = nn.Conv2d(width, 12, 3, padding=1)
        for p in self.tail.parameters():
            nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return pixel_shuffle(self.tail(self.body(x) + x), 2)
