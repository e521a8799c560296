"""Learned perceptual image patch similarity, version 0.1.

R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, Sec. 3: features
of a classifier, scaled to unit length over the channels, squared differences weighed per channel by a trained head,
averaged over the picture, summed over the layers.
Differs from the authors' code: 1e-10 is added under the root of the length, not to the length, so that the gradient is
finite where every channel of a feature is 0; the four printed digits of their example are the same.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from isp.metrics.images import paired
from isp.metrics.weights import Features, load_state, load_trunk, loaded

# Trunk, layers whose output is compared (after the ReLU), and the smallest picture whose last layer is not empty
TRUNKS = {
    "squeeze": ("squeeze", (1, 4, 7, 9, 10, 11, 12), 17),
    "alex": ("alex", (1, 4, 7, 9, 11), 31),
    "vgg": ("vgg16", (3, 8, 15, 22, 29), 16),
}
# The authors' scaling of pictures in [-1, 1]; in [0, 1] it is these two
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
MEAN = tuple((1 + shift) / 2 for shift in SHIFT)
DEVIATION = tuple(scale / 2 for scale in SCALE)


class LPIPS(nn.Module):
    """Two pictures B 3 H W, encoded sRGB in [0, 1], to their distance B: 0 for equal ones, near 1 for unrelated ones.

    trunk: "squeeze", "alex" (the authors' choice for a metric) or "vgg" (for a loss). folder: where the weights are;
    None: as isp.metrics.weights says. Frozen, but differentiable in both pictures. Raises FileNotFoundError for a
    missing file, ValueError for another trunk.
    """

    def __init__(self, trunk: str = "squeeze", folder: Path | None = None) -> None:
        super().__init__()
        if trunk not in TRUNKS:
            raise ValueError(f"trunk is {trunk!r}; expected one of {', '.join(TRUNKS)}")
        network, layers, self.smallest = TRUNKS[trunk]
        self.features = Features(load_trunk(network, folder), layers, MEAN, DEVIATION)
        heads = load_state(f"lpips-{trunk}", folder)
        for i in range(len(layers)):
            self.register_buffer(f"head{i}", heads[f"lin{i}.model.1.weight"], persistent=False)  # 1 C 1 1
        self.eval()

    def forward(self, x: Tensor, truth: Tensor) -> Tensor:
        x, truth = paired(x, truth, 0, self.smallest)
        distance = x.new_zeros(len(x))
        for i, (a, b) in enumerate(zip(self.features(x), self.features(truth), strict=True)):
            head = getattr(self, f"head{i}")
            distance = distance + ((unit_length(a) - unit_length(b)).square() * head).sum(1).mean((1, 2))
        return distance


def unit_length(x: Tensor) -> Tensor:
    """B C H W with unit length over the channels at every site."""
    return x * (x.square().sum(1, keepdim=True) + 1e-10).rsqrt()


def lpips(x: Tensor, truth: Tensor, data_range: float, border: int, trunk: str = "squeeze") -> Tensor:
    """B: LPIPS distance, 0 for equal pictures.

    x, truth: B 3 H W, encoded sRGB from 0 to data_range, clipped here. border: pixels left out on each side. trunk: as
    LPIPS; figures of different trunks do not compare. The weights are read once.
    """
    x, truth = paired(x, truth, border)
    x, truth = ((v / data_range).clamp(0, 1).float() for v in (x, truth))
    return loaded(LPIPS, x.device, trunk)(x, truth)
