"""The viewer's data: packing, precision, reductions, colours."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest

from isp.options import SPACES
from isp.output.viewer import (
    NOT_FINITE,
    Show,
    Store,
    Window,
    any_in,
    by_colour,
    display_space,
    histogram,
    number,
    pack,
    quantised,
    reduced,
    shown,
    to_display,
)
from isp.raw import CFA


def unpacked(data: bytes, height: int, width: int, channels: int, period: int) -> np.ndarray:
    """The inverse of `pack`, from its description, sample by sample."""
    raw = zlib.decompress(data)
    half = len(raw) // 2
    folded = [(raw[i] << 8) | raw[half + i] for i in range(half)]
    plane = height * width
    values = [(v >> 1) if v % 2 == 0 else -(v >> 1) - 1 for v in folded]
    for start in range(0, half, width):
        for i in range(start + period, start + width):
            values[i] = (values[i] + values[i - period]) % 65536
        for i in range(start, start + min(period, width)):
            values[i] %= 65536
    if channels == 3:
        for i in range(plane):
            for c in (0, 2):
                values[c * plane + i] = (values[c * plane + i] + values[plane + i]) % 65536
    return np.array(values, np.uint16).reshape(channels, height, width).transpose(1, 2, 0)


@pytest.mark.parametrize(("channels", "period"), [(1, 1), (1, 2), (1, 6), (3, 1)])
@pytest.mark.parametrize("width", [1, 5, 9])
def test_packing_loses_nothing(channels: int, period: int, width: int) -> None:
    integers = np.random.default_rng(0).integers(0, 65536, (4, width, channels), np.uint16)
    assert np.array_equal(unpacked(pack(integers, period), 4, width, channels, period), integers)


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 25.0, 4095.5, 1e7])
def test_values_are_held_to_half_a_step(scale: float) -> None:
    values = np.random.default_rng(0).normal(0.2, 0.3, (50, 40, 3)).astype(np.float32) * np.float32(scale)
    integers, offset, step = quantised(values)
    back = offset + step * integers.astype(np.float64)
    assert np.abs(back - values).max() <= step / 2
    assert step <= 2 * np.ptp(values) / 65533
    assert np.log2(step) % 1 == 0


def test_counts_are_exact_and_what_is_no_number_is_marked() -> None:
    counts = np.array([[[0.0], [65534.0], [511.0]]])
    integers, offset, step = quantised(counts)
    assert (offset, step) == (0.0, 1.0)
    assert integers.ravel().tolist() == [0, 65534, 511]
    odd, offset, step = quantised(np.array([[[np.nan], [np.inf], [0.5], [-0.25]]]))
    assert odd.ravel()[:2].tolist() == [NOT_FINITE] * 2
    assert (offset + step * odd.ravel()[2:]).tolist() == [0.5, -0.25]
    assert quantised(np.full((2, 2, 1), np.nan))[0].tolist() == np.full((2, 2, 1), NOT_FINITE).tolist()


def test_a_step_that_is_given_is_kept_or_doubled() -> None:
    bytes_ = np.arange(256).reshape(16, 16, 1) / 255
    integers, offset, step = quantised(bytes_, 1 / 255)
    assert (offset, step) == (0, 1 / 255)
    assert np.array_equal(integers.ravel(), np.arange(256))
    assert quantised(np.array([[[0.0], [100000.0]]]) + 0.5, 1.0)[2] == 2.0


def test_equal_windows_are_stored_once() -> None:
    store = Store()
    values = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    first, second = store.put(Window(0, 0, values), 1), store.put(Window(3, 5, values.copy()), 1)
    assert first["data"] == second["data"]
    assert (second["top"], second["left"]) == (3, 5)
    assert len(store.packed) == 1


@pytest.mark.parametrize("factor", [1, 2, 3, 7, 50])
def test_reductions_are_those_of_each_square(factor: int) -> None:
    x = np.random.default_rng(0).random((11, 16, 3)).astype(np.float32)
    mask = x[..., 0] > 0.93
    means, found = reduced(x, factor), any_in(mask, factor)
    for i in range(means.shape[0]):
        for j in range(means.shape[1]):
            square = np.s_[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            assert means[i, j] == pytest.approx(x[square].mean((0, 1)), abs=1e-6)
            assert found[i, j] == mask[square].any()


@pytest.mark.parametrize("cfa", [CFA("GBRG"), CFA("GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG", 6, 6)])
@pytest.mark.parametrize("size", [(25, 38), (36, 24), (3, 40)])
def test_means_by_colour(cfa: CFA, size: tuple[int, int]) -> None:
    factor = 2 * cfa.rows
    channels = cfa.channel_map(*size)
    found = by_colour(np.array([0.1, 0.5, 0.9], np.float32)[channels], cfa, factor)
    assert found.shape == (-(-size[0] // factor), -(-size[1] // factor), 3)
    if min(size) >= cfa.rows:
        assert np.abs(found - [0.1, 0.5, 0.9]).max() < 1e-6


def test_shown_colours() -> None:
    """sRGB of a linear 0.5 is 188 (IEC 61966-2-1); Display P3's red lies outside sRGB, its greys do not."""
    grey = np.full((1, 1, 3), 0.5)
    assert shown(grey, Show(), "srgb").ravel().tolist() == [188] * 3
    assert shown(grey, Show(encoded="srgb"), "srgb").ravel().tolist() == [128] * 3
    assert shown(100 + 1000 * grey, Show(black=100, gain=1e-3), "srgb").ravel().tolist() == [188] * 3
    for space in SPACES:
        display = display_space(space)
        found = shown(grey, Show(matrix=to_display(space, display)), display)
        assert np.abs(found.astype(int) - 188).max() <= 1, space
    assert display_space("rec2020") == "display-p3"
    assert to_display("camera", "srgb") is None


def test_histogram_is_logarithmic() -> None:
    drawn = histogram([[0, 1, 1023, 3]], 0.0, 4.0, [(2.0, "<mark>"), (9.0, "outside")])
    heights = [90 - float(v) for v in re.findall(r"V([\d.]+)H", drawn)]
    assert heights == pytest.approx([0, 9, 90, 18], abs=0.06)  # log2 of 1, 2, 1024 and 4, of 10
    assert "&lt;mark&gt;" in drawn
    assert "outside" not in drawn


def test_numbers() -> None:
    assert [number(v) for v in (0.0123456, 1023.44, 15012.0, -65535.0, 1e12)] == [
        "0.01235",
        "1023",
        "15012",
        "-65535",
        "1e+12",
    ]
