"""A raw frame: the sensor's numbers and what the file says about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isp.dataclass import dataclass
from isp.raw.metadata import RawMetadata

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class RawImage:
    """A raw frame as stored, before any stage: masked borders included, nothing subtracted.

    mosaic: H W for a CFA or monochrome sensor, H W 3 for a linear DNG; counts (DN), in the file's own type
        (uint8, uint16, uint32, float16 or float32).
    """

    mosaic: np.ndarray
    meta: RawMetadata
    path: Path | None = None

    def __post_init__(self) -> None:
        expected = (self.meta.height, self.meta.width) + ((self.meta.samples,) if self.meta.samples > 1 else ())
        if self.mosaic.shape != expected:
            raise ValueError(f"mosaic has shape {self.mosaic.shape}; the metadata says {expected}")
        if self.mosaic.dtype.kind not in "uf":
            raise ValueError(f"mosaic is {self.mosaic.dtype}; expected unsigned integer or float counts")

    def _repr_html_(self) -> str:
        """What a notebook shows: a thumbnail and the metadata."""
        from isp.output.preview import raw_html

        return raw_html(self)

    def tensor(self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> torch.Tensor:
        """The counts as a tensor 1 1 H W (mosaic, monochrome) or 1 3 H W (linear DNG), float32 unless told."""
        import torch

        counts = self.mosaic
        if counts.dtype not in (np.uint8, np.float16, np.float32, np.float64):
            counts = counts.astype(np.float64 if counts.dtype.itemsize > 2 else np.float32)
        x = torch.from_numpy(np.ascontiguousarray(counts)).to(device=device, dtype=dtype or torch.float32)
        return x[None, None] if x.ndim == 2 else x.permute(2, 0, 1)[None].contiguous()
