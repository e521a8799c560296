"""What a notebook shows for a raw frame."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isp
from isp.locate import data_path
from isp.output.preview import _upright, raw_html, thumbnail
from isp.raw import CFA, RawImage, RawMetadata

SAMPLE = data_path("samples") / "still_life.dng"


def flat(rgb: tuple[float, float, float], **changes: Any) -> RawImage:
    """A grey card's mosaic: camera RGB on a scale of 100 to 1100 DN."""
    values: dict[str, Any] = {
        "height": 40, "width": 60, "cfa": CFA("GRBG"), "black_level": np.full((1, 1, 1), 100.0),
        "white_level": [1100.0], "as_shot_neutral": [0.5, 1.0, 0.8], **changes,
    }  # fmt: skip
    meta = RawMetadata(**values)
    channels = meta.cfa.channel_map(40, 60) if meta.cfa else np.zeros((40, 60), int)
    return RawImage((100 + 1000 * np.array(rgb)[channels]).astype(np.uint16), meta)


def test_neutral_of_the_file_is_grey() -> None:
    found = thumbnail(flat((0.1, 0.2, 0.16)))
    assert found.shape == (20, 30, 3)
    linear = 0.2
    assert np.abs(found.astype(int) - round(255 * (1.055 * linear ** (1 / 2.4) - 0.055))).max() <= 1


def test_thumbnail_is_the_neutral_render_made_small() -> None:
    raw = isp.read(SAMPLE)
    raw = replace(raw, meta=replace(raw.meta, opcode_list2=()))  # lens shading, which a thumbnail leaves alone
    small = thumbnail(raw, side=200)
    whole = isp.render(raw, isp.RenderOptions(look="neutral")).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    factor = -(-whole.shape[1] // 200 // 2) * 2
    height, width = whole.shape[0] // factor, whole.shape[1] // factor
    parts = whole[: height * factor, : width * factor].reshape(height, factor, width, factor, 3).mean((1, 3))
    off = np.abs(small[:height, :width] / 255 - parts)
    assert float(np.median(off)) < 0.003
    assert float(off.mean()) < 0.008  # edges: means are taken before the encoding here, and after it there


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_the_pipeline(orientation: int) -> None:
    import torch

    from isp.stages.geometry import orient

    x = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    wanted = orient(torch.from_numpy(x.transpose(2, 0, 1).copy())[None], orientation)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(_upright(x, orientation), wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {"cfa": None},
        {"cfa": None, "as_shot_neutral": None},
        {"as_shot_neutral": None},
        {"linearization_table": np.arange(2000.0)},
        {"orientation": 6, "active_area": (3, 5, 37, 58), "default_crop_size": (20.0, 11.0)},
        {"cfa": CFA("GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG", 6, 6)},
    ],
)
def test_every_kind_has_a_thumbnail(changes: dict[str, Any]) -> None:
    found = thumbnail(flat((0.1, 0.2, 0.16), **changes))
    assert found.dtype == np.uint8
    assert found.shape[2] == 3
    assert found.min() > 50


def test_html_says_what_the_file_says_and_escapes_it() -> None:
    raw = flat((0.1, 0.2, 0.16), unique_camera_model="<script>x</script>", iso=200, exposure_time=1 / 250)
    html = raw._repr_html_()
    assert html == raw_html(raw)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    for text in ("ISO", "1/250 s", "bayer, GRBG", "60 x 40 pixels", "100 DN", "1100 DN", "data:image/jpeg;base64,"):
        assert text in html


def test_no_torch_is_imported() -> None:
    code = f"import isp, sys; len(isp.read({str(SAMPLE)!r})._repr_html_()); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.strip() == "False"
