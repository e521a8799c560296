"""Peak signal-to-noise ratio, of one mean square error over all pixels and channels of an image."""

from __future__ import annotations

from torch import Tensor

from isp.metrics.images import paired


def psnr(x: Tensor, truth: Tensor, data_range: float, border: int) -> Tensor:
    """B: 10 log10(data_range² / mean square error), dB; infinite for equal pictures.

    x, truth: B C H W, of any domain, and the number means nothing without it: the reports' figures are of encoded
    sRGB; in linear light the dark parts hardly count. data_range: white minus black, 1 in this library. border: pixels
    left out on each side. Nothing is clipped or rounded. Raises ValueError for shapes that do not fit.
    """
    x, truth = paired(x, truth, border)
    return 10 * (data_range**2 / (x - truth).square().mean((1, 2, 3))).log10()


def cpsnr(x: Tensor, truth: Tensor, data_range: float, border: int) -> Tensor:
    """B: PSNR of all channels together as papers on demosaicing report it, dB: both pictures clipped and rounded to
    8 bits first; equal ones give infinity.

    x, truth: B 3 H W, encoded sRGB from 0 to data_range; the papers leave out a border of 10 pixels or so.
    """
    x, truth = ((v / data_range).clamp(0, 1).mul(255).round() for v in (x, truth))
    return psnr(x, truth, data_range=255, border=border)
