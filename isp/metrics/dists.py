"""Deep image structure and texture similarity.

K. Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", IEEE TPAMI 2022, Sec. 3: of the
picture and five stages of VGG16, with Hann-weighted L2 pooling for max pooling, the means (texture) and the covariance
(structure) of each channel are compared, weighed by trained alpha and beta.
The authors compare pictures whose shorter side was resized to 256; here they are compared as they are given.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from isp.metrics.images import paired
from isp.metrics.weights import Features, load_state, load_trunk, loaded

LAYERS = (3, 8, 15, 22, 29)  # of VGG16: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
SMALLEST = 16  # pixels: the last stage has a site
C = 1e-6  # c1 and c2 of the paper


class L2Pool(nn.Module):
    """sqrt(window * x²) at every second site, window of 3x3 from the Hann window of length 5 (paper, Eq. 1)."""

    def forward(self, x: Tensor) -> Tensor:
        hann = x.new_tensor([0.25, 0.5, 0.25])
        window = (hann[:, None] * hann).expand(x.shape[1], 1, 3, 3)
        return (conv2d(x.square(), window, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


class DISTS(nn.Module):
    """Two pictures B 3 H W, encoded sRGB in [0, 1], at least 16x16, to their distance B: 0 for equal ones.

    folder: where the weights are; None: as isp.metrics.weights says, FileNotFoundError for a missing file. Frozen, but
    differentiable in both pictures.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        trunk = load_trunk("vgg16", folder)
        self.features = Features(
            nn.Sequential(*[L2Pool() if isinstance(layer, nn.MaxPool2d) else layer for layer in trunk]), LAYERS
        )
        state = load_state("dists", folder)
        total = state["alpha"].sum() + state["beta"].sum()
        self.alpha: Tensor
        self.beta: Tensor
        self.register_buffer(
            "alpha", state["alpha"].flatten() / total, persistent=False
        )  # 1475: 3 of the picture first
        self.register_buffer("beta", state["beta"].flatten() / total, persistent=False)
        self.eval()

    def forward(self, x: Tensor, truth: Tensor) -> Tensor:
        x, truth = paired(x, truth, 0, SMALLEST)
        textures, structures = [], []
        for a, b in zip([x, *self.features(x)], [truth, *self.features(truth)], strict=True):
            mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))  # B C
            a, b = a - mean_a[..., None, None], b - mean_b[..., None, None]
            textures.append((2 * mean_a * mean_b + C) / (mean_a.square() + mean_b.square() + C))
            variances = a.square().mean((2, 3)) + b.square().mean((2, 3))
            structures.append((2 * (a * b).mean((2, 3)) + C) / (variances + C))
        return 1 - (torch.cat(textures, 1) * self.alpha + torch.cat(structures, 1) * self.beta).sum(1)


def dists(x: Tensor, truth: Tensor, data_range: float, border: int) -> Tensor:
    """B: DISTS distance, 0 for equal pictures.

    x, truth: B 3 H W, encoded sRGB from 0 to data_range, clipped here. border: pixels left out on each side. The
    weights are read once.
    """
    x, truth = paired(x, truth, border)
    x, truth = ((v / data_range).clamp(0, 1).float() for v in (x, truth))
    return loaded(DISTS, x.device)(x, truth)
