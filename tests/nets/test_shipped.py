"""The models that ship: whole, small, and better than what they stand in for, on frames they never saw."""

import colorsys
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import avg_pool2d

import isp
from isp.datasets.sources import DeadLeaves, read_picture
from isp.locate import model_folders
from isp.nets.inference import develop_mosaic
from isp.nets.load import WEIGHTS, load_model, read_header
from isp.pipeline import run, sensor_stages
from isp.stages.demosaic import mosaic
from isp.stages.encode import decode, encode
from isp.train.data import is_held_out
from tools.evaluate import REFERENCE, Cell, Developer, Frame, develop_all, developer, model_as_developer, simulate
from tools.evaluate_demosaic import pictures
from tools.models import card

ROOT = Path(__file__).parents[2]
LEVELS = REFERENCE.split(",")
# dB over the default demosaic at each level, somewhat under what these pictures give; on crops of Kodak without noise
# some are below it
LEAST_GAIN = {
    "flat": {
        "kodak": (0.1, 3.1, 5.9, 9.4),
        "dead leaves": (1.3, 2.3, 3.9, 5.5),
        "photographs": (0.6, 10.0, 10.9, 12.1),
        "line art": (1.2, 1.3, 1.3, 1.3),
        "saturated": (0.9, 2.2, 2.8, 3.1),
    },
    "pyramid": {
        "kodak": (-0.2, 2.6, 5.4, 8.9),
        "dead leaves": (1.0, 2.0, 3.6, 5.4),
        "photographs": (0.4, 10.1, 11.2, 12.7),
        "line art": (1.1, 1.1, 1.2, 1.3),
        "saturated": (0.8, 1.6, 2.3, 2.8),
    },
    "b2fnet": {
        "kodak": (-0.1, 2.8, 5.6, 9.2),
        "dead leaves": (0.3, 1.6, 3.2, 5.5),
        "photographs": (0.5, 10.1, 11.2, 12.6),
        "line art": (0.7, 0.8, 0.9, 1.0),
        "saturated": (0.4, 1.3, 2.0, 2.8),
    },
    "pyramid-large": {
        "kodak": (-0.1, 3.0, 5.7, 9.2),
        "dead leaves": (1.3, 2.1, 3.6, 5.6),
        "photographs": (0.6, 10.2, 11.4, 13.0),
        "line art": (1.2, 1.3, 1.3, 1.4),
        "saturated": (1.1, 2.1, 2.6, 2.9),
    },
    "tiny": {
        "kodak": (-0.4, 2.4, 5.0, 8.3),
        "dead leaves": (0.3, 1.3, 2.6, 4.3),
        "photographs": (0.4, 9.7, 10.8, 11.8),
        "line art": (0.4, 0.5, 0.6, 0.8),
        "saturated": (0.2, 0.9, 1.2, 1.1),
    },
    "pyramid-gan": {
        "kodak": (-0.5, 2.7, 5.5, 8.9),
        "dead leaves": (0.9, 1.8, 3.3, 5.4),
        "photographs": (0.2, 9.2, 10.9, 12.2),
        "line art": (0.6, 0.8, 1.0, 1.2),
        "saturated": (1.1, 2.1, 2.7, 3.0),
    },
}
CELLS = [
    ("kodak", "nikon-d850", "RGGB"),
    ("kodak", "canon-eos-5d-mark-iv", "GBRG"),
    ("dead leaves", "sony-ilce-7", "BGGR"),
    ("photographs", "fujifilm-x-a5", "GRBG"),
    ("line art", "nikon-d850", "BGGR"),
    ("saturated", "canon-eos-5d-mark-iv", "RGGB"),
]


@pytest.mark.parametrize("name", LEAST_GAIN)
def test_it_is_whole_and_small(name):
    folder = model_folders()[name]
    header = read_header(folder / WEIGHTS)
    assert {"noise", "target", "version"} <= set(header)
    assert (folder / WEIGHTS).stat().st_size < 4e6
    card = (folder / "card.md").read_text()
    for said in ("trained on:", "quality:", "speed:", "Licence", "python -m tools.evaluate", "Limits"):
        assert said in card


def test_every_system_has_a_card_that_says_whether_it_is_trained():
    folders = [folder for folder in (ROOT / "models").iterdir() if folder.is_dir()]
    assert {folder.name for folder in folders} > set(LEAST_GAIN)
    for folder in folders:
        trained = (folder / WEIGHTS).is_file()
        assert trained == (folder.name in LEAST_GAIN)
        assert ("Not trained here" in (folder / "card.md").read_text()) != trained


