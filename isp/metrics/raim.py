"""Scores of the RAIM challenges (Restore Any Image Model in the Wild, NTIRE), as weighted sums of metrics.

The form of 2025 is reconstructed: the report prints scores but not the formula; with these weights plausible results
give about 94, and the best published score is 92.56. Say "reconstructed" wherever it is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Part(NamedTuple):
    """points: what the metric gives at `best`; at `worst` it gives 0. Linear between, and beyond."""

    points: float
    worst: float
    best: float


RAIM_2025_RECONSTRUCTED = {
    "psnr": Part(20, worst=0, best=50),  # dB
    "ssim": Part(15, worst=0.5, best=1),
    "lpips": Part(20, worst=0.4, best=0),
    "dists": Part(40, worst=0.3, best=0),
    "niqe": Part(30, worst=10, best=0),
}
RAIM_2026 = {
    "psnr": Part(30, worst=0, best=50),  # dB
    "ssim": Part(22.5, worst=0.5, best=1),
    "lpips": Part(30, worst=0.4, best=0),
}


def raim_score(values: Mapping[str, Tensor], parts: Mapping[str, Part]) -> Tensor:
    """B: the score of metrics B, named as in `parts`; ValueError where one is missing. Others are ignored.

    Of encoded sRGB; 2025's PSNR, SSIM and NIQE are as isp.metrics gives them, LPIPS of an unstated trunk.
    """
    if missing := [name for name in parts if name not in values]:
        raise ValueError(f"the score needs {', '.join(parts)}; {', '.join(missing)} is missing")
    points = [p.points * (values[name] - p.worst) / (p.best - p.worst) for name, p in parts.items()]
    return sum(points[1:], points[0])
