"""Refinement: how much of a network's result to take, and how much of what it was given.

J. Liang et al., "NTIRE 2024 Restore Any Image Model (RAIM) in the Wild Challenge", CVPRW 2024, team MiAlgo: three
convolutions of at most 16 planes predict the weight alpha of out = (1 - alpha) LR + alpha out1.
Differs from the report, which does not say: alpha is one weight for each site, through a sigmoid; the convolutions are
3x3 and see both pictures.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Refinement(nn.Module):
    """Two pictures B 3 H W, as given and as restored, to their blend B 3 H W, which lies between them everywhere."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.alpha = nn.Sequential(
            nn.Conv2d(6, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, given: Tensor, restored: Tensor) -> Tensor:
        return torch.lerp(given, restored, self.alpha(torch.cat([given, restored], dim=1)))


class Refined(nn.Module):
    """Any RGB network of NETWORKS with a refinement behind it: B 3 H W to B 3 H W.

    network, arguments: which one, and what it is built with. Its parameters are under `first`, the refinement's under
    `refine`: the report trains them one after the other.
    """

    kind = "rgb"

    def __init__(self, network: str, arguments: dict[str, Any] | None = None, width: int = 16) -> None:
        from isp.nets import NETWORKS  # where this class is itself a line

        super().__init__()
        if network not in NETWORKS:
            raise ValueError(f"network is {network!r}; expected one of {', '.join(NETWORKS)}")
        self.first = NETWORKS[network](**(arguments or {}))
        if self.first.kind != "rgb":
            raise ValueError(
                f"network is {network!r}, a {self.first.kind} network; refinement needs one from RGB to RGB"
            )
        self.refine = Refinement(width)
        self.multiple: int = self.first.multiple
        self.minimum: int = self.first.minimum
        self.reach: int | None = None if self.first.reach is None else self.first.reach + 3

    def forward(self, x: Tensor) -> Tensor:
        return self.refine(x, self.first(x))
