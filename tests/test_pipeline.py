"""The whole list of stages: its inverse, its gradients, tiles against the whole, and what a picture must hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isp.options import RenderOptions
from isp.parameters import resolve
from isp.pipeline import camera_stages, develop, display_stages, run, sensor_stages, unprocess
from isp.raw.cfa import CANONICAL, CFA
from isp.raw.metadata import RawMetadata
from isp.raw.opcodes import GainMap
from isp.stages.demosaic import mosaic

# ColorMatrix1/2 and ForwardMatrix1/2 of the public-domain profile of the Canon EOS 250D, illuminants A and D65.
COLOUR = {
    "calibration_illuminant1": 17,
    "calibration_illuminant2": 21,
    "color_matrix1": [[1.2555, -0.3915, 0.1094], [-0.5297, 1.5042, 0.4829], [-0.0607, 0.1805, 0.7942]],
    "color_matrix2": [[0.6797, -0.0419, -0.0807], [-0.4694, 1.1883, 0.3081], [-0.1217, 0.2478, 0.5641]],
    "forward_matrix1": [[0.6907, 0.1411, 0.1325], [0.2871, 0.6748, 0.0381], [0.0005, 0.1101, 0.7145]],
    "forward_matrix2": [[0.6292, 0.1351, 0.1999], [0.3155, 0.6232, 0.0612], [0.0002, 0.0235, 0.8014]],
    "as_shot_neutral": [0.55, 1.0, 0.68],
    "baseline_exposure": 0.25,
}
BAYER = ["RGGB", "GRBG", "GBRG", "BGGR"]
KINDS = [*BAYER, "quad-bayer", "x-trans", "monochrome", "linear"]


def make_meta(kind: str, height: int = 60, width: int = 72, **more: object) -> RawMetadata:
    """A camera of this kind with masked borders, four blacks, a crop at an odd place and a quarter turn."""
    cfa = None
    if kind in BAYER:
        cfa = CFA(kind)
    elif kind in CANONICAL:
        cfa = CFA(*CANONICAL[kind])
    samples = 3 if kind == "linear" else 1
    black = np.full((2, 2, samples), 60.0)
    black[0, 1] += 3.5
    values: dict[str, object] = {
        "active_area": (3, 5, height, width - 2),
        "default_crop_origin": (3, 2),
        "default_crop_size": (width - 14, height - 8),
        "orientation": 6,
        "black_level": black,
        "white_level": [4095.0] * samples,
        **COLOUR,
        **more,
    }
    return RawMetadata(height=height, width=width, cfa=cfa, samples=samples, **values)  # type: ignore[arg-type]


def counts(meta: RawMetadata, low: float = 0.05, high: float = 0.4) -> torch.Tensor:
    """A scene of muted colours, its green between `low` and `high` of full scale, in DN: nothing clips on its way."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0 : meta.height, 0 : meta.width]
    waves = [0.25 * (np.sin(x / rng.uniform(4, 9)) + np.cos(y / rng.uniform(4, 9))) for _ in range(4)]
    neutral = np.array(COLOUR["as_shot_neutral"]) if meta.kind != "monochrome" else np.ones(3)
    rgb = [neutral[c] * (low + (high - low) * (0.5 + waves[3])) * (1 + 0.2 * waves[c]) for c in range(3)]
    planes = np.stack(rgb)
    if meta.samples == 1:
        top, left = meta.area[:2]
        sites = meta.cfa.shifted(-top, -left).channel_map(meta.height, meta.width) if meta.cfa else np.ones_like(y)
        planes = np.take_along_axis(planes, sites[None], axis=0)
    return torch.tensor(64 + planes[None] * (4095 - 64))


@pytest.mark.parametrize("look", ["neutral", "standard"])
@pytest.mark.parametrize("kind", KINDS)
def test_unprocess_is_the_inverse(kind: str, look: str) -> None:
    """unprocess(render(x)) = x inside the default crop, to 1e-5 of full scale in float32, every kind and both looks."""
    meta = make_meta(kind)
    # "none": treated highlights have no inverse
    options = RenderOptions(look=look, highlights="none")
    for dtype in (torch.float64, torch.float32):
        x = counts(meta).to(dtype)
        picture, _ = develop(x, meta, options)
        back = unprocess(picture, meta, options)
        assert back.shape == x.shape
        top, left, bottom, right = meta.crop
        down, right_of = meta.area[:2]
        inside = (..., slice(down + top, down + bottom), slice(right_of + left, right_of + right))
        assert (back - x)[inside].abs().max() / 4095 < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_has_its_inverse(kind: str) -> None:
    """Stage by stage: inverse(forward(x)) = x to 1e-5, where the stage keeps every pixel (crops and demosaicking keep
    theirs, and what they leave out is not compared)."""
    meta = make_meta(kind, active_area=None, default_crop_origin=(0, 0), default_crop_size=None)
    options = RenderOptions(highlights="none")
    x = counts(meta)
    p = resolve(meta, options)
    for stage in [*sensor_stages(meta), *camera_stages(meta, p), *display_stages(meta, p)]:
        y = stage.forward(x)
        scale = 4095 if stage.name in ("opcodes1", "linearise", "active-area", "normalise") else 1
        assert (stage.inverse(y) - x).abs().max() / scale < 1e-5, stage.name
        x = y


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_both_ways(kind: str) -> None:
    meta = make_meta(kind, 36, 42)
    x = counts(meta).requires_grad_()
    picture, _ = develop(x, meta)
    picture.square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    top, left, bottom, right = meta.area
    reached = (x.grad[..., top + 8 : bottom - 12, left + 8 : right - 16] != 0).double().mean()
    assert reached > 0.99
    rgb = picture.detach().requires_grad_()
    unprocess(rgb, meta).square().sum().backward()
    assert rgb.grad is not None
    assert torch.isfinite(rgb.grad).all()


