"""NAFNet: a UNet of blocks without an activation function.

L. Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, Sec. 3: the block with SimpleGate and
simplified channel attention. Names of modules as in the released weights. Width 32 with 2-2-4-8, 12 and 2-2-2-2 blocks
is the network of PolyU-AISP in the raw track of RAIM 2025.
Differs from the paper: the raw form gives 12 planes and a PixelShuffle and has no long skip; `gate="cross"` is the
CrossGate of iAM_IR (RAIM 2025, Track 2), reconstructed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, pixel_shuffle


class LayerNorm2d(nn.Module):
    """Layer normalisation over the planes of each site."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # B H W C
        return layer_norm(x, (x.shape[3],), self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)  # eps of the release


class SimpleGate(nn.Module):
    """The product of the two halves of the planes: B 2C H W to B C H W (Eq. 4)."""

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return a * b


class CrossGate(nn.Module):
    """Each half of the planes gated by the other: B 2C H W to B 2C H W.

    Reconstructed: all that is known is that the gate exchanges features and does not halve the planes. The sigmoid is
    ours; with a bare product both halves would be the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        return torch.cat([a * b.sigmoid(), b * a.sigmoid()], dim=1)


GATES = {"simple": (SimpleGate, 2), "cross": (CrossGate, 1)}  # and the planes in for one plane out


class NAFBlock(nn.Module):
    def __init__(self, width: int, gate: str) -> None:
        super().__init__()
        self.sg, ratio = GATES[gate][0](), GATES[gate][1]
        wide = 2 * width  # both expansions of the paper are 2
        self.norm1 = LayerNorm2d(width)
        self.conv1 = nn.Conv2d(width, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide // ratio, wide // ratio, 1))
        self.conv3 = nn.Conv2d(wide // ratio, width, 1)
        self.norm2 = LayerNorm2d(width)
        self.conv4 = nn.Conv2d(width, wide, 1)
        self.conv5 = nn.Conv2d(wide // ratio, width, 1)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.sg(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.conv3(y * self.sca(y)) * self.beta
        return x + self.conv5(self.sg(self.conv4(self.norm2(x)))) * self.gamma


class Body(nn.Module):
    """The UNet of both forms; what comes out of `ending` is theirs to finish."""

    minimum = 1
    reach: int | None = None  # the channel attention pools over the whole input

    def __init__(
        self,
        planes: int,
        out: int,
        width: int,
        encoder: Sequence[int],
        middle: int,
        decoder: Sequence[int],
        gate: str,
    ) -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate is {gate!r}; expected one of {', '.join(GATES)}")
        if len(encoder) != len(decoder):
            raise ValueError(f"encoder has {len(encoder)} levels and decoder {len(decoder)}; expected as many")
        self.multiple = 2 ** len(encoder)
        self.intro = nn.Conv2d(planes, width, 3, padding=1)
        self.ending = nn.Conv2d(width, out, 3, padding=1)
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        for blocks in encoder:
            self.encoders.append(nn.Sequential(*[NAFBlock(width, gate) for _ in range(blocks)]))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width *= 2
        self.middle_blks = nn.Sequential(*[NAFBlock(width, gate) for _ in range(middle)])
        self.ups = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for blocks in decoder:
            self.ups.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(nn.Sequential(*[NAFBlock(width, gate) for _ in range(blocks)]))

    def body(self, x: Tensor) -> Tensor:
        x = self.intro(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            x = decoder(up(x) + skips.pop())
        return self.ending(x)


class NAFNet(Body):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w."""

    kind = "raw"

    def __init__(
        self,
        planes: int = 4,
        width: int = 32,
        encoder: Sequence[int] = (2, 2, 4, 8),
        middle: int = 12,
        decoder: Sequence[int] = (2, 2, 2, 2),
        gate: str = "simple",
    ) -> None:
        super().__init__(planes, 12, width, encoder, middle, decoder, gate)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.body(x), 2)


class NAFNetRGB(Body):
    """The form of the paper: B 3 H W to B 3 H W, a residual to its input."""

    kind = "rgb"

    def __init__(
        self,
        width: int = 32,
        encoder: Sequence[int] = (2, 2, 4, 8),
        middle: int = 12,
        decoder: Sequence[int] = (2, 2, 2, 2),
        gate: str = "simple",
    ) -> None:
        super().__init__(3, 3, width, encoder, middle, decoder, gate)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)
