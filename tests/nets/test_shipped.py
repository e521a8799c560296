"""The models that ship: whole, small, and better than what they stand in for, on frames they never saw."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import isp
from isp.datasets.sources import DeadLeaves
from isp.locate import model_folders
from isp.nets.inference import develop_mosaic
from isp.nets.load import WEIGHTS, load_model, read_header
from isp.pipeline import run, sensor_stages
from isp.stages.demosaic import mosaic
from tools.evaluate import REFERENCE, Cell, Frame, develop_all, developer, model_as_developer, simulate
from tools.evaluate_demosaic import pictures

ROOT = Path(__file__).parents[2]
LEVELS = REFERENCE.split(",")
# dB over the default demosaic at each level, somewhat under what these pictures give
LEAST_GAIN = {
    "flat": {"kodak": (-0.5, 2.5, 5.0, 7.5), "dead leaves": (0.2, 1.4, 2.7, 4.3)},
}
CELLS = [
    ("kodak", "nikon-d850", "RGGB"),
    ("kodak", "canon-eos-5d-mark-iv", "GBRG"),
    ("dead leaves", "sony-ilce-7", "BGGR"),
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


@pytest.mark.parametrize(("kind", "camera", "phase"), CELLS)
@pytest.mark.parametrize("name", LEAST_GAIN)
def test_it_beats_the_default_demosaic(name, kind, camera, phase, request, tmp_path):
    """On pictures, cameras and phases apart, at every noise level of the reference table."""
    if kind == "kodak":
        whole = list(pictures(request.getfixturevalue("shared") / "data" / "kodak"))[2::7]
        truths = [picture[..., 64:448, 128:640] for picture in whole]
    else:
        truths = [DeadLeaves(320, seed=9)[i].rgb[None] for i in range(3)]
    ours = [model_as_developer(name, load_model(name)), developer("msg")]
    for level, least in zip(LEVELS, LEAST_GAIN[name][kind], strict=True):
        gains = []
        for seed, truth in enumerate(truths):
            frame = Frame(simulate(truth, Cell(camera, phase, level), seed), tmp_path)
            with torch.inference_mode():
                figures = develop_all(frame, truth, ours, ["psnr"]).figures
            gains.append(figures[name]["psnr"] - figures["msg"]["psnr"])
        print(f"{name}, {kind}, {camera}, {phase}, {level}: {np.mean(gains):+.2f} dB over msg")
        assert np.mean(gains) > least, level


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
    truth = (mean - black) / (white - black)
    noisy = run(sensor_stages(raw.meta), raw.tensor())
    gains = torch.tensor([1.8, 1.0, 1.6])[torch.from_numpy(raw.meta.cfa.channel_map(*noisy.shape[-2:]))]
    sigma = (shot * noisy.clamp(min=0) + read).sqrt()
    restored = (
        mosaic(develop_mosaic(load_model(name), noisy * gains, sigma * gains, raw.meta.cfa), raw.meta.cfa) / gains
    )
    before, after = (float((x - truth).square().mean()) for x in (noisy, restored))
    gain = 10 * math.log10(before / after)
    print(f"{name}: {gain:.1f} dB nearer to the mean than the frame itself")
    assert gain > 10
    assert abs(float((restored - truth).mean())) < 3e-4
