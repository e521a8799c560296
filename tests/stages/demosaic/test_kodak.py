"""Quality on the Kodak pictures, with the protocol of the papers and from end to end."""

import numpy as np
import pytest
import torch

from tools.evaluate import REFERENCE, Cell, Frame, develop_all, developer, simulate
from tools.evaluate_demosaic import as_is, pictures, published_protocol

# CPSNR in dB at sigma 0, measured elsewhere with other implementations (colour-demosaicing) on the same crops
PUBLISHED = {"bilinear": 29.81, "malvar2004": 35.32, "menon2007": 38.85}
# our own figures, so that a change shows
OWN = {"rcd": 36.6, "dlmmse": 39.8, "msg": 40.3}
LEVELS = REFERENCE.split(",")


@pytest.fixture(scope="module")
def kodak(shared):
    return list(pictures(shared / "data" / "kodak"))


@pytest.mark.parametrize(("name", "expected"), [*PUBLISHED.items(), *OWN.items()])
def test_cpsnr(kodak, name, expected):
    with torch.inference_mode():
        measured = np.mean([published_protocol(picture, as_is(name)) for picture in kodak])
    assert measured == pytest.approx(expected, abs=0.1 if name in PUBLISHED else 0.2)


def mean_psnr(images, level, names, folder):
    """Of each developer, over (seed, picture), through a simulated camera."""
    measured = {name: [] for name in names}
    with torch.inference_mode():
        for seed, picture in images:
            frame = Frame(simulate(picture, Cell("nikon-d850", "RGGB", level), seed), folder)
            figures = develop_all(frame, picture, [developer(name) for name in names], ["psnr"]).figures
            for name in names:
                measured[name].append(figures[name]["psnr"])
    return {name: np.mean(values) for name, values in measured.items()}


def test_end_to_end(kodak, tmp_path):
    """Camera, mosaic and back to 8-bit sRGB: above 40 dB, and far above LibRaw's best on the same files."""
    measured = mean_psnr(list(enumerate(kodak))[::2], LEVELS[0], ["auto", "libraw-DHT"], tmp_path)
    assert measured["auto"] > 40
    assert measured["auto"] > measured["libraw-DHT"] + 5


@pytest.mark.parametrize("level", LEVELS)
def test_the_curve_costs_nothing_in_noise(kodak, level, tmp_path):
    """The default under its curve is at least as good as on linear light, at every noise level."""
    measured = mean_psnr(list(enumerate(kodak))[::6], level, ["msg", "msg-linear"], tmp_path)
    assert measured["msg"] >= measured["msg-linear"]
