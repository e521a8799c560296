"""Dead leaves: the same bytes for the same seed, antialiased, with the statistics that they are made for."""

import hashlib
import math

import numpy as np
import pytest

from isp.datasets.dead_leaves import BAR, LINES, Leaves, _labels, _plain, _rendered, _scattered, dead_leaves


def leaf(shape: int, centre: tuple[float, float], axes: tuple[float, float], angle: float = 0.0) -> Leaves:
    turn = np.array([[math.cos(angle), math.sin(angle)]])
    return _plain(np.array([centre]), np.array([axes]), turn, shape, np.ones((1, 6)))


def coverage(part: Leaves, height: int, width: int) -> np.ndarray:
    """H W: white where the leaf is, on black."""
    ground = leaf(0, (0.0, 0.0), (1e4, 1e4))
    ground.colour = np.zeros((1, 6))
    leaves = Leaves.join([ground, part])
    return _rendered(leaves, _labels(leaves, height, width), np.zeros(5 * 256 * 256, np.float32))[..., 0]


def test_same_seed_same_bytes() -> None:
    """Whatever was drawn before; and the bytes that were drawn when this test was written."""
    one = dead_leaves(96, 128, np.random.default_rng([3, 7]))
    dead_leaves(64, 64, np.random.default_rng(1))
    assert one.dtype == np.float32
    assert one.shape == (96, 128, 3)
    assert one.tobytes() == dead_leaves(96, 128, np.random.default_rng([3, 7])).tobytes()
    assert one.tobytes() != dead_leaves(96, 128, np.random.default_rng([3, 8])).tobytes()
    assert hashlib.sha256(one.tobytes()).hexdigest()[:16] == "dc1cb5c3816cfaa1"


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2, 2.9])
def test_shapes_are_where_and_as_large_as_they_should(angle: float) -> None:
    """Area and centre of an ellipse and of a rectangle against their formulas, at any angle."""
    rows, columns = np.mgrid[0:80, 0:90] + 0.5
    for shape, area in ((0, math.pi * 30 * 12), (BAR, 2 * 30 * 12)):
        drawn = coverage(leaf(shape, (46.3, 38.7), (30, 12), angle), 80, 90)
        assert abs(drawn.sum() / area - 1) < 0.01
        assert abs((drawn * columns).sum() / drawn.sum() - 46.3) < 0.1
        assert abs((drawn * rows).sum() / drawn.sum() - 38.7) < 0.1


def test_every_shape_lies_in_its_ellipse_and_is_what_its_lines_keep() -> None:
    """Beside a test of each sub-pixel's centre by itself."""
    y, x = (np.mgrid[0:60, 0:60] + 0.5) / 2
    for shape in range(len(LINES)):
        part = leaf(shape, (14.2, 15.1), (11.0, 7.0), 0.4)
        u = (math.cos(0.4) * (x - 14.2) + math.sin(0.4) * (y - 15.1)) / 11
        v = (-math.sin(0.4) * (x - 14.2) + math.cos(0.4) * (y - 15.1)) / 7
        inside = u * u + v * v <= 1
        for nx, ny, d in LINES[shape]:
            inside &= nx * u + ny * v <= d
        ground = leaf(0, (0.0, 0.0), (1e4, 1e4))
        assert np.array_equal(_labels(Leaves.join([ground, part]), 30, 30) == 1, inside)


def test_edges_are_antialiased() -> None:
    """A slanting edge passes through all the grey levels that 2 x 2 sub-pixels give, and nothing but the edge does."""
    drawn = coverage(leaf(BAR, (32, 32), (25, 25), 0.2), 64, 64)
    levels = np.unique(drawn)
    assert levels.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert 0.02 < ((drawn > 0) & (drawn < 1)).mean() < 0.1


def test_later_leaves_cover_earlier_ones() -> None:
    """Long spans and short ones are drawn apart; the order holds between them."""
    large, small = leaf(0, (32, 32), (25, 25)), leaf(0, (32, 32), (3, 3))
    ground = leaf(0, (0.0, 0.0), (1e4, 1e4))
    assert _labels(Leaves.join([ground, large, small]), 64, 64)[64, 64] == 2
    over = _labels(Leaves.join([ground, small, large]), 64, 64)
    assert over[64, 64] == 2
    assert (over == 1).sum() == 0


def test_sizes_follow_the_inverse_cube() -> None:
    """The count of radii above r falls as r^-2: the slope over a decade within 5 %."""
    palette = np.full((4, 3), 0.5)
    parts = [_scattered(2048, 2048, palette, np.random.default_rng(seed)) for seed in (4, 5)]
    for behind, front in parts:
        axes = np.concatenate([behind.axes, front.axes])
        radius = np.sort(np.sqrt(axes[:, 0] * axes[:, 1]))
        low = radius[0]
        above = [(radius > low * factor).sum() for factor in (1.2, 6.0)]
        slope = math.log(above[1] / above[0]) / math.log(5)
        assert abs(slope + 2) < 0.1


def test_pictures_look_like_photographs_in_numbers() -> None:
    """Over twelve pictures: values in range, spectra that fall as a power of frequency, long-tailed differences, dark
    and light and saturated places, and no two alike."""
    pictures = [dead_leaves(256, 256, np.random.default_rng([1, i])) for i in range(12)]
    slopes, tails = [], []
    for picture in pictures:
        assert picture.min() >= 0
        assert picture.max() <= 1
        grey = picture.mean(-1, dtype=np.float64)
        window = np.outer(np.hanning(256), np.hanning(256))
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)) * 256
        rings = [power[(k >= low) & (k < 1.3 * low)].mean() for low in (6, 12, 24, 48, 96)]
        slopes.append(np.polyfit(np.log([6, 12, 24, 48, 96]), np.log(rings), 1)[0])
        steps = np.diff(grey, axis=1)
        tails.append((steps**4).mean() / (steps**2).mean() ** 2)
    assert -3.6 < np.mean(slopes) < -2
    assert np.median(tails) > 8  # a Gaussian has 3
    everything = np.stack(pictures)
    assert 0.25 < everything.mean() < 0.55
    assert (everything.max(-1) < 0.1).mean() > 0.01
    assert (everything.min(-1) > 0.75).mean() > 0.01
    saturation = (everything.max(-1) - everything.min(-1)) / np.maximum(everything.max(-1), 1e-3)
    assert 0.03 < (saturation > 0.7).mean() < 0.4


@pytest.mark.parametrize("size", [(8, 8), (33, 70), (1, 5)])
def test_any_size(size: tuple[int, int]) -> None:
    picture = dead_leaves(*size, np.random.default_rng(2))
    assert picture.shape == (*size, 3)
    assert np.isfinite(picture).all()
