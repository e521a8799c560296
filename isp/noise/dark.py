"""Dark shading and real dark frames: the signal-independent part of the noise, taken from the sensor itself.

Y. Zhang et al., "Rethinking Noise Synthesis and Modeling in Raw Denoising", ICCV 2021 (sampling of real dark frames);
H. Feng et al., "Learnability Enhancement for Low-light Raw Denoising", ACM MM 2022 (dark shading, linear in ISO).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isp.noise.spread import spread


def dark_shading(slope: Tensor, offset: Tensor, iso: float) -> Tensor:
    """The mean dark frame at an ISO, slope * iso + offset; slope, offset and result have one shape and unit (DN above
    black, or linear)."""
    return slope * iso + offset


def fit_dark_shading(dark_means: Tensor, isos: Sequence[float]) -> tuple[Tensor, Tensor]:
    """(slope, offset) of the dark shading, each H W: per site the least-squares line through mean dark frames.

    dark_means: N H W, in the unit that the result shall have; isos: N numbers, at least two different ones.
    """
    iso = torch.as_tensor(isos, dtype=dark_means.dtype, device=dark_means.device)
    if dark_means.ndim != 3 or len(iso) != len(dark_means) or len(set(isos)) < 2:
        raise ValueError(
            f"fit_dark_shading needs mean dark frames N H W of at least two ISOs, got {tuple(dark_means.shape)} and "
            f"ISOs {list(isos)}"
        )
    centred = iso - iso.mean()
    slope = torch.tensordot(centred, dark_means, dims=1) / (centred**2).sum()
    return slope, dark_means.mean(0) - slope * iso.mean()


def sample_dark_frames(
    frames: Tensor, batch: int, size: tuple[int, int], *, period: int = 2, generator: torch.Generator | None = None
) -> Tensor:
    """Random windows of dark frames, B 1 h w, each from a random frame at a random place of the same CFA phase.

    frames: N H W, DN above black with the dark shading subtracted, or linear. period: of the CFA. generator: on the
    CPU, wherever the frames are.
    """
    height, width = size
    count, rows, cols = frames.shape
    if height > rows or width > cols:
        raise ValueError(f"a window of {height} x {width} does not fit dark frames of {rows} x {cols} (rows x columns)")

    def draw(places: int) -> list[int]:
        return torch.randint(places, (batch,), generator=generator).tolist()

    which, tops, lefts = draw(count), draw((rows - height) // period + 1), draw((cols - width) // period + 1)
    windows = [
        frames[n, period * top : period * top + height, period * left : period * left + width]
        for n, top, left in zip(which, tops, lefts, strict=True)
    ]
    return torch.stack(windows)[:, None]


def add_dark_frame(
    x: Tensor, dark: Tensor, gain: float | Tensor, *, scale: float, generator: torch.Generator | None = None
) -> Tensor:
    """x with Poisson photons at gain K (DN per electron) and a real dark frame for everything else; linear.

    x: linear, clean, B 1 H W or B 4 h w. dark: like x, DN above black: a window of sample_dark_frames, quantised by
    the sensor already. scale: DN between black and white. Carries no gradient through the counting.
    """
    if dark.shape != x.shape:
        raise ValueError(f"dark frames have shape {tuple(dark.shape)}; expected that of x, {tuple(x.shape)}")
    k = spread(gain, x)
    electrons = torch.poisson(x.clamp(min=0) * (scale / k), generator=generator)
    return x.clamp(max=0) + (electrons * k + dark) / scale
