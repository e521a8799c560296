"""The UNet discriminator with spectral norm, for training with a GAN loss.

X. Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021,
Sec. 3.3; spectral norm: T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
Sec. 2.1.
Names of modules as in the released weights. Differs from the paper: nothing.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu
from torch.nn.utils import spectral_norm


class UNetDiscriminator(nn.Module):
    """Pictures B 3 H W to one logit for each site, B 1 H W: how much it looks like a real one.

    H and W are multiples of 8. In training every pass is one step of the power iteration behind the spectral norms.
    """

    kind = "critic"
    multiple = 8
    minimum = 8

    def __init__(self, width: int = 64) -> None:
        super().__init__()

        def normed(planes: int, out: int, size: int, stride: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(planes, out, size, stride, padding=1, bias=False))

        self.conv0 = nn.Conv2d(3, width, 3, padding=1)
        self.conv1 = normed(width, 2 * width, 4, 2)
        self.conv2 = normed(2 * width, 4 * width, 4, 2)
        self.conv3 = normed(4 * width, 8 * width, 4, 2)
        self.conv4 = normed(8 * width, 4 * width, 3, 1)
        self.conv5 = normed(4 * width, 2 * width, 3, 1)
        self.conv6 = normed(2 * width, width, 3, 1)
        self.conv7 = normed(width, width, 3, 1)
        self.conv8 = normed(width, width, 3, 1)
        self.conv9 = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % 8 or x.shape[3] % 8:
            raise ValueError(f"the discriminator needs B 3 H W, H and W multiples of 8, got {tuple(x.shape)}")
        x0 = active(self.conv0(x))
        x1 = active(self.conv1(x0))
        x2 = active(self.conv2(x1))
        x = active(self.conv3(x2))  # B 8w H/8 W/8
        x = active(self.conv4(doubled(x))) + x2
        x = active(self.conv5(doubled(x))) + x1
        x = active(self.conv6(doubled(x))) + x0
        return self.conv9(active(self.conv8(active(self.conv7(x)))))


def active(x: Tensor) -> Tensor:
    return leaky_relu(x, 0.2)


def doubled(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
