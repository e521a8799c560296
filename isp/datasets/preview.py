"""Pairs to look at, noisy side and clean side next to each other: a contact sheet, or a page."""

from __future__ import annotations

import json
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
        caption = _caption(pair)
        while pen.textlength(caption) > 2 * size + 2:
            caption = caption[:-1]
        pen.text((x, y + size + 1), caption, fill=(220, 220, 220))
    with whole_file(path, overwrite) as part:
        sheet.save(part, format="PNG")


def preview_page(path: str | Path, pairs: Sequence[Pairs], side: int = 384, overwrite: bool = True) -> None:
    """Write an HTML page of the same pictures, with all that was drawn for each pair, and its noise over the levels."""
    from isp.output.page import Html, code, fold, paragraph, picture, skeleton, write_page
    from isp.output.plots import curves

    size = min(side, *(2 * pair.noisy.shape[-1] for pair in pairs)) // 2 * 2
    items: list[Html] = []
    for number, pair in enumerate(pairs):
        both = torch.cat([x[0] for x in shown(pair, size)], 2).permute(1, 2, 0).numpy()  # size, 2 size, 3
        record = json.dumps(pair.records[0], indent=1, default=str)
        caption = f"{number}: {_caption(pair)}".replace("  ", ", ")
        items += [picture(both, caption, kind="jpeg", quality=95), fold("what was drawn", code(record))]
    levels = np.linspace(0, 1, 33)
    noise = {}
    for number, pair in enumerate(pairs):
        shot, read = float(pair.shot.mean()), float(pair.read.mean())
        noise[str(number)] = (levels.tolist(), (100 * np.sqrt(shot * levels + read)).tolist())
    said = "Standard deviation of the noise of each pair over the level of its mosaic, before white balance"
    sections = {
        "Pairs": [
            paragraph("Noisy side left, rendered alike; pixel for pixel where the window is wide enough."),
            *items,
        ],
        "Noise": curves(noise, "linear level, black 0 and white 1", "% of white", said),
    }
    write_page(path, skeleton(f"{len(pairs)} pairs of {pairs[0].records[0]['recipe']}", sections), overwrite)


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
