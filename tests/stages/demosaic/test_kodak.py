"""Quality on the Kodak pictures, with the protocol of the papers and from end to end."""

import numpy as np
import pytest
import torch

from isp.stages.demosaic import default_method
from tools.evaluate_demosaic import (
    NOISE,
    as_is,
    end_to_end,
    pictures,
    psnr_through_file,
    published_protocol,
    under_curve,
    write_frame,
)

# CPSNR in dB at sigma 0, measured elsewhere with other implementations (colour-demosaicing) on the same crops
PUBLISHED = {"bilinear": 29.81, "malvar2004": 35.32, "menon2007": 38.85}
# our own figures, so that a change shows
OWN = {"rcd": 36.6, "dlmmse": 39.8, "msg": 40.3}


@pytest.fixture(scope="module")
def kodak(shared):
    return list(pictures(shared / "data" / "kodak"))


@pytest.mark.parametrize(("name", "expected"), [*PUBLISHED.items(), *OWN.items()])
def test_cpsnr(kodak, name, expected):
    with torch.inference_mode():
        measured = np.mean([published_protocol(picture, as_is(name)) for picture in kodak])
    assert measured == pytest.approx(expected, abs=0.1 if name in PUBLISHED else 0.2)


def test_end_to_end(kodak):
    """Camera, mosaic and back to 8-bit sRGB: LibRaw's best is about 35 dB."""
    with torch.inference_mode():
        measured = np.mean([end_to_end(picture, under_curve(default_method("bayer"))) for picture in kodak])
    assert measured > 40


@pytest.mark.parametrize("noise", NOISE)
def test_the_curve_costs_nothing_in_noise(kodak, noise):
    """The default under its curve is at least as good as on linear light, at every noise level."""
    name = default_method("bayer")
    with torch.inference_mode():
        curved, linear = (
            np.mean([end_to_end(picture, method(name), noise) for picture in kodak[::6]])
            for method in (under_curve, as_is)
        )
    assert curved >= linear


def test_through_a_dng_file(kodak, tmp_path):
    """Picture, simulated DNG, neutral render, 8-bit sRGB: above 38.5 dB, and far above LibRaw on the same files."""
    ours, libraw = [], []
    for picture in kodak[::4]:
        write_frame(picture, tmp_path / "frame.dng")
        ours.append(psnr_through_file(tmp_path / "frame.dng", picture, "auto"))
        libraw.append(psnr_through_file(tmp_path / "frame.dng", picture, "LibRaw DHT"))
    assert np.mean(ours) > 38.5
    assert np.mean(ours) > np.mean(libraw) + 5
