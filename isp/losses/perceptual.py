"""L1 on the features of VGG19, as Real-ESRGAN weighs them.

J. Johnson, A. Alahi, L. Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", ECCV 2016;
layers and weights of X. Wang et al., "Real-ESRGAN", ICCVW 2021, Sec. 4.1: convolutions before their ReLU.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from isp.metrics.images import paired
from isp.metrics.weights import Features, load_trunk

LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}  # conv1_2, conv2_2, conv3_4, conv4_4, conv5_4 of VGG19
SMALLEST = 16  # pixels: the last stage has a site


class Perceptual(nn.Module):
    """Two pictures B 3 H W, encoded sRGB in [0, 1], at least 16x16, to B: 0 for equal ones.

    folder: where VGG19 is; None: as isp.metrics.weights says, FileNotFoundError for a missing file.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.features = Features(load_trunk("vgg19", folder), tuple(LAYERS))

    def forward(self, x: Tensor, truth: Tensor) -> Tensor:
        x, truth = paired(x, truth, 0, SMALLEST)
        pairs = zip(LAYERS.values(), self.features(x), self.features(truth), strict=True)
        loss = x.new_zeros(len(x))
        for weight, a, b in pairs:
            loss = loss + weight * (a - b).abs().mean((1, 2, 3))
        return loss
