"""LibRaw's demosaicing in the place of ours, for comparison."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isp.raw.cfa import CFA

if TYPE_CHECKING:
    import rawpy

NAMES = ("AHD", "LINEAR", "PPG", "VNG", "DHT", "DCB", "AAHD")
FULL = 65535
SMALLEST = 22  # rows and columns: LibRaw takes less for a damaged file


def libraw(x: Tensor, cfa: CFA, name: str) -> Tensor:
    """B 3 H W, linear, from a white-balanced linear mosaic B 1 H W, by LibRaw's algorithm `name` (one of NAMES).

    Not differentiable, on the CPU, and rounded: LibRaw works on 16-bit integers, so each frame is divided by its
    largest value (if above 1) and clipped at 0; the resolution is that value / 65535. Bayer only.
    """
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"demosaic libraw:{name} is not differentiable; detach the mosaic or choose another method")
    if min(x.shape[-2:]) < SMALLEST:
        raise ValueError(f"demosaic libraw:{name} needs at least {SMALLEST}x{SMALLEST} pixels, got {tuple(x.shape)}")
    frames = [_frame(frame[0].detach().cpu().double().numpy(), cfa, name) for frame in x]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).to(x)


def _frame(mosaic: np.ndarray, cfa: CFA, name: str) -> np.ndarray:
    """H W 3 from H W."""
    import rawpy

    scale = max(1.0, float(mosaic.max()))
    counts = np.rint(np.clip(mosaic / scale, 0, 1) * FULL).astype(np.uint16)
    with rawpy.imread(mosaic_dng(counts, cfa)) as raw:
        rgb = demosaicked(raw, name)
    return rgb / FULL * scale


def demosaicked(raw: rawpy.RawPy, name: str) -> np.ndarray:
    """H W 3, uint16: LibRaw's algorithm on its mosaic and nothing else: no balance, no matrix, no brightness."""
    import rawpy

    return raw.postprocess(
        demosaic_algorithm=rawpy.DemosaicAlgorithm[name],
        output_color=rawpy.ColorSpace.raw,
        user_wb=[1, 1, 1, 1],
        gamma=(1, 1),
        no_auto_bright=True,
        adjust_maximum_thr=0,
        user_sat=FULL,
        user_black=0,
        user_flip=0,
        output_bps=16,
    )


def mosaic_dng(counts: np.ndarray, cfa: CFA) -> io.BytesIO:
    """The least DNG that LibRaw opens: a mosaic of 16 bits with black 0, white 65535 and a unit ColorMatrix."""
    import tifffile

    identity = [n for i in range(3) for j in range(3) for n in (int(i == j), 1)]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        counts,
        photometric="CFA",
        metadata=None,
        extratags=[
            (33421, "H", 2, (2, 2), True),  # CFARepeatPatternDim
            (33422, "B", 4, bytes(cfa.channels.astype(np.uint8).ravel()), True),  # CFAPattern
            (50706, "B", 4, (1, 4, 0, 0), True),  # DNGVersion
            (50708, "s", 0, "mosaic", True),  # UniqueCameraModel
            (50714, "H", 1, 0, True),  # BlackLevel
            (50717, "H", 1, FULL, True),  # WhiteLevel
            (50721, "2i", 9, identity, True),  # ColorMatrix1
            (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),  # AsShotNeutral
        ],
    )
    file.seek(0)
    return file
