"""Photographs into raw frames and back: the identity, what it can mean through a mosaic, highlights, gradients.

A mosaic keeps one number of three at each pixel, so that no demosaicking gives every pixel of a detailed photograph
back within 1/255. What unprocess promises is tested three ways: on photographs without the mosaic (the same camera,
three samples at each pixel); on photographs at the sites that the mosaic measured; and through the mosaic on
photographs blurred by a Gaussian of 8 pixels, which linear interpolation gives back. (Kodak through the mosaic at full
detail: 4 to 36 % of the pixels within 1/255, by picture and method; blurred by 4 pixels, 94 to 99 %.)
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import interpolate

from isp.cameras import load_camera, random_camera
from isp.options import RenderOptions
from isp.parameters import resolve
from isp.pipeline import develop, unprocess
from isp.raw.cfa import CFA
from isp.raw.metadata import RawMetadata
from isp.stages.demosaic import mosaic
from isp.stages.gamut import compress_gamut
from isp.stages.highlights import NEAR

CAMERAS = (
    "canon-eos-5d-mark-ii", "canon-eos-r5", "fujifilm-x-t4", "nikon-d850", "nikon-z-9", "olympus-e-m1",
    "panasonic-dmc-lx100", "pentax-k-50", "samsung-sm-g930v", "sony-ilce-7m4",
)  # fmt: skip
PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
LOOKS = ("neutral", "standard")
TOLERANCE = 1 / 255


def photograph(shared: Path, name: str, size: int = 256) -> Tensor:
    """1 3 size size, sRGB-encoded: the middle of a Kodak picture."""
    from PIL import Image

    pixels = np.asarray(Image.open(shared / "data" / "kodak" / f"{name}.png"))
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return torch.tensor(pixels[top : top + size, left : left + size].transpose(2, 0, 1)[None] / 255.0).float()


def smooth_picture(height: int = 120, width: int = 152, detail: int = 24) -> Tensor:
    """Every hue and brightness between 0.03 and 0.97 of display range, structures of about `detail` pixels."""
    rng = np.random.default_rng(4)
    grid = torch.tensor(rng.uniform(0.03, 0.97, (1, 3, height // detail + 2, width // detail + 2)))
    return interpolate(grid, size=(height, width), mode="bicubic", align_corners=True).clamp(0.02, 0.98).float()


def unclipped(camera_rgb: Tensor, meta: RawMetadata, options: RenderOptions) -> Tensor:
    """B H W: pixels that the highlight treatment leaves alone and the sensor can hold."""
    gains = torch.tensor(resolve(meta, options).gains, dtype=camera_rgb.dtype).view(1, 3, 1, 1)
    if options.look == "neutral":  # clips at the smallest channel's saturation
        return (camera_rgb <= 1).all(1)
    return (camera_rgb < NEAR * gains).all(1)


def in_gamut(picture: Tensor, meta: RawMetadata, options: RenderOptions) -> Tensor:
    """B H W: colours that the standard look shows as they are. Those near the primaries it compresses, and undoing that
    makes steep what was smooth, which no interpolation follows."""
    if options.look == "neutral":
        return torch.ones_like(picture[:, 0], dtype=torch.bool)
    scene = unprocess(picture, meta, options, to="output-primaries")
    return ((compress_gamut(scene) - scene).abs() < 1e-6).all(1)


def share_within(picture: Tensor, back: Tensor, counted: Tensor) -> float:
    return float(((back - picture).abs().amax(1) < TOLERANCE)[counted].double().mean())


@pytest.mark.parametrize("look", LOOKS)
def test_photographs_come_back_without_the_mosaic(shared: Path, look: str) -> None:
    """Ten cameras, the whole pipeline but for mosaic and demosaic: 99.9 % within 1/255 (measured: all)."""
    options = RenderOptions(look=look)
    for index, name in enumerate(CAMERAS):
        picture = photograph(shared, f"kodim{2 * index + 3:02d}")
        meta = load_camera(name).metadata(256, 256, temperature=2800 + 500 * index, linear=True)
        camera_rgb = unprocess(picture, meta, options, to="white-balance")
        counted = unclipped(camera_rgb, meta, options)
        assert counted.double().mean() > 0.8
        back, _ = develop(unprocess(picture, meta, options), meta, options)
        assert share_within(picture, back, counted) >= 0.999, name


@pytest.mark.parametrize("phase", PHASES)
def test_photographs_come_back_where_they_were_measured(shared: Path, phase: str) -> None:
    """Through counts, mosaic and demosaic: at each site the measured channel of camera RGB, to 1e-5."""
    cfa = CFA(phase)
    for index, name in enumerate(CAMERAS):
        picture = photograph(shared, f"kodim{2 * index + 3:02d}", 128)
        meta = load_camera(name).metadata(128, 128, temperature=2800 + 500 * index, cfa=cfa)
        options = RenderOptions(look="neutral", highlights="none", space="camera")
        target = unprocess(picture, meta, RenderOptions(look="neutral"), to="demosaic")
        back, _ = develop(unprocess(picture, meta, RenderOptions(look="neutral")), meta, options)
        assert (mosaic(back - target, cfa)).abs().max() < 1e-5, name


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("look", LOOKS)
def test_blurred_photographs_come_back_through_the_mosaic(shared: Path, look: str, phase: str) -> None:
    """Ten cameras by four phases, each by one of the looks, borders included: 99.9 % of the pixels in gamut and
    unclipped within 1/255."""
    options = RenderOptions(look=look, demosaic="bilinear")
    for index, name in enumerate(CAMERAS):
        if (index + PHASES.index(phase) + LOOKS.index(look)) % 2:
            continue
        sharp = photograph(shared, f"kodim{2 * index + 3:02d}", 192)
        picture = torch.tensor(gaussian_filter(sharp.numpy(), (0, 0, 8, 8), mode="mirror"))
        meta = load_camera(name).metadata(192, 192, temperature=2800 + 500 * index, cfa=CFA(phase))
        counted = unclipped(unprocess(picture, meta, options, to="demosaic"), meta, options)
        counted &= in_gamut(picture, meta, options)
        assert counted.double().mean() > 0.4
        back, _ = develop(unprocess(picture, meta, options), meta, options)
        assert share_within(picture, back, counted) >= 0.999, name


@pytest.mark.parametrize("size", [(33, 48), (48, 33), (35, 35), (8, 6)])
def test_any_size(size: tuple[int, int]) -> None:
    picture = smooth_picture(*size)
    camera = load_camera("nikon-z-9")
    counts = unprocess(picture, camera, temperature=4000)
    assert counts.shape == (1, 1, *size)
    assert torch.equal(counts, unprocess(picture, camera.metadata(*size, temperature=4000)))
    with pytest.raises(ValueError, match="uncrop"):
        unprocess(picture, camera.metadata(size[0] + 2, size[1]))
    with pytest.raises(ValueError, match="temperature is for a Camera"):
        unprocess(picture, camera.metadata(*size), temperature=4000)


def test_stops_at_a_stage() -> None:
    """The linear mosaic is the counts with black at 0 and white at 1; camera RGB has what the mosaic measures."""
    picture = smooth_picture(24, 24)
    meta = load_camera("canon-eos-rp").metadata(24, 24, temperature=3000)
    counts, linear = unprocess(picture, meta), unprocess(picture, meta, to="normalise")
    assert torch.allclose((counts - 512) / (16383 - 512), linear, atol=1e-6)
    assert meta.as_shot_neutral is not None
    assert meta.cfa is not None
    unbalanced = unprocess(picture, meta, to="demosaic") * torch.tensor(meta.as_shot_neutral).view(1, 3, 1, 1)
    assert torch.allclose(mosaic(unbalanced.float(), meta.cfa), linear, atol=1e-6)
    with pytest.raises(ValueError, match="no stage 'tones' in this pipeline; its stages are linearise, active-area"):
        unprocess(picture, meta, to="tones")


def test_kept_highlights_are_the_papers() -> None:
    """UPI's inverse gains, written out pixel by pixel from section 3.4: white saturates, the rest is divided."""
    camera = random_camera(np.random.default_rng(1), "upi")
    picture = torch.linspace(0.5, 1, 64, dtype=torch.float64).view(1, 1, 8, 8).repeat(1, 3, 1, 1)
    picture[:, 0] *= 0.97
    meta = camera.metadata(8, 8, linear=True)
    options = RenderOptions(look="neutral")
    kept = unprocess(picture, meta, options, keep_highlights=True)
    p = resolve(meta, options)
    balanced = unprocess(picture, meta, options, to="highlights") * 2**p.exposure_ev  # the picture in camera RGB
    for pixel, mine in zip(balanced.reshape(3, -1).T, kept.reshape(3, -1).T, strict=True):
        mask = max(float(pixel.mean()) - 0.9, 0.0) / 0.1
        mask = min(mask, 1.0) ** 2
        for channel in range(3):
            gain = 1 / (p.gains[channel] * 2**p.exposure_ev)
            assert abs(float(pixel[channel]) * max(mask + (1 - mask) * gain, gain) - float(mine[channel])) < 1e-9
    white = unprocess(torch.ones(1, 3, 8, 8), meta, options, keep_highlights=True)
    assert torch.allclose(white, torch.ones(1, 3, 8, 8), atol=1e-4)


