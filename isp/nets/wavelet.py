"""The two-dimensional discrete wavelet transform, one level, forward and inverse: for any orthogonal wavelet.

S. Mallat, "A Theory for Multiresolution Signal Decomposition", IEEE TPAMI 11(7), 1989, Sec. IV. The boundary is
periodic, so that the transform of any even size is an orthogonal matrix: the inverse is its transpose, and exact. Taps,
phase, signs and the order of the bands are those of PyWavelets (pywt.dwt2 in mode "periodization").
As the down- and upsampling of a network: P. Liu et al., "Multi-level Wavelet-CNN for Image Restoration", CVPRW 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d


class DWT(nn.Module):
    """B C H W with even H and W to its four bands B 4C H/2 W/2, one behind the other: low (the first C planes), high
    along H, high along W, high along both.

    wavelet: the name of an orthogonal one of PyWavelets ("haar", "db2", "sym4", "coif1" ...); ValueError for others.
    Its taps are fixed, and are not in the state dict.
    """

    filters: Tensor | None

    def __init__(self, wavelet: str = "haar") -> None:
        super().__init__()
        self.register_buffer("filters", taps(wavelet), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if height % 2 or width % 2:
            raise ValueError(f"a wavelet transform needs even H and W, got {tuple(x.shape)}; pad by one sample")
        if self.filters is None:
            return haar(x)
        x = analyse(x, self.filters, dim=3)  # B 2C H W/2
        return torch.cat([analyse(half, self.filters, dim=2) for half in x.chunk(2, 1)], 1)


class IDWT(nn.Module):
    """The inverse of DWT: the four bands B 4C H/2 W/2 to B C H W."""

    filters: Tensor | None

    def __init__(self, wavelet: str = "haar") -> None:
        super().__init__()
        self.register_buffer("filters", taps(wavelet), persistent=False)

    def forward(self, bands: Tensor) -> Tensor:
        if self.filters is None:
            return inverse_haar(bands)
        halves = [synthesise(half, self.filters, dim=2) for half in bands.chunk(2, 1)]
        return synthesise(torch.cat(halves, 1), self.filters, dim=3)


def taps(wavelet: str) -> Tensor | None:
    """Low and high taps of synthesis, which are those of analysis reversed in time: 2 F, float64. None for Haar, which
    needs no taps."""
    if wavelet == "haar":
        return None
    import pywt

    # "dmey" is a truncated Meyer wavelet, orthogonal to 0.5 % only: PyWavelets' own inverse misses the input by that.
    if wavelet not in pywt.wavelist(kind="discrete") or not pywt.Wavelet(wavelet).orthogonal or wavelet == "dmey":
        raise ValueError(f"wavelet is {wavelet!r}; expected an orthogonal one of PyWavelets, such as 'haar' or 'db2'")
    found = pywt.Wavelet(wavelet)
    return torch.tensor([found.rec_lo, found.rec_hi], dtype=torch.float64)


def haar(x: Tensor) -> Tensor:
    """DWT for the wavelet of two taps: sums and differences of each 2 x 2."""
    top, bottom = x[..., 0::2, :] / 2, x[..., 1::2, :] / 2
    low, high = top + bottom, top - bottom  # along H
    low_left, low_right = low[..., 0::2], low[..., 1::2]
    high_left, high_right = high[..., 0::2], high[..., 1::2]
    return torch.cat([low_left + low_right, high_left + high_right, low_left - low_right, high_left - high_right], 1)


def inverse_haar(bands: Tensor) -> Tensor:
    """IDWT for the wavelet of two taps."""
    low, along_h, along_w, both = (bands / 2).chunk(4, 1)
    top = torch.stack([low + along_h + along_w + both, low + along_h - along_w - both], -1).flatten(-2)  # B C H/2 W
    bottom = torch.stack([low - along_h + along_w - both, low - along_h - along_w + both], -1).flatten(-2)
    return torch.stack([top, bottom], -2).flatten(-3, -2)


def analyse(x: Tensor, filters: Tensor, dim: int) -> Tensor:
    """Low and high half of x along one dimension: B C H W to B 2C H/2 W, or B 2C H W/2."""
    overhang = filters.shape[1] // 2 - 1
    x = wrap(x, overhang, dim)
    b, c, h, w = x.shape
    halves = conv2d(x.reshape(b * c, 1, h, w), along(filters.to(x.dtype), dim), stride=(2, 1) if dim == 2 else (1, 2))
    return halves.unflatten(0, (b, c)).transpose(1, 2).flatten(1, 2)


def synthesise(halves: Tensor, filters: Tensor, dim: int) -> Tensor:
    """The inverse of analyse."""
    overhang = filters.shape[1] // 2 - 1
    extra = (overhang + 1) // 2  # samples of a half that reach in from beyond either end
    size = 2 * halves.shape[dim]
    halves = wrap(halves, extra, dim)
    b, c, h, w = halves.shape
    pairs = halves.reshape(b, 2, c // 2, h, w).transpose(1, 2).reshape(b * c // 2, 2, h, w)
    x = conv_transpose2d(pairs, along(filters.to(pairs.dtype), dim), stride=(2, 1) if dim == 2 else (1, 2))
    return x.unflatten(0, (b, c // 2)).flatten(1, 2).narrow(dim, 2 * extra + overhang, size)


def along(filters: Tensor, dim: int) -> Tensor:
    """2 F as a kernel along one dimension: 2 1 F 1 or 2 1 1 F."""
    return filters[:, None, :, None] if dim == 2 else filters[:, None, None, :]


def wrap(x: Tensor, overhang: int, dim: int) -> Tensor:
    """x with its periodic continuation on both ends of one dimension, however short the period."""
    size = x.shape[dim]
    return x.index_select(dim, torch.arange(-overhang, size + overhang, device=x.device) % size)
