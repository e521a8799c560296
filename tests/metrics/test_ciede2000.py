"""CIEDE2000 against the pairs that Sharma published and against colour-science."""

import colour
import numpy as np
import pytest
import torch

from isp.metrics import ciede2000
from isp.metrics.ciede2000 import delta_e_2000, lab

# Sharma, Wu, Dalal 2005, table 1: L a b, L a b, CIEDE2000
SHARMA = np.array(
    [
        [50, 2.6772, -79.7751, 50, 0, -82.7485, 2.0425],
        [50, 3.1571, -77.2803, 50, 0, -82.7485, 2.8615],
        [50, 2.8361, -74.0200, 50, 0, -82.7485, 3.4412],
        [50, -1.3802, -84.2814, 50, 0, -82.7485, 1.0000],
        [50, -1.1848, -84.8006, 50, 0, -82.7485, 1.0000],
        [50, -0.9009, -85.5211, 50, 0, -82.7485, 1.0000],
        [50, 0, 0, 50, -1, 2, 2.3669],
        [50, -1, 2, 50, 0, 0, 2.3669],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0009, 7.1792],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0010, 7.1792],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0011, 7.2195],
        [50, 2.4900, -0.0010, 50, -2.4900, 0.0012, 7.2195],
        [50, -0.0010, 2.4900, 50, 0.0009, -2.4900, 4.8045],
        [50, -0.0010, 2.4900, 50, 0.0010, -2.4900, 4.8045],
        [50, -0.0010, 2.4900, 50, 0.0011, -2.4900, 4.7461],
        [50, 2.5, 0, 50, 0, -2.5, 4.3065],
        [50, 2.5, 0, 73, 25, -18, 27.1492],
        [50, 2.5, 0, 61, -5, 29, 22.8977],
        [50, 2.5, 0, 56, -27, -3, 31.9030],
        [50, 2.5, 0, 58, 24, 15, 19.4535],
        [50, 2.5, 0, 50, 3.1736, 0.5854, 1.0000],
        [50, 2.5, 0, 50, 3.2972, 0, 1.0000],
        [50, 2.5, 0, 50, 1.8634, 0.5757, 1.0000],
        [50, 2.5, 0, 50, 3.2592, 0.3350, 1.0000],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


def test_published_pairs() -> None:
    first, second = (torch.tensor(SHARMA[:, i : i + 3]).view(-1, 3, 1, 1) for i in (0, 3))
    for a, b in ((first, second), (second, first)):
        np.testing.assert_allclose(delta_e_2000(a, b).flatten().numpy(), SHARMA[:, 6], atol=5e-5)


def test_against_colour_science() -> None:
    rng = np.random.default_rng(0)
    colours = rng.uniform((0, -100, -100), (100, 100, 100), (2, 500, 3))
    first, second = (torch.tensor(c.T[None, :, None]) for c in colours)
    expected = colour.delta_E(*colours, method="CIE 2000")
    np.testing.assert_allclose(delta_e_2000(first, second).flatten().numpy(), expected, atol=1e-8)

    pictures = rng.random((2, 2, 3, 10, 12))
    white = colour.CCS_ILLUMINANTS["CIE 1931 2 Degree Standard Observer"]["D65"]
    labs = [colour.XYZ_to_Lab(colour.sRGB_to_XYZ(p.transpose(0, 2, 3, 1)), white) for p in pictures]
    np.testing.assert_allclose(lab(torch.tensor(pictures[0])).permute(0, 2, 3, 1).numpy(), labs[0], atol=0.02)
    expected = colour.delta_E(*labs, method="CIE 2000")[:, 1:-1, 1:-1].mean((1, 2))
    got = ciede2000(torch.tensor(3 * pictures[0]), torch.tensor(3 * pictures[1]), data_range=3, border=1)
    np.testing.assert_allclose(got.numpy(), expected, atol=0.005)  # their matrix has four digits


def test_endpoints() -> None:
    grey = torch.linspace(0, 1, 256).expand(1, 3, 1, 256)
    assert lab(grey)[:, 1:].abs().max() < 1e-9
    assert lab(grey)[0, 0, 0, [0, -1]].tolist() == pytest.approx([0, 100])
    assert ciede2000(grey, grey, data_range=1, border=0).item() == 0
    assert ciede2000(grey + 2, grey * 0 + 1, data_range=1, border=0).item() == 0  # clipped: the display's white
    assert ciede2000(grey * 0, grey * 0 + 1, data_range=1, border=0).item() == pytest.approx(100, abs=1e-6)
