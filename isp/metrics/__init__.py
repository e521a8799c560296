"""Metrics: one value per image, B; the caller takes the mean.

Each takes the picture, the truth (NIQE needs none), and `data_range` and `border` without defaults; its docstring says
in which domain it is meant. Where weights are needed, isp.metrics.weights says where they are looked for.
"""

from isp.metrics.ciede2000 import ciede2000
from isp.metrics.dists import DISTS, dists
from isp.metrics.lpips import LPIPS, lpips
from isp.metrics.niqe import niqe
from isp.metrics.psnr import cpsnr, psnr
from isp.metrics.raim import RAIM_2025_RECONSTRUCTED, RAIM_2026, raim_score
from isp.metrics.ssim import ms_ssim, ssim

__all__ = [
    "DISTS",
    "LPIPS",
    "RAIM_2025_RECONSTRUCTED",
    "RAIM_2026",
    "ciede2000",
    "cpsnr",
    "dists",
    "lpips",
    "ms_ssim",
    "niqe",
    "psnr",
    "raim_score",
    "ssim",
]
