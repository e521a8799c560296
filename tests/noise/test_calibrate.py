"""Photon transfer on simulated sensors, and on a real one."""

import numpy as np
import pytest
import tifffile

from isp.noise.calibrate import (
    brightness_groups,
    burst_statistics,
    dark_groups,
    dark_offset,
    fit_transfer,
    join,
    row_statistics,
)

# the IMX296 as calibrated from its real frames; DN
GAIN, READ, ROW, BLACK = 0.0901, 0.177, 0.049, 60.0


def scene(height=1088, width=1456):
    """H W, electrons: a defocused BGGR scene, between 3 and 520 electrons."""
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    light = 280 + 240 * np.sin(9 * x + 2 * y) * np.cos(5 * y)
    planes = np.array([[0.25, 1.0], [1.0, 0.5]])
    return light * np.tile(planes, (height // 2, width // 2))


def simulated(electrons, count, rng, gain=GAIN, read=READ, row=ROW, drift=0.0, black=BLACK):
    """Frames of counts, whole DN: Poisson electrons, normal read noise and rows, rounding."""
    for _ in range(count):
        light = 1 + drift * rng.standard_normal()
        dn = gain * rng.poisson(electrons * light) + black + np.sqrt(read) * rng.standard_normal(electrons.shape)
        yield np.round(dn + row * rng.standard_normal((len(electrons), 1))).astype(np.uint16)


def test_simulated_imx296_comes_back_within_two_per_cent():
    """Ten frames at full size, as many as the real burst: K and read variance within 2 %, row noise within 5 %, planes
    in agreement, and the intervals hold what was put in."""
    burst = burst_statistics(simulated(scene(), 10, np.random.default_rng(1)), 1023)
    transfer = fit_transfer(brightness_groups(burst, [BLACK] * 4))
    expected = READ + 1 / 12 + ROW**2
    assert transfer.agree
    for line in (transfer.shared, *(transfer.line(plane) for plane in range(4))):
        assert line.gain.value == pytest.approx(GAIN, rel=0.02)
        assert line.read.value == pytest.approx(expected, rel=0.02)
        assert line.pixel_read.value == pytest.approx(READ + ROW**2, rel=0.03)
    for line in transfer.planes:
        assert line.gain.value == pytest.approx(GAIN, rel=0.02)
        assert line.gain.low < GAIN < line.gain.high
    assert transfer.shared.misfit < 0.003
    rows = row_statistics(burst)
    assert rows.row_noise.value == pytest.approx(ROW, rel=0.05)
    assert rows.row_means > 1.3 * rows.independent


def test_intervals_cover():
    """Of 60 small bursts, 95 % intervals hold the true figures in 50 or more (0.4 % of the time fewer, by chance)."""
    electrons = scene(128, 128)
    held = np.zeros(2)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        burst = burst_statistics(simulated(electrons, 6, rng, row=0), 1023)
        line = fit_transfer(brightness_groups(burst, [BLACK] * 4)).shared
        held += [line.gain.low < GAIN < line.gain.high, line.read.low < READ + 1 / 12 < line.read.high]
    assert (held >= 50).all(), held


def test_two_frames_with_drifting_light_are_enough():
    """1 % of drift between frames, which unremoved would add 40 % to the variance at the bright end."""
    burst = burst_statistics(simulated(scene() * 20, 2, np.random.default_rng(8), gain=0.05, drift=0.01, row=0), 1023)
    line = fit_transfer(brightness_groups(burst, [BLACK] * 4)).shared
    assert line.gain.value == pytest.approx(0.05, rel=0.02)


def test_flat_frames_of_several_exposures_and_dark_ones():
    rng = np.random.default_rng(3)
    groups = []
    for level in (100.0, 400.0, 1600.0):
        burst = burst_statistics(simulated(np.full((256, 256), level), 2, rng, gain=0.4, read=4.0, row=0), 1023)
        groups.append(brightness_groups(burst, [BLACK] * 4))
    dark = burst_statistics(simulated(np.zeros((256, 256)), 2, rng, gain=0.4, read=4.0, row=0), 1023)
    groups.append(dark_groups(dark))
    line = fit_transfer(join(groups)).shared
    assert line.gain.value == pytest.approx(0.4, rel=0.02)
    assert line.read.value == pytest.approx(4 + 1 / 12, rel=0.03)


def test_planes_with_gains_of_their_own_are_not_pooled():
    electrons = scene(512, 512)
    gains = np.tile([[0.1, 0.09], [0.09, 0.12]], (256, 256))
    rng = np.random.default_rng(4)
    frames = [
        np.round(gains * rng.poisson(electrons) + BLACK + 0.4 * rng.standard_normal(gains.shape)) for _ in range(8)
    ]
    transfer = fit_transfer(brightness_groups(burst_statistics(frames, 1023), [BLACK] * 4))
    assert not transfer.agree
    assert [transfer.line(p).gain.value for p in range(4)] == pytest.approx([0.1, 0.09, 0.09, 0.12], rel=0.03)


def test_saturated_parts_are_left_out():
    electrons = scene() * 30  # the brightest planes saturate
    frames = (np.minimum(frame, 1023) for frame in simulated(electrons, 4, np.random.default_rng(5)))
    line = fit_transfer(brightness_groups(burst_statistics(frames, 1023), [BLACK] * 4)).shared
    assert line.gain.value == pytest.approx(GAIN, rel=0.02)


def test_independent_sites_have_no_row_noise():
    rows = row_statistics(burst_statistics(simulated(scene(), 3, np.random.default_rng(6), row=0), 1023))
    assert rows.row_noise.low == 0
    assert rows.row_noise.value < 0.012
    assert rows.row_means == pytest.approx(rows.independent, rel=0.05)


def test_statistics_of_three_small_frames_by_hand():
    frames = [np.array([[1, 2], [3, 9]]), np.array([[3, 2], [3, 6]]), np.array([[5, 2], [3, 3]])]
    burst = burst_statistics(frames, 9)
    assert burst.mean.tolist() == [[3, 2], [3, 6]]
    assert burst.variance.tolist() == [[4, 0], [0, 9]]
    assert burst.row_means.tolist() == [[1.5, 6], [2.5, 4.5], [3.5, 3]]
    assert burst.clipped.tolist() == [[False, False], [False, True]]


def test_errors():
    with pytest.raises(ValueError, match="at least 2 frames of one scene, got 1"):
        burst_statistics([np.ones((4, 4))], 9)
    with pytest.raises(ValueError, match="differ in size"):
        burst_statistics([np.ones((4, 4)), np.ones((4, 6))], 9)
    dark = burst_statistics(simulated(np.zeros((64, 64)), 2, np.random.default_rng(7)), 1023)
    with pytest.raises(ValueError, match="levels of brightness"):
        fit_transfer(dark_groups(dark))


def test_dark_offset_of_one_and_of_many():
    one = dark_offset([60.2], 0.01)
    assert (one.value, one.error) == (60.2, pytest.approx(0.01))
    many = dark_offset([60.0, 60.2, 60.4], 0.01)
    assert (many.value, many.error) == (pytest.approx(60.2), pytest.approx(0.2 / 3**0.5))


def test_the_real_burst(shared):
    """Published figures of a burst of 64 frames, of which these are ten: K 0.090 to 0.092 DN per electron, read
    variance 0.24 to 0.27 DN^2 with quantisation, dark mean 60.16, rows that vary more than independent noise would.

    Plane by plane, the unevenness of the ADC's steps moves K by 3 %; the planes share those steps and one amplifier.
    """
    folder = shared / "data" / "burst"
    dark = burst_statistics((tifffile.imread(path) for path in sorted(folder.glob("dark_*.dng"))), 1023)
    burst = burst_statistics((tifffile.imread(path) for path in sorted(folder.glob("static_*.dng"))), 1023)
    zero = [float(dark.mean[y::2, x::2].mean()) for y in (0, 1) for x in (0, 1)]
    assert np.mean(zero) == pytest.approx(60.16, abs=0.05)
    transfer = fit_transfer(brightness_groups(burst, zero))
    assert transfer.agree
    for plane in range(4):
        line = transfer.line(plane)
        assert 0.090 <= line.gain.value <= 0.092
        assert 0.24 <= line.read.value <= 0.27
        assert transfer.planes[plane].gain.value == pytest.approx(0.091, rel=0.035)
        assert transfer.planes[plane].read.value == pytest.approx(0.27, abs=0.035)
    rows = row_statistics(burst)
    assert rows.independent == pytest.approx(0.037, abs=0.001)
    assert rows.row_means == pytest.approx(0.0824, abs=1e-4)  # 0.098 over all 64 frames, whose light drifts more
    assert rows.row_noise.low > 0.045
    # the mean of 64 frames is of the same scene
    assert np.abs(burst.mean - np.load(folder / "static_mean64.npy")).mean() < 0.6
