"""Metrics: one value per image, B; the caller takes the mean.

Each takes the picture, the truth, and `data_range` and `border` without defaults; its docstring says in which domain it
is meant. Where weights are needed, isp.metrics.weights says where they are looked for.
"""

from isp.metrics.lpips import LPIPS, lpips
from isp.metrics.psnr import cpsnr, psnr
from isp.metrics.ssim import ms_ssim, ssim

__all__ = ["LPIPS", "cpsnr", "lpips", "ms_ssim", "psnr", "ssim"]
