"""ProfileHueSatMap and ProfileLookTable: hue, saturation and value of linear ProPhoto RGB through a table.

Source: DNG 1.7.1, chapter 6, "Applying the Hue/Saturation/Value Mapping Table", and the tags ProfileHueSatMapData1,
ProfileHueSatMapEncoding, ProfileLookTableData; the rendering of standard dynamic range. The specification clips to
[0, 1] around it. Here that holds for colours within [0, 1], which come out as it says; others keep their headroom:
with value V = largest channel and chroma C = largest - smallest, V > 1 and C > V (a negative channel) read the table at
its edge, and the clips stop growth at max(V, 1) and max(C, V), so that nothing jumps at the border of [0, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from isp.stages.encode import decode, encode

ROUNDS = 30  # of the inverse's fixed-point iteration
TINY = 1e-6  # values below this count as black where a ratio is formed


def apply_hue_sat_map(x: Tensor, table: np.ndarray, encoding: int = 0) -> Tensor:
    """x through the table: B 3 H W linear ProPhoto RGB in, the same out.

    table: hue sat value 3: hue shift (degrees), saturation scale, value scale at evenly spaced hues (wrapping round),
        saturations 0 to 1 and values 0 to 1; trilinear in between. encoding: 1 where the values are sRGB-encoded ones.
    """
    lookup = _Table(table, encoding, x)
    hue, chroma, value = _to_hsv(x)
    shift, saturation_scale, value_scale = lookup(hue, chroma, value)
    new_value = lookup.scale_value(value, value_scale)
    ratio = torch.where(value > TINY, new_value / value.clamp(min=TINY), value_scale)
    grown = torch.minimum(chroma * saturation_scale, torch.maximum(chroma, value))
    return _to_rgb(hue + shift / 60.0, grown * ratio, new_value)


def undo_hue_sat_map(y: Tensor, table: np.ndarray, encoding: int = 0) -> Tensor:
    """The inverse of apply_hue_sat_map where it clipped nothing, by fixed-point iteration.

    Exact to 1e-5 for tables whose shifts and scales change slowly from entry to entry (less than about half of what
    would make the map fold: neighbouring hues that change places have no inverse). Where the map clipped, one of the
    colours that give y.
    """
    lookup = _Table(table, encoding, y)
    new_hue, new_chroma, new_value = _to_hsv(y)
    new_saturation = torch.where(new_value > TINY, new_chroma / new_value.clamp(min=TINY), 2.0)  # 2: beyond the clip
    hue, chroma, value = new_hue, new_chroma, new_value
    for _ in range(ROUNDS):
        shift, *scales = lookup(hue, chroma, value)
        saturation_scale, value_scale = (scale.clamp(min=TINY) for scale in scales)
        hue = new_hue - shift / 60.0
        value = lookup.unscale_value(new_value, value_scale)
        ratio = torch.where(new_value > TINY, value / new_value.clamp(min=TINY), 1 / value_scale)
        chroma = new_chroma * ratio / torch.where(new_saturation > 1, saturation_scale.clamp(max=1), saturation_scale)
    return _to_rgb(hue, chroma, value)


class _Table:
    """A table ready to be read at hue (0..6), chroma and value, each B 1 H W."""

    def __init__(self, table: np.ndarray, encoding: int, like: Tensor) -> None:
        if table.ndim != 4 or table.shape[3] != 3:
            raise ValueError(f"hue/saturation map should be hue sat value 3, got {table.shape}")
        if encoding not in (0, 1):
            raise ValueError(f"hue/saturation map encoding should be 0 (linear) or 1 (sRGB), got {encoding}")
        self.hues, _, self.values, _ = table.shape
        self.srgb = encoding == 1 and self.values > 1  # the encoding of the value axis; without one it means nothing
        wrapped = np.concatenate([table, table[:1]])  # hues + 1: the first again, at 360 degrees
        # one image with the values' slices below each other: two bilinear reads of it are faster than one trilinear
        rows = np.moveaxis(wrapped, 2, 0).reshape(-1, *table.shape[1:2], 3)  # values * (hues + 1), sat, 3
        self.image = torch.as_tensor(rows, dtype=like.dtype, device=like.device).permute(2, 0, 1)[None]

    def __call__(self, hue: Tensor, chroma: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hue shift (degrees), saturation scale and value scale, each B 1 H W."""
        saturation = torch.where(value > TINY, chroma / value.clamp(min=TINY), (chroma > 0).to(chroma.dtype)).clamp(
            max=1
        )
        row = torch.remainder(hue, 6.0) * (self.hues / 6)
        if self.values == 1:
            found = self._read(row, saturation)
        else:
            level = (encode(value, "srgb") if self.srgb else value).clamp(0, 1) * (self.values - 1)
            below = level.detach().floor().clamp(max=self.values - 2)
            row = row + below * (self.hues + 1)
            found = torch.lerp(
                self._read(row, saturation), self._read(row + (self.hues + 1), saturation), level - below
            )
        shift, saturation_scale, value_scale = found.split(1, 1)
        return shift, saturation_scale, value_scale

    def _read(self, row: Tensor, saturation: Tensor) -> Tensor:
        """B 3 H W: the image at fractional rows and at saturations 0 to 1, bilinear."""
        # grid_sample's coordinates run from -1 to 1 over the first to the last entry
        grid = torch.cat([saturation * 2 - 1, row * (2 / (self.image.shape[2] - 1)) - 1], 1).permute(0, 2, 3, 1)
        image = self.image.expand(len(row), *self.image.shape[1:])
        return grid_sample(image, grid, padding_mode="border", align_corners=True)

    def scale_value(self, value: Tensor, scale: Tensor) -> Tensor:
        coded = encode(value, "srgb") if self.srgb else value
        coded = torch.minimum(coded * scale, coded.clamp(min=1))
        return decode(coded, "srgb") if self.srgb else coded

    def unscale_value(self, value: Tensor, scale: Tensor) -> Tensor:
        coded = encode(value, "srgb") if self.srgb else value
        coded = coded / torch.where(coded > 1, scale.clamp(max=1), scale)
        return decode(coded, "srgb") if self.srgb else coded


def _to_hsv(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue (0 red, 2 green, 4 blue; -1 to 5), chroma (largest - smallest) and value (largest), each B 1 H W."""
    red, green, blue = x.split(1, 1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    span = torch.where(chroma == 0, 1.0, chroma)  # grey has hue 0
    from_red, from_green, from_blue = (green - blue) / span, (blue - red) / span + 2.0, (red - green) / span + 4.0
    hue = torch.where(value == red, from_red, torch.where(value == green, from_green, from_blue))
    return hue, chroma, value


def _to_rgb(hue: Tensor, chroma: Tensor, value: Tensor) -> Tensor:
    """B 3 H W from hue (any multiple of 6 added), chroma and value."""
    hue = torch.remainder(hue, 6.0)
    away = torch.cat([3.0 - (hue - 3.0).abs(), (hue - 2.0).abs(), (hue - 4.0).abs()], 1)  # from each channel's own hue
    return value - chroma * (away - 1.0).clamp(0.0, 1.0)  # value within 1 of it, value - chroma beyond 2
