"""Losses: one value per image, B, of a picture and its truth; the caller takes the mean.

    loss = Loss({"l1": 1, "fft": 300, "lpips-squeeze": 0.3}, domain="encoded")
    loss(picture, truth).mean().backward()

Each is 0, or at its minimum, where both are equal. LOSSES lists those that a recipe can name and the domain of each:
"encoded" ones model the eye and take encoded sRGB; "any" weigh errors of whatever they get.
"""

from isp.losses.distillation import FeatureDistillation, tap
from isp.losses.gan import discriminator_loss, generator_loss
from isp.losses.weighted import LOSSES, Loss

__all__ = ["LOSSES", "FeatureDistillation", "Loss", "discriminator_loss", "generator_loss", "tap"]
