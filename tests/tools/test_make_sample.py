"""The sample DNG: what the tool makes of the still life, and the file that is shipped."""

from __future__ import annotations

from pathlib import Path

import colour
import numpy as np
import pytest

import isp
from isp.raw.metadata import RawMetadata
from tools import make_sample
from tools.still_life import render_scene

SHIPPED = Path(__file__).parents[2] / "data" / "samples" / "still_life.dng"
NEUTRAL = isp.RenderOptions(look="neutral", linear=True)


def rendered(raw: isp.RawImage) -> np.ndarray:
    """The neutral render, scene-linear sRGB cut to 0..1: H W 3."""
    return isp.render(raw, NEUTRAL)[0].permute(1, 2, 0).clamp(0, 1).numpy().astype(np.float64)


def lab(linear: np.ndarray) -> np.ndarray:
    return colour.XYZ_to_Lab(colour.RGB_to_XYZ(linear, "sRGB", apply_cctf_decoding=False), colour.CCS_ILLUMINANTS[
        "CIE 1931 2 Degree Standard Observer"]["D65"])  # fmt: skip


def blocks(picture: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over blocks: h w 3 each."""
    height, width = (n // size for n in picture.shape[:2])
    parts = picture[: height * size, : width * size].reshape(height, size, width, size, 3)
    return parts.mean((1, 3)), parts.std((1, 3))


def test_photograph_of_a_known_scene_renders_back_to_it() -> None:
    """Flat fields of known colours through camera, noise and 14 bits, and back: the colours return."""
    meta = make_sample.describe(128, 192)
    patches = np.array([[0.18, 0.18, 0.18], [0.5, 0.1, 0.05], [0.05, 0.2, 0.5], [0.7, 0.65, 0.1]])
    top, left, bottom, right = meta.area
    scene = np.repeat(np.repeat(patches.reshape(2, 2, 3), (bottom - top) // 2, 0), (right - left) // 2, 1)
    picture = rendered(make_sample.photograph(scene, meta))
    quarters = [picture[y : y + 32, x : x + 60] for y in (16, 80) for x in (16, 112)]
    for quarter, patch in zip(quarters, patches, strict=True):
        assert quarter.mean((0, 1)) == pytest.approx(patch, abs=0.003)


def test_noise_is_the_stated_one() -> None:
    """The variance of a grey field follows the NoiseProfile, before the lens shading is undone."""
    meta = make_sample.describe(256, 384)
    top, left, bottom, right = meta.area
    raw = make_sample.photograph(np.full((bottom - top, right - left, 3), 0.3), meta)
    clean = make_sample.photograph(np.full((bottom - top, right - left, 3), 0.3), meta, seed=9).mosaic
    assert meta.noise_profile is not None
    shot, read = meta.noise_profile[0]
    scale = make_sample.WHITE - make_sample.BLACK
    area = np.s_[top:bottom, left:right]
    signal = ((raw.mosaic[area].astype(float) + clean[area]) / 2 - make_sample.BLACK) / scale
    difference = (raw.mosaic[area].astype(float) - clean[area]) / scale  # of two exposures: twice the variance
    assert difference.var() / 2 == pytest.approx((shot * signal + read).mean() + 1 / (12 * scale**2), rel=0.02)
    border = raw.mosaic[:top].astype(float)
    assert border.mean() == pytest.approx(make_sample.BLACK, abs=0.1)
    assert border.std() == pytest.approx(read**0.5 * scale, rel=0.05)


def test_small_sample_renders_to_its_truth(tmp_path: Path) -> None:
    """The whole way, by the command: scene, camera, file, reader, render."""
    dng, npy = tmp_path / "small.dng", tmp_path / "small.npy"
    make_sample.main(["-o", str(dng), "--truth", str(npy), "--height", "96", "--samples", "1", "--workers", "1"])
    truth = np.clip(np.load(npy), 0, 1).astype(np.float64)
    picture = rendered(isp.read(dng))
    assert picture.shape == truth.shape == (96, 144, 3)
    error = np.mean((picture - truth) ** 2)
    assert -10 * np.log10(error) > 24  # every pixel is an edge at this size
    mean, _ = blocks(picture, 8)
    wanted, spread = blocks(truth, 8)
    flat = spread.max(-1) < 0.03
    assert flat.sum() > 20
    assert colour.delta_E(lab(mean), lab(wanted), method="CIE 2000")[flat].mean() < 1.0


def test_existing_file_is_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(b"x")
    with pytest.raises(SystemExit):
        make_sample.main(["-o", str(path)])
    assert path.read_bytes() == b"x"


def test_shipped_file_is_what_the_tool_describes() -> None:
    raw = isp.read(SHIPPED)
    assert SHIPPED.stat().st_size < 4_000_000
    assert isinstance(raw.meta, RawMetadata)
    assert raw.meta == make_sample.describe(1184, 1776)
    assert raw.meta.crop == (8, 8, 1192, 1784)
    assert (raw.mosaic == make_sample.WHITE).mean() > 1e-5, "a highlight clips"


@pytest.mark.slow
def test_shipped_file_shows_the_scene() -> None:
    """The neutral render, in blocks of 8 x 8 pixels, beside the scene rendered at an eighth of the size."""
    size, margin = 8, make_sample.MARGIN // 8
    truth = make_sample.SCENE_SCALE * render_scene(1200 // size, 1792 // size, samples=2)
    truth = np.clip(truth[margin:-margin, margin:-margin], 0, 1).astype(np.float64)
    mean, spread = blocks(rendered(isp.read(SHIPPED)), size)
    assert mean.shape == truth.shape
    flat = spread.max(-1) < 0.05
    away = colour.delta_E(lab(mean), lab(truth), method="CIE 2000")
    assert flat.mean() > 0.5
    assert np.median(away[flat]) < 0.7
    assert away[flat].mean() < 1.2