def test_kept_highlights_still_render_to_the_picture() -> None:
    """A bright neutral: lifted in the raw, clipped back to white by the render, and mid-tones are untouched."""
    picture = smooth_picture()
    picture[..., 40:70, 50:90] = 1.0
    meta = load_camera("nikon-d850").metadata(120, 152, temperature=3200)
    options = RenderOptions(look="neutral")
    linear = unprocess(picture, meta, options, to="normalise", keep_highlights=True)
    assert linear[..., 42:68, 52:88].min() > 0.9999
    back, _ = develop(unprocess(picture, meta, options, keep_highlights=True), meta, options)
    assert (back - 1)[..., 45:65, 55:85].abs().max() < TOLERANCE
    plain = unprocess(picture, meta, options, to="normalise")
    assert plain[..., 42:68, 52:88].min() < 0.7
    assert (linear >= plain).all()
    with pytest.raises(ValueError, match="keep_highlights needs a render that treats highlights"):
        unprocess(picture, meta, RenderOptions(highlights="none"), keep_highlights=True)


@pytest.mark.parametrize("look", LOOKS)
def test_gradients_flow_both_ways(look: str) -> None:
    """gradcheck of unprocess and of develop over a Bayer camera, in float64; finite and non-zero over a picture."""
    options = RenderOptions(look=look, demosaic="bilinear")
    meta = load_camera("sony-ilce-7m4").metadata(6, 6, temperature=3500)
    rng = np.random.default_rng(0)
    picture = torch.tensor(rng.uniform(0.3, 0.6, (1, 3, 6, 6)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: unprocess(x, meta, options) / 16383, picture, atol=1e-6)
    counts = unprocess(picture, meta, options).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: develop(x, meta, options)[0], counts, eps=1e-2, atol=1e-6)

    meta = load_camera("sony-ilce-7m4").metadata(120, 152, temperature=3500)
    whole = smooth_picture().requires_grad_()
    counts = unprocess(whole, meta, RenderOptions(look=look))
    develop(counts, meta, RenderOptions(look=look))[0].square().mean().backward()
    assert whole.grad is not None
    assert torch.isfinite(whole.grad).all()
    assert (whole.grad != 0).double().mean() > 0.3  # a mosaic site passes one channel's
