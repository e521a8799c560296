"""Natural image quality evaluator: how far a picture's statistics are from those of pristine photographs; no truth.

A. Mittal, R. Soundararajan, A. Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE SPL 2013; the
generalised Gaussian fit of N.-E. Lasmar, Y. Stitou, Y. Berthoumieu, ICIP 2009.
Conventions, which change the number, are those of the authors' MATLAB release: luminance of 8-bit sRGB as rgb2gray
rounds it; whole blocks of 96x96, the rest cut off on the right and below; local mean and deviation with the border
repeated; the second scale by MATLAB's imresize (bicubic, a = -0.5, widened against aliasing, border mirrored).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from isp.metrics.images import cropped
from isp.metrics.weights import weights_file

BLOCK = 96  # pixels at the first scale
LUMA = (0.298936021293775, 0.587043074451121, 0.114020904255103)  # MATLAB's rgb2gray
SHAPES = (0.2, 10.0, 0.001)  # first, last and step of the shapes that are tried for the generalised Gaussian
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # whose product with a pixel is looked at, down and to the right
# Keys' cubic convolution at 1/4, 3/4, 5/4, 7/4 pixels of the small picture, twice its spacing: weights to either side
HALVING = (111 / 256, 29 / 256, -9 / 256, -3 / 256)


def niqe(x: Tensor, data_range: float, border: int) -> Tensor:
    """B: NIQE, 2 to 4 for good photographs, more for worse. Computed in float64.

    x: B 3 H W, encoded sRGB from 0 to data_range, clipped and rounded to 8 bits here, with room for two blocks of
    96x96 after the border. border: pixels left out on each side. NaN where fewer than two blocks have any texture.
    Needs niqe_pris_params.npz (isp.metrics.weights says where; FileNotFoundError). ValueError for other shapes.
    """
    if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
        raise ValueError(f"niqe needs pictures B 3 H W of floating point, got {tuple(x.shape)}, {x.dtype}")
    x = cropped(x, border, BLOCK)
    rows, columns = x.shape[2] // BLOCK, x.shape[3] // BLOCK
    if rows * columns < 2:
        raise ValueError(f"niqe needs two blocks of {BLOCK}x{BLOCK}, got {x.shape[2]}x{x.shape[3]} pixels")
    mean, covariance, window = (torch.from_numpy(v).to(x.device) for v in pristine())

    counts = (x.double() / data_range).clamp(0, 1).mul(255).round()
    luma = torch.einsum("c,bchw->bhw", counts.new_tensor(LUMA), counts).round()[:, None]  # B 1 H W
    luma = luma[..., : rows * BLOCK, : columns * BLOCK]
    scales = []
    for size in (BLOCK, BLOCK // 2):
        blocks = normalised(luma, window).unflatten(3, (columns, size)).unflatten(2, (rows, size))
        scales.append(features(blocks[:, 0].transpose(2, 3)))  # B rows columns 18
        luma = halved(luma)
    found = torch.cat(scales, dim=-1).flatten(1, 2)  # B blocks 36
    return torch.stack([distance(f, mean, covariance) for f in found])


@cache
def pristine() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean 36 and covariance 36x36 of the features of pristine photographs, and the window 7x7 of the local mean."""
    path: Path = weights_file("niqe")
    with np.load(path) as file:
        return file["mu_pris_param"].ravel(), file["cov_pris_param"], file["gaussian_window"]


def normalised(luma: Tensor, window: Tensor) -> Tensor:
    """Luminance less its local mean, over its local deviation plus 1: B 1 H W to the same (paper, Eq. 1)."""

    def blur(v: Tensor) -> Tensor:
        return conv2d(pad(v, (3, 3, 3, 3), mode="replicate"), window[None, None])

    mean = blur(luma)
    return (luma - mean) / ((blur(luma.square()) - mean.square()).abs().sqrt() + 1)


def halved(luma: Tensor) -> Tensor:
    """B 1 H W, H and W even, to B 1 H/2 W/2, as MATLAB's imresize does it."""
    weights = luma.new_tensor([*reversed(HALVING), *HALVING])
    for _ in range(2):  # down the columns, then, transposed, along the rows
        mirrored = torch.cat([luma[..., :3, :].flip(2), luma, luma[..., -3:, :].flip(2)], dim=2)
        luma = conv2d(mirrored, weights.view(1, 1, 8, 1), stride=(2, 1)).transpose(2, 3)
    return luma


def features(blocks: Tensor) -> Tensor:
    """... h w to ... 18: the fit to the values, and to the products with four neighbours (paper, Sec. II.B)."""
    shape, left, right, _ = fit(blocks)
    found = [shape, (left + right) / 2]
    for shift in NEIGHBOURS:
        shape, left, right, mean = fit(blocks * blocks.roll(shift, (-2, -1)))
        found += [shape, mean, left, right]
    return torch.stack(found, dim=-1)


def fit(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shape, left and right scale, and mean of an asymmetric generalised Gaussian, each ..., of values ... h w.

    By moments, with the shape from a table. Scales and mean are NaN where one side has no value.
    """
    values = blocks.flatten(-2)
    squares = values.square()
    left, right = ((squares * side).sum(-1) / side.sum(-1) for side in (values < 0, values > 0))
    left, right = left.sqrt(), right.sqrt()
    ratio = left / right
    moment = values.abs().mean(-1).square() / squares.mean(-1)
    moment = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1).square()

    first, last, step = SHAPES
    shapes = first + step * torch.arange(round((last - first) / step) + 1, dtype=values.dtype, device=values.device)
    table = gamma(2 / shapes).square() / (gamma(1 / shapes) * gamma(3 / shapes))  # rises with the shape
    above = torch.searchsorted(table, moment.contiguous()).clamp(1, len(table) - 1)
    nearest = torch.where(moment - table[above - 1] <= table[above] - moment, above - 1, above)
    nearest = torch.where(moment.isnan(), 0, nearest)  # as MATLAB's min does, whose index the release takes
    shape = shapes[nearest]
    spread = (gamma(1 / shape) / gamma(3 / shape)).sqrt()
    left, right = left * spread, right * spread
    return shape, left, right, (right - left) * gamma(2 / shape) / gamma(1 / shape)


def gamma(x: Tensor) -> Tensor:
    return x.lgamma().exp()


def distance(found: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Between the pristine Gaussian and that of these features, blocks 36 (paper, Eq. 10); a scalar."""
    whole = found[~found.isnan().any(1)]
    if len(whole) < 2:
        return found.new_tensor(torch.nan)
    apart = mean - found.nanmean(0)
    return (apart @ torch.linalg.pinv((covariance + whole.T.cov()) / 2) @ apart).sqrt()
