"""A pyramid of residual blocks at a half, a quarter and an eighth of the resolution, for reach at little work.

Ours, after O. Ronneberger et al., "U-Net", MICCAI 2015, with the residual blocks of isp.nets.flat and added skips.
Noise is left in blotches that are wider than what a network sees; a convolution at an eighth of the resolution reaches
as far as four at a half, for a fraction of the work. The last convolution starts at 0: over a classical demosaic the
network begins as that demosaic.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.nets.blocks import he
from isp.nets.flat import Block


class Pyramid(nn.Module):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of `multiple`.

    widths, blocks: of each level, from half the resolution on; all levels but the last have their blocks on the way up.
    encoders: blocks of these on the way down; None: as many. slope: of the activations below 0. inner: planes inside
    each block, those on the way down, at the bottom and on the way up; None: as wide as their level. joined: the first
    block takes the raw planes and the last one gives the picture's, with convolutions 1x1 for shortcuts (K. He et al.,
    "Deep Residual Learning for Image Recognition", CVPR 2016, Sec. 3.3), in the place of a head and a tail.
    """

    kind = "raw"

    def __init__(
        self,
        planes: int = 4,
        widths: Sequence[int] = (32, 48, 64),
        blocks: Sequence[int] = (1, 1, 4),
        encoders: Sequence[int] | None = None,
        slope: float = 0.0,
        inner: Sequence[int] | None = None,
        joined: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks):
            raise ValueError(f"pyramid has {len(widths)} widths and {len(blocks)} numbers of blocks; expected as many")
        encoders = blocks[:-1] if encoders is None else encoders
        if len(encoders) != len(widths) - 1:
            raise ValueError(f"pyramid has {len(widths)} widths and {len(encoders)} encoders; expected one fewer")
        if joined and not (encoders and encoders[0] and blocks[0]):
            raise ValueError("a joined pyramid needs blocks at both ends of its first level, and a second level")
        self.widths, self.joined = tuple(widths), joined
        self.multiple = self.minimum = 2 ** (len(widths) - 1)
        reach = 2 * blocks[-1]
        for up, down in zip(blocks[-2::-1], encoders[::-1], strict=True):
            reach = 2 * reach + 1 + 2 * (up + down)  # 1: within a pair of samples
        self.reach: int | None = reach + 2 * (not joined)  # head and tail
        steps = list(pairwise(widths))
        number = sum(blocks) + sum(encoders)
        if inner is not None and len(inner) != number:
            raise ValueError(
                f"pyramid has {number} blocks and {len(inner)} numbers of planes in them; expected as many"
            )
        planes_of = iter([None] * number if inner is None else inner)

        def level(width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*[Block(width, slope, next(planes_of)) for _ in range(count)])

        self.head = nn.Identity() if joined else nn.Conv2d(planes, widths[0], 3, padding=1)
        descent = [level(a, n) for a, n in zip(widths[:-1], encoders, strict=True)]
        self.encoders = nn.ModuleList(descent)
        self.downs = nn.ModuleList([nn.Conv2d(a, b, 2, stride=2) for a, b in steps])
        self.bottom = level(widths[-1], blocks[-1])
        self.ups = nn.ModuleList([nn.Conv2d(b, 4 * a, 1) for a, b in steps[::-1]])
        ascent = [level(a, n) for a, n in list(zip(widths[:-1], blocks[:-1], strict=True))[::-1]]
        self.decoders = nn.ModuleList(ascent)
        self.tail = nn.Identity() if joined else nn.Conv2d(widths[0], 12, 3, padding=1)
        last: list[nn.Module] = [self.tail]
        if joined:
            units = (inner[0], inner[-1]) if inner else (widths[0], widths[0])
            final = Block(widths[0], slope, units[1], 12)
            descent[0][0], ascent[-1][-1] = Block(planes, slope, units[0], widths[0]), final
            last = [final.shortcut, final.second]
        he(self.downs)
        he(self.ups)
        for p in (p for module in last for p in module.parameters()):
            nn.init.zeros_(p)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.bottom(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(pixel_shuffle(up(x), 2) + skips.pop())
        return pixel_shuffle(self.tail(x), 2)
