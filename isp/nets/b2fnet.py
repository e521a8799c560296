"""B2FNet: green and red-blue apart, then together.

TongJi-IPOE in NTIRE 2025 RAIM, raw track (J. Liang et al., "The 2nd Restore Any Image Model (RAIM) in the Wild
Challenge", CVPRW 2025, supplementary). One UNet sees the two green planes, one the red and the blue; a third fuses what
both give, with their encoders' features added to its own skips.
Differs from the paper: nothing known, but where a recipe sets `slope` or 20 planes, as models/b2fnet does. The report
does not say where activations stand in the tail; here after each layer but the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from isp.nets.blocks import UNet, he, relu


class B2FNet(nn.Module):
    """planes of packed raw to RGB at twice the size: B planes h w to B 3 2h 2w; h and w multiples of 4.

    planes: 4 R G G B, 8 with their noise behind them, or 20 with a classical demosaic behind that. Each branch sees
    what there is of its own colours; the tail sees the demosaic at full size, so that the features need not carry its
    noise for a residual to take away. slope: of the activations below 0; the report's have none.
    """

    kind = "raw"

    def __init__(self, planes: int = 4, widths: Sequence[int] = (16, 32, 64), slope: float = 0.0) -> None:
        super().__init__()
        if planes not in (4, 8, 20):
            raise ValueError(
                f"planes is {planes}; B2FNet takes 4 (packed), 8 (packed and sigma) or 20 (packed, sigma and base)"
            )
        self.based = planes == 20
        of_mosaic, of_base = min(planes, 8) // 2, 4 if self.based else 0  # planes of a colour
        self.gg = UNet(of_mosaic + of_base, 2, widths, slope)
        self.rb = UNet(of_mosaic + 2 * of_base, 2, widths, slope)
        self.fusion = UNet(4, None, widths, slope)
        self.tail = nn.Sequential(
            nn.ConvTranspose2d(widths[0], widths[0], 2, 2),
            relu(slope),
            nn.Conv2d(widths[0] + (3 if self.based else 0), widths[0], 3, padding=1),
            relu(slope),
            nn.Conv2d(widths[0], 3, 3, padding=1),
        )
        he(self.tail)
        self.multiple = self.minimum = self.fusion.multiple
        self.reach: int | None = self.gg.reach + self.fusion.reach + 1  # the tail's two, at full size

    def forward(self, x: Tensor) -> Tensor:
        mosaic, base = x[:, :8], x[:, 8:]
        green, others = [mosaic[:, 1::4], mosaic[:, 2::4]], [mosaic[:, 0::4], mosaic[:, 3::4]]
        if self.based:  # four planes of red, of green, of blue
            green, others = [*green, base[:, 4:8]], [*others, base[:, :4], base[:, 8:]]
        gg, rb = self.gg.encode(torch.cat(green, 1)), self.rb.encode(torch.cat(others, 1))
        fused = self.fusion.encode(torch.cat([self.gg.decode(gg), self.rb.decode(rb)], 1))
        skips = [a + b + c for a, b, c in zip(fused[:-1], gg[:-1], rb[:-1], strict=True)]
        full = self.tail[:2](self.fusion.decode([*skips, fused[-1]]))
        return self.tail[2:](torch.cat([full, pixel_shuffle(base, 2)], 1) if self.based else full)
