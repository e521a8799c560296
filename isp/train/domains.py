"""The domains that a loss, or a metric, can be taken in: white-balanced linear camera RGB to what is compared.

camera           as it is: linear, an error in the dark counts as little as it is small
root             under the cube root of isp.stages.demosaic.curve: close to how the eye weighs it; in the camera's
                 own primaries
display          through the pair's own matrix to sRGB, and encoded; beyond [0, 1] the curve goes on (odd below 0)
display-clipped  the same, clipped to [0, 1]: no gradient where the display shows no difference
"""

from __future__ import annotations

import torch
from torch import Tensor

from isp.stages.demosaic import curve
from isp.stages.encode import encode

DOMAINS = {"camera": "linear", "root": "linear", "display": "encoded", "display-clipped": "encoded"}  # for isp.losses


def to_domain(x: Tensor, cam_to_output: Tensor, domain: str) -> Tensor:
    """B 3 H W, linear white-balanced camera RGB, as the domain shows it. cam_to_output: B 3 3, to linear sRGB."""
    if domain == "camera":
        return x
    if domain == "root":
        return curve.encode(x, curve.TOE)
    y = encode(torch.einsum("bij,bjhw->bihw", cam_to_output, x), "srgb")
    return y.clamp(0, 1) if domain == "display-clipped" else y
