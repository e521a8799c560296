"""A contact sheet of pairs: noisy side and clean side as pictures, next to each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from isp.datasets.synthesis import PATTERN, Pairs, to_display
from isp.files import whole_file
from isp.stages.demosaic import demosaic

DEMOSAIC = "malvar2004"  # simple, and honest about noise
CAPTION = 14  # pixels under each picture
COLUMNS = 3  # pairs side by side


def contact_sheet(path: str | Path, pairs: Sequence[Pairs], side: int = 384, overwrite: bool = True) -> None:
    """Write a PNG with a window of each pair (B = 1), at most side x side at its middle and pixel for pixel.

    Both sides are rendered alike, to the brightness of the source's picture; under them the ISO, the digital gain and
    the camera.
    """
    from PIL import Image, ImageDraw

    size = min(side, *(2 * pair.noisy.shape[-1] for pair in pairs)) // 2 * 2
    columns = min(COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * (2 * size + 12), rows * (size + CAPTION + 6)), (40, 40, 40))
    pen = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        x, y = number % columns * (2 * size + 12) + 4, number // columns * (size + CAPTION + 6) + 4
        for offset, picture in zip((0, size + 2), shown(pair, size), strict=True):
            pixels = (picture[0].clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).numpy()
            sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)), (x + offset, y))
        pen.text((x, y + size + 1), _caption(pair), fill=(220, 220, 220))
    with whole_file(path, overwrite) as part:
        sheet.save(part, format="PNG")


def shown(pair: Pairs, size: int) -> tuple[Tensor, Tensor]:
    """The middle of the noisy and of the clean side, 1 3 size size each, display-encoded, clipped where the sensor
    saturates first."""
    packed, _, clean = pair.balanced()
    margin = packed.shape[-1] - size // 2
    start = margin // 2
    half = size // 2
    window = F.pixel_shuffle(packed[..., start : start + half, start : start + half], 2)
    target = clean[..., 2 * start : 2 * start + size, 2 * start : 2 * start + size]
    noise = (float(pair.shot.mean()), float(pair.read.mean()))
    both = (demosaic(window, PATTERN, DEMOSAIC, noise), target)
    with torch.no_grad():
        noisy, cleaned = (
            to_display(rgb.clamp(max=1), pair.cam_to_output[0], float(pair.exposure_ev), pair.records[0]["tone"])
            for rgb in both
        )
    return noisy, cleaned


def _caption(pair: Pairs) -> str:
    record = pair.records[0]
    steps = {name: values for step in record["steps"] for name, values in step.items() if values}
    gain = steps["sensor"]["digital_gain"]
    iso = "" if record["iso"] is None else f"ISO {record['iso']:g}  "
    return f"{iso}digital gain {gain:.2g}  {record['noise']}  {record['exposure_ev']:+.1f} EV  {record['source']}"[:120]
