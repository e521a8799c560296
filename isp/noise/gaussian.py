"""Signal-dependent Gaussian noise: variance = shot * x + read.

A. Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008,
eq. 1 with the Gaussian approximation of its Poissonian part; the same law as the tag NoiseProfile of DNG 1.7.1
(S = shot, O = read). With K in DN per electron and the scale W - B in DN: shot = K / (W - B) and
read = (sigma / (W - B))^2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isp.noise.spread import like, spread


def noise_std(x: Tensor, shot: float | Tensor, read: float | Tensor) -> Tensor:
    """Standard deviation of each sample, in the shape of x: the noise map that networks take.

    x: linear, any shape; a signal under black counts as black. shot, read: variance = shot * x + read; shapes as in
    isp.noise.spread. After gains g (white balance), pass amplify(shot, read, g) and the amplified x.
    """
    variance = spread(shot, x) * x.clamp(min=0) + spread(read, x)
    if not variance.requires_grad:
        return variance.clamp_(min=0).sqrt_()
    # the square root has no slope at 0: where there is no noise, nothing must reach the gradient but 0
    root = variance.clamp(min=torch.finfo(x.dtype).tiny).sqrt()
    return torch.where(variance > 0, root, torch.zeros_like(root))


def gaussian_noise(
    x: Tensor,
    shot: float | Tensor,
    read: float | Tensor,
    *,
    generator: torch.Generator | None = None,
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """x with noise of variance shot * x + read added, in the shape of x.

    x: linear, clean, any shape. shot, read: shapes as in isp.noise.spread. clip: the lowest and highest value that
    the raw file holds, for example (-black / scale, 1); None keeps everything.
    """
    noisy = x + noise_std(x, shot, read) * like(x, generator)
    return noisy if clip is None else noisy.clamp(*clip)


def amplify(shot: float | Tensor, read: float | Tensor, gain: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    """(shot, read) of samples multiplied by a gain after the noise came in: digital gain, white balance.

    With x' = g x the variance g^2 (shot x + read) is (g shot) x' + g^2 read.
    """
    return shot * gain, read * gain * gain