def line_art(seed: int) -> Tensor:
    """1 3 320 320: dark lines of every slope and width, hatching and small letters on paper, as anti-aliased by a mean
    of 4 x 4."""
    rng = np.random.default_rng(seed)
    side = 4 * 320
    page = Image.new("RGB", (side, side), (246, 243, 232))
    draw = ImageDraw.Draw(page)
    for _ in range(60):
        ends = [tuple(map(int, rng.integers(0, side, 2))) for _ in range(2)]
        draw.line(ends, fill=tuple(map(int, rng.integers(0, 90, 3))), width=int(rng.integers(3, 14)))
    for left in range(0, side // 2, 11):
        draw.line([(left, side // 2), (left + side // 4, side)], fill=(20, 20, 30), width=4)
    for row in range(6):
        draw.text((side // 2, side // 2 + 90 * row), "Joint denoising", fill=(10, 10, 10), font_size=40 + 8 * row)
    return _shrunk(np.asarray(page))


def saturated(seed: int) -> Tensor:
    """1 3 320 320: discs of fully saturated colours and their darker shades, one over the other."""
    rng = np.random.default_rng(seed)
    side = 4 * 320
    page = Image.new("RGB", (side, side), (128, 0, 128))
    draw = ImageDraw.Draw(page)
    for _ in range(150):
        colour = colorsys.hsv_to_rgb(rng.random(), 1.0, rng.uniform(0.3, 1))
        x, y, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(20, 200)
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=tuple(round(255 * value) for value in colour))
    return _shrunk(np.asarray(page))


def _shrunk(page: np.ndarray) -> Tensor:
    """Means of 4 x 4 in linear light, encoded again: uint8 4H 4W 3 to 1 3 H W."""
    linear = decode(torch.from_numpy(page / 255.0).float().permute(2, 0, 1)[None], "srgb")
    return encode(avg_pool2d(linear, 4), "srgb")


@cache
def truths_of(kind: str, shared: Path) -> list[Tensor]:
    """Pictures of a kind that no network here was trained on, each 1 3 H W, sRGB."""
    if kind == "dead leaves":
        return [DeadLeaves(320, seed=9)[i].rgb[None] for i in range(3)]
    if kind in ("line art", "saturated"):
        return [(line_art if kind == "line art" else saturated)(seed) for seed in range(2)]
    if kind == "kodak":
        whole = list(pictures(shared / "data" / "kodak"))[2::7]
        return [picture[..., 128:384, 224:544] for picture in whole]
    held = sorted(path for path in (shared / "data" / "photos").glob("*.jpg") if is_held_out(path.name, 0.05))
    return [read_picture(path)[None, :, 132:388, 264:520] for path in held[::3]]


@cache
def frames_of(kind: str, cell: Cell, shared: Path) -> list[tuple[Tensor, Frame, float]]:
    """The pictures of a kind, the frames of a camera that saw them, and the PSNR of the default demosaic there: the
    same for every model."""
    made = []
    for seed, truth in enumerate(truths_of(kind, shared)):
        frame = Frame(simulate(truth, cell, seed), Path())
        made.append((truth, frame, psnr_of(developer("msg"), frame, truth)))
    return made


def psnr_of(one: Developer, frame: Frame, truth: Tensor) -> float:
    with torch.inference_mode():
        return develop_all(frame, truth, [one], ["psnr"]).figures[one.name]["psnr"]


@pytest.mark.parametrize(("kind", "camera", "phase"), CELLS)
@pytest.mark.parametrize("name", LEAST_GAIN)
def test_it_beats_the_default_demosaic(name, kind, camera, phase, request):
    """On pictures, cameras and phases apart, at every noise level of the reference table."""
    generated = kind in ("dead leaves", "line art", "saturated")
    shared = Path() if generated else request.getfixturevalue("shared")
    ours = model_as_developer(name, load_model(name))
    for level, least in zip(LEVELS, LEAST_GAIN[name][kind], strict=True):
        frames = frames_of(kind, Cell(camera, phase, level), shared)
        gain = np.mean([psnr_of(ours, frame, truth) - default for truth, frame, default in frames])
        print(f"{name}, {kind}, {camera}, {phase}, {level}: {gain:+.2f} dB over msg")
        assert gain > least, level


@pytest.mark.parametrize("name", LEAST_GAIN)
def test_a_real_frame_against_the_mean_of_sixty_four(name, shared):
    """A static scene on a sensor that no noise profile of the training knows (IMX296): in linear raw terms, the error
    against the mean falls by far more than the 4 dB that a mean of neighbours would give."""
    burst = shared / "data" / "burst"
    raw = isp.read(next(burst.glob("static_image_0_*.dng")))
    black, white = float(raw.meta.black_level.mean()), float(np.mean(raw.meta.white_level))
    shot, read = 0.0901 / (white - black), 0.260 / (white - black) ** 2  # docs/noise.md
    top, left, bottom, right = raw.meta.area
    mean = torch.from_numpy(np.load(burst / "static_mean64.npy"))[None, None, top:bottom, left:right]
    part = (..., slice(300, 812), slice(400, 1040))  # even offsets: the phase stays
    truth = ((mean - black) / (white - black))[part]
    noisy = run(sensor_stages(raw.meta), raw.tensor())[part]
    gains = torch.tensor([1.8, 1.0, 1.6])[torch.from_numpy(raw.meta.cfa.channel_map(*noisy.shape[-2:]))]
    sigma = (shot * noisy.clamp(min=0) + read).sqrt()
    restored = (
        mosaic(develop_mosaic(load_model(name), noisy * gains, sigma * gains, raw.meta.cfa), raw.meta.cfa) / gains
    )
    before, after = (float((x - truth).square().mean()) for x in (noisy, restored))
    gain = 10 * math.log10(before / after)
    print(f"{name}: {gain:.1f} dB nearer to the mean than the frame itself")
    assert gain > (9 if name == "pyramid-gan" else 10), "stage 2 keeps grain"
    assert abs(float((restored - truth).mean())) < 3e-4


def test_what_cards_say_at_their_top_can_be_read():
    for name, folder in model_folders().items():
        assert {"trained on", "quality", "speed"} <= set(card(folder)), name
