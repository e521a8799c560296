"""Bayer methods against implementations that share nothing with ours."""

import functools

import numpy as np
import pytest
import torch

from isp.raw.cfa import CFA
from isp.stages.demosaic import METHODS

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("name", "theirs"), [("bilinear", "bilinear"), ("malvar2004", "Malvar2004"), ("menon2007", "Menon2007")]
)
def test_colour_demosaicing_agrees(name, theirs, phase):
    """Away from the border, which they fill with zeros or mirror out of phase."""
    package = pytest.importorskip("colour_demosaicing")
    x = np.random.default_rng(0).random((50, 54))
    expected = getattr(package, f"demosaicing_CFA_Bayer_{theirs}")(x, phase)
    y = METHODS[name].function(torch.from_numpy(x)[None, None], CFA(phase))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(y[12:-12, 12:-12], expected[12:-12, 12:-12], rtol=0, atol=1e-12)


class RCD:
    """RCD site by site in plain Python, from its description; for positive values."""

    def __init__(self, x: np.ndarray, cfa: CFA) -> None:
        self.x, self.colours = x, cfa.channel_map(*x.shape)
        for name in ("low", "share", "green", "colour", "statistic"):
            setattr(self, name, functools.cache(getattr(self, name)))

    def low(self, i, j):
        return sum(self.x[i + a, j + b] / (4 * 2 ** (abs(a) + abs(b))) for a in (-1, 0, 1) for b in (-1, 0, 1))

    def statistic(self, i, j, a, b):
        taps = {-3: 1, -2: -3, -1: -1, 0: 6, 1: -1, 2: -3, 3: 1}
        squares = [sum(w * self.x[i + (n + k) * a, j + (n + k) * b] for n, w in taps.items()) ** 2 for k in (-1, 0, 1)]
        return max(sum(squares), 1e-10)

    def share(self, i, j, diagonal):
        """Of the vertical change in vertical and horizontal; of the falling diagonal's in both diagonals."""
        one, two = ((1, 1), (1, -1)) if diagonal else ((1, 0), (0, 1))
        return self.statistic(i, j, *one) / (self.statistic(i, j, *one) + self.statistic(i, j, *two))

    def refined(self, i, j, diagonal):
        own = self.share(i, j, diagonal)
        around = np.mean([self.share(i + a, j + b, diagonal) for a in (-1, 1) for b in (-1, 1)])
        return around if abs(0.5 - own) < abs(0.5 - around) else own

    @staticmethod
    def joined(estimate, gradient, one, two, weight_of_two):
        lines = []
        for a, b in (one, two):
            before, after = gradient(-a, -b), gradient(a, b)
            lines.append((after * estimate(-a, -b) + before * estimate(a, b)) / (before + after))
        return (1 - weight_of_two) * lines[0] + weight_of_two * lines[1]

    def green(self, i, j):
        x = self.x
        if self.colours[i, j] == 1:
            return x[i, j]

        def gradient(a, b):
            pairs = ((1, -1), (0, 2), (1, 3), (2, 4))
            return 1e-5 + sum(abs(x[i + m * a, j + m * b] - x[i + n * a, j + n * b]) for m, n in pairs)

        def estimate(a, b):
            here, there = self.low(i, j), self.low(i + 2 * a, j + 2 * b)
            return x[i + a, j + b] * (1 + (here - there) / (1e-5 + here + there))

        return self.joined(estimate, gradient, (1, 0), (0, 1), self.refined(i, j, False))

    def colour(self, i, j, channel):
        """Red (0) or blue (2)."""
        if self.colours[i, j] == channel:
            return self.x[i, j]
        at_green = self.colours[i, j] == 1

        def value(n, a, b):
            return self.colour(i + n * a, j + n * b, channel)

        def gradient(a, b):
            along_colour = abs(value(1, a, b) - value(-1, a, b)) + abs(value(1, a, b) - value(3, a, b))
            return 1e-5 + along_colour + abs(self.green(i, j) - self.green(i + 2 * a, j + 2 * b))

        def estimate(a, b):
            return value(1, a, b) - self.green(i + a, j + b)

        one, two = ((1, 0), (0, 1)) if at_green else ((1, 1), (1, -1))
        return self.green(i, j) + self.joined(estimate, gradient, one, two, self.refined(i, j, not at_green))


@pytest.mark.parametrize("phase", ["RGGB", "GRBG"])
def test_rcd_site_by_site(phase):
    x = np.random.default_rng(0).random((28, 30)) + 0.01
    y = METHODS["rcd"].function(torch.from_numpy(x)[None, None], CFA(phase))[0].numpy()
    slow = RCD(x, CFA(phase))
    for i in range(11, 16):
        for j in range(11, 18):
            expected = [slow.colour(i, j, 0), slow.green(i, j), slow.colour(i, j, 2)]
            np.testing.assert_allclose(y[:, i, j], expected, rtol=0, atol=1e-12)


def test_dlmmse_site_by_site():
    """Green at one red site, eq. 4 to 18 of the paper in plain NumPy."""
    x = np.random.default_rng(1).random((32, 32))
    i = j = 16  # red in RGGB
    smooth = np.array([4, 9, 15, 23, 26, 23, 15, 9, 4]) / 128

    def estimate(line):
        """Along one line through the site, which is its element 16."""
        other = (line[1:-3] + line[3:-1]) / 2 + (2 * line[2:-2] - line[:-4] - line[4:]) / 4
        sign = np.where(np.arange(2, len(line) - 2) % 2 == 0, 1, -1)  # green less red at red, and at green too
        observed = (other - line[2:-2]) * sign  # from element 2 on
        low = np.convolve(observed, smooth, mode="valid")  # from element 6 on
        centre = slice(16 - 6 - 4, 16 - 6 + 5)
        mean, signal = low[centre].mean(), low[centre].var()
        noise = np.mean((observed[16 - 2 - 4 : 16 - 2 + 5] - low[centre]) ** 2)
        return mean + signal / (signal + noise) * (observed[16 - 2] - mean), signal * noise / (signal + noise)

    (h, error_h), (v, error_v) = estimate(x[i]), estimate(x[:, j])
    expected = x[i, j] + (error_v * h + error_h * v) / (error_h + error_v)
    y = METHODS["dlmmse"].function(torch.from_numpy(x)[None, None], CFA("RGGB"))
    assert float(y[0, 1, i, j]) == pytest.approx(expected, abs=1e-6)


def test_malvar_by_hand():
    """A single bright sample at a red site: the filters of the paper's figure 2, in eighths, read off."""
    x = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    x[..., 6, 6] = 8
    red, green, blue = METHODS["malvar2004"].function(x, CFA("RGGB"))[0]
    assert red[4:9, 4:9].tolist() == [
        [0, 0, 0, 0, 0], [0, 2, 4, 2, 0], [0, 4, 8, 4, 0], [0, 2, 4, 2, 0], [0, 0, 0, 0, 0]
    ]  # fmt: skip
    assert green[6, 4:9].tolist() == [-1, 0, 4, 0, -1]
    assert blue[6, 4:9].tolist() == [-1.5, 0, 6, 0, -1.5]