@pytest.mark.parametrize("kind", ["RGGB", "GBRG", "quad-bayer", "x-trans"])
def test_tiles_equal_the_whole(kind: str) -> None:
    """Watched stages run on the whole frame, unwatched ones in tiles: the same picture."""
    meta = make_meta(kind, 700, 655)
    x = counts(meta, 0.0, 1.0).float()
    whole, _ = develop(x, meta, watch=lambda name, value: None)
    parts, _ = develop(x, meta)
    assert (whole - parts).abs().max() < 1e-5


def test_batches_are_single_frames_side_by_side() -> None:
    meta = make_meta("GRBG")
    one, two = counts(meta), counts(meta, 0.1, 0.9)
    together, _ = develop(torch.cat([one, two]), meta)
    for index, frame in enumerate((one, two)):
        assert torch.allclose(together[index], develop(frame, meta)[0][0], atol=1e-12)


def test_a_neutral_comes_out_grey_and_exposed() -> None:
    """A flat field of AsShotNeutral: R = G = B, at the level that BaselineExposure and sRGB's formula give."""
    meta = make_meta("RGGB", orientation=1)
    neutral, level = np.array(COLOUR["as_shot_neutral"]), 0.2
    flat = np.array([neutral[c] for c in meta.cfa.channels.ravel()]).reshape(2, 2) * level  # type: ignore[union-attr]
    top, left, bottom, right = meta.area
    black = np.tile(meta.black_level[..., 0], (31, 36))[: bottom - top, : right - left]
    mosaic = np.zeros((60, 72))
    mosaic[top:bottom, left:right] = np.tile(flat, (31, 36))[: bottom - top, : right - left] * (4095 - 63.5) + black
    picture, _ = develop(torch.tensor(mosaic)[None, None], meta, RenderOptions(look="neutral"))
    expected = 1.055 * (level * 2**0.25) ** (1 / 2.4) - 0.055
    assert (picture - expected).abs().max() < 2e-4  # the forward matrices' white is D50 to four decimals


def test_crop_and_orientation() -> None:
    """The default crop's size, turned: orientation 6 shows the stored left edge at the top."""
    meta = make_meta("monochrome")
    x = torch.zeros(1, 1, 60, 72, dtype=torch.float64) + 64
    x[..., 5 + 2 + 3 : 5 + 2 + 3 + 1, :] = 2000
    picture, _ = develop(x, meta, RenderOptions(look="neutral"))
    assert picture.shape[-2:] == (58, 52)
    turned, _ = develop(x, replace(meta, orientation=1), RenderOptions(look="neutral"))
    assert torch.equal(picture, torch.rot90(turned, -1, (2, 3)))


def test_linear_output_is_scene_linear() -> None:
    """Twice the light is twice the value, beyond 1 too."""
    meta = make_meta("RGGB", black_level=np.zeros((1, 1, 1)))
    x = counts(meta) - 64
    one, _ = develop(x, meta, RenderOptions(linear=True, demosaic="bilinear"))
    brighter, _ = develop(x, meta, RenderOptions(linear=True, demosaic="bilinear", exposure=3))
    assert brighter.max() > 1.5
    assert torch.allclose(brighter, one * 8, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["GRBG", "x-trans", "linear"])
def test_lens_shading_moves_the_saturation_with_it(kind: str) -> None:
    """A grey at 0.8 of full scale that a gain map doubles is no highlight; a clipped one beside it stays neutral."""
    planes = 3 if kind == "linear" else 1
    doubling = GainMap(top=0, left=0, bottom=60, right=72, plane=0, planes=planes, row_pitch=1, col_pitch=1,
                       map_spacing_v=1.0, map_spacing_h=1.0, map_origin_v=0.0, map_origin_h=0.0,
                       map_gains=np.full((1, 1, 1), 2.0))  # fmt: skip
    whole = {
        "active_area": None,
        "default_crop_origin": (0, 0),
        "default_crop_size": None,
        "baseline_exposure": 0.0,
        "orientation": 1,
    }
    meta = make_meta(kind, black_level=np.zeros((1, 1, planes)), opcode_list2=(doubling,), **whole)
    neutral = torch.tensor(COLOUR["as_shot_neutral"], dtype=torch.float64)
    flat = neutral.view(1, 3, 1, 1).expand(1, 3, 60, 72) * 0.8 * 4095
    scene = flat.clone()
    scene[..., 36:] *= 4  # every channel ends at white
    both = [x.clamp(max=4095) if meta.samples == 3 else mosaic(x.clamp(max=4095), meta.cfa) for x in (flat, scene)]
    kept, clipped = (develop(x, meta, RenderOptions(linear=True, highlights="reconstruct"))[0] for x in both)
    assert torch.allclose(kept, torch.full_like(kept, 1.6), atol=1e-3)
    assert (clipped[..., 50:].amax(1) - clipped[..., 50:].amin(1)).max() < 0.02
    assert clipped[..., 50:].min() > 2


def test_run_keeps_the_callers_tensor() -> None:
    meta = make_meta("RGGB")
    x = counts(meta)
    before = x.clone()
    develop(x, meta)
    assert torch.equal(x, before)
    assert run([], x) is x
