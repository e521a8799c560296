"""Frequency distribution loss: how far the distributions of the frequencies of features are apart, wherever they are in
the picture; for pairs that are not aligned.

Z. Ni et al., "Misalignment-Robust Frequency Distribution Loss for Image Transformation", CVPR 2024, Sec. 3: features of
VGG19, their Fourier amplitude and phase, and of each the sliced Wasserstein distance: 256 random unit filters of 5x5,
their responses sorted, mean absolute difference.
Differs from the authors' code: the filters are drawn from a fixed seed, so that a resumed run has the same ones.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from isp.metrics.images import paired
from isp.metrics.weights import Features, load_trunk

# Layers (after the ReLU), their channels, and the smallest picture that leaves 5x5 sites in the last
TRUNKS = {
    "vgg19": ((3, 8, 17, 26, 35), (64, 128, 256, 512, 512), 80),
    "squeeze": ((1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), 81),
}
FILTER = 5  # sites


class FDL(nn.Module):
    """Two pictures B 3 H W, encoded sRGB in [0, 1], to B: 0 for equal ones.

    trunk: "vgg19" (the paper's) or "squeeze", at least 80x80 and 81x81. projections: filters per layer; memory grows
    with them. phase_weight: of the phase's distance beside the amplitude's. folder: where the trunk is; None: as
    isp.metrics.weights says, FileNotFoundError for a missing file.
    """

    def __init__(
        self, trunk: str = "vgg19", folder: Path | None = None, projections: int = 256, phase_weight: float = 1.0
    ) -> None:
        super().__init__()
        if trunk not in TRUNKS:
            raise ValueError(f"trunk is {trunk!r}; expected one of {', '.join(TRUNKS)}")
        layers, widths, self.smallest = TRUNKS[trunk]
        self.features = Features(load_trunk(trunk, folder), layers)
        self.phase_weight = phase_weight
        generator = torch.Generator().manual_seed(0)
        for i, width in enumerate(widths):
            filters = torch.randn(projections, width, FILTER, FILTER, generator=generator)
            filters = filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            self.register_buffer(f"filters{i}", filters, persistent=False)

    def forward(self, x: Tensor, truth: Tensor) -> Tensor:
        x, truth = paired(x, truth, 0, self.smallest)
        loss = x.new_zeros(len(x))
        for i, (a, b) in enumerate(zip(self.features(x), self.features(truth), strict=True)):
            filters = getattr(self, f"filters{i}")
            a, b = torch.fft.fft2(a), torch.fft.fft2(b)
            loss = loss + sliced_wasserstein(a.abs(), b.abs(), filters)
            loss = loss + self.phase_weight * sliced_wasserstein(a.angle(), b.angle(), filters)
        return loss


def sliced_wasserstein(x: Tensor, y: Tensor, filters: Tensor) -> Tensor:
    """B: mean distance of the sorted responses of x and y, B C H W, to filters, P C k k."""
    x, y = (conv2d(v, filters).flatten(2).sort(dim=2).values for v in (x, y))  # B P sites
    return (x - y).abs().mean((1, 2))
