"""Hue/saturation/value tables: the specification's steps one pixel at a time, then range, inverse and gradients."""

import colorsys
import itertools
import math

import numpy as np
import pytest
import torch

from isp.stages.hue_sat_map import apply_hue_sat_map, undo_hue_sat_map

SHAPES = [(6, 4, 1), (6, 4, 5), (1, 2, 1), (7, 3, 2)]


def random_table(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Shifts of up to 20 degrees, scales of 0.6 to 1.5; value scale 1 at saturation 0, as the tags demand."""
    rng = np.random.default_rng(seed)
    table = np.stack([rng.uniform(-20, 20, shape), rng.uniform(0.6, 1.5, shape), rng.uniform(0.6, 1.5, shape)], axis=-1)
    table[:, 0, :, 2] = 1.0
    return table


def smooth_table(shape: tuple[int, int, int]) -> np.ndarray:
    """A profile as makers write them: shifts of up to 10 degrees, scales within 15 %, slow in all three; no clip."""
    hue = np.arange(shape[0])[:, None, None] / shape[0] * 2 * np.pi
    saturation = np.linspace(0, 1, shape[1])[:, None]
    value = np.linspace(0, 1, shape[2])
    shift = 10 * np.sin(hue) * saturation * (1 - 0.5 * value)
    saturation_scale = 0.92 + 0.07 * np.cos(2 * hue) * saturation + 0 * value
    value_scale = 1 + saturation * (0.07 * np.sin(hue + 1) - 0.08) + 0 * value
    return np.stack([shift, saturation_scale, value_scale], axis=-1)


def specification(rgb: list[float], table: np.ndarray, encoding: int) -> list[float]:
    """DNG 1.7.1, chapter 6, steps 3 to 9, with the encoding of ProfileHueSatMapEncoding, for one colour in [0, 1]."""
    hues, saturations, values, _ = table.shape
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    encoded = encoding == 1 and values > 1
    if encoded:
        v = 12.92 * v if v < 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055
    places = (h * hues, s * (saturations - 1), v * (values - 1))
    entry = np.zeros(3)
    for corner in itertools.product((0, 1), repeat=3):
        indices, weight = [], 1.0
        for place, step, size in zip(places, corner, table.shape[:3], strict=True):
            low = math.floor(place)
            fraction = place - low
            weight *= fraction if step else 1 - fraction
            indices.append(low + step if size > low + step else (0 if len(indices) == 0 else size - 1))
        entry += weight * table[tuple(indices)]
    h = (h + entry[0] / 360) % 1.0
    s = min(s * entry[1], 1.0)
    v = min(v * entry[2], 1.0)
    if encoded:
        v = v / 12.92 if v < 0.04045 else ((v + 0.055) / 1.055) ** 2.4
    return list(colorsys.hsv_to_rgb(h, s, v))


def colours(n: int = 400, low: float = 0.0, high: float = 1.0, seed: int = 1) -> torch.Tensor:
    """1 3 20 n/20, float64."""
    x = torch.rand(1, 3, 20, n // 20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * x


def expected(x: torch.Tensor, table: np.ndarray, encoding: int) -> torch.Tensor:
    pixels = [specification(pixel, table, encoding) for pixel in x.permute(0, 2, 3, 1).reshape(-1, 3).tolist()]
    return torch.tensor(pixels, dtype=torch.float64).view(x.shape[0], *x.shape[2:], 3).permute(0, 3, 1, 2)


@pytest.mark.parametrize("encoding", [0, 1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_the_specification(shape: tuple[int, int, int], encoding: int) -> None:
    table = random_table(shape)
    x = colours()
    y = apply_hue_sat_map(x, table, encoding)
    torch.testing.assert_close(y, expected(x, table, encoding), atol=1e-9, rtol=0)
    in_float32 = apply_hue_sat_map(x.float(), table, encoding)
    torch.testing.assert_close(in_float32.double(), y, atol=1e-5, rtol=0)


def test_pure_colours_greys_and_black() -> None:
    """Corners of the cube, where hue or saturation is not defined or at its end."""
    corners = torch.tensor(list(itertools.product((0.0, 0.5, 1.0), repeat=3)), dtype=torch.float64)  # 27 3
    x = corners.T.reshape(1, 3, 9, 3)
    for shape, encoding in itertools.product(SHAPES, (0, 1)):
        table = random_table(shape, seed=2)
        torch.testing.assert_close(
            apply_hue_sat_map(x, table, encoding), expected(x, table, encoding), atol=1e-9, rtol=0
        )


def test_one_colour_by_hand() -> None:
    """Red halfway to yellow (hue 30) between entries at 0 and 120 degrees: 0.75 * 40 + 0.25 * 0 = 30 degrees more."""
    table = np.array([[40.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])[:, None, None].repeat(2, axis=1)
    x = torch.tensor([0.8, 0.4, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
    torch.testing.assert_close(apply_hue_sat_map(x, table).flatten(), torch.tensor([0.8, 0.8, 0.0]).double())


def test_hue_wraps_round() -> None:
    """Hue 330 lies between the last entry, at 240, and the first, at 360."""
    table = np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [40.0, 1.0, 1.0]])[:, None, None].repeat(2, axis=1)
    x = torch.tensor([0.8, 0.0, 0.4], dtype=torch.float64).view(1, 3, 1, 1)  # 330 degrees; 40 / 4 = 10 more
    found = colorsys.rgb_to_hsv(*apply_hue_sat_map(x, table).flatten().tolist())
    assert found == pytest.approx((340 / 360, 1.0, 0.8))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_table_of_ones_changes_nothing(shape: tuple[int, int, int]) -> None:
    table = np.zeros((*shape, 3))
    table[..., 1:] = 1.0
    x = colours(low=-0.5, high=3.0)
    for encoding in (0, 1):
        torch.testing.assert_close(apply_hue_sat_map(x, table, encoding), x, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(undo_hue_sat_map(x, table, encoding), x, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("encoding", [0, 1])
def test_beyond_the_unit_cube(encoding: int) -> None:
    """Nothing is clipped or jumps: a ray from black through white light and out goes on, negatives stay negative."""
    table = random_table((6, 4, 5))
    ray = torch.linspace(0.9, 1.1, 20001, dtype=torch.float64) * torch.tensor([1.0, 0.4, 0.2]).double()[:, None]
    y = apply_hue_sat_map(ray.view(1, 3, 1, -1), table, encoding)
    assert y.diff(dim=-1).abs().max() < 1e-4
    through_zero = torch.linspace(-0.01, 0.01, 20001, dtype=torch.float64)
    for other in (0.5, -0.5, 0.0):
        x = torch.stack([torch.full_like(through_zero, 0.6), through_zero, torch.full_like(through_zero, other)])
        y = apply_hue_sat_map(x.view(1, 3, 1, -1), table, encoding)
        assert y.diff(dim=-1).abs().max() < 1e-4
    dark = torch.linspace(-1e-4, 1e-4, 20001, dtype=torch.float64) * torch.tensor([1.0, -0.4, 0.2]).double()[:, None]
    y = apply_hue_sat_map(dark.view(1, 3, 1, -1), table, encoding)
    assert y.isfinite().all()
    assert y.abs().max() < 4e-4
    assert y.diff(dim=-1).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("encoding", [0, 1])
@pytest.mark.parametrize("shape", [(36, 8, 1), (36, 8, 16), (90, 30, 1)], ids=str)
def test_inverse(shape: tuple[int, int, int], encoding: int, dtype: torch.dtype) -> None:
    """Within the cube, above white, and below black."""
    table = smooth_table(shape)
    for low, high in ((0.0, 1.0), (0.5, 4.0), (-0.2, 0.6)):
        x = colours(low=low, high=high).to(dtype)
        y = apply_hue_sat_map(x, table, encoding)
        assert (y - x).abs().max() > 0.01
        torch.testing.assert_close(undo_hue_sat_map(y, table, encoding), x, atol=1e-5, rtol=1e-5)


def test_inverse_of_clipped_colours_maps_back_to_them() -> None:
    table = smooth_table((36, 8, 1))
    table[..., 1:] *= 1.3  # most saturations and values clip
    x = colours()
    y = apply_hue_sat_map(x, table)
    torch.testing.assert_close(apply_hue_sat_map(undo_hue_sat_map(y, table), table), y, atol=1e-5, rtol=0)


def test_inverse_of_a_table_without_colour_is_finite() -> None:
    table = smooth_table((6, 4, 1))
    table[..., 1] = 0.0
    y = apply_hue_sat_map(colours(), table)
    assert undo_hue_sat_map(y, table).isfinite().all()


@pytest.mark.parametrize("encoding", [0, 1])
@pytest.mark.parametrize("shape", [(6, 4, 1), (6, 4, 5)], ids=str)
def test_gradients(shape: tuple[int, int, int], encoding: int) -> None:
    table = smooth_table(shape)
    for low, high in ((0.05, 0.9), (-0.4, 2.5)):
        x = colours(40, low, high).requires_grad_()
        assert torch.autograd.gradcheck(lambda v: apply_hue_sat_map(v, table, encoding), (x,))
    awkward = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0, 0.0, 0.0], [-0.1, -0.1, -0.1]])
    x = awkward.T.reshape(1, 3, 2, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(apply_hue_sat_map(x, table, encoding).square().sum(), x)
    assert gradient.isfinite().all()


def test_batches_and_the_caller_s_data() -> None:
    table = random_table((6, 4, 5))
    x = torch.cat([colours(seed=3), colours(seed=4)])
    before = x.clone()
    y = apply_hue_sat_map(x, table, 1)
    torch.testing.assert_close(y, torch.cat([apply_hue_sat_map(one[None], table, 1) for one in x]))
    assert torch.equal(x, before)


def test_bad_tables() -> None:
    with pytest.raises(ValueError, match=r"should be hue sat value 3, got \(6, 4, 3\)"):
        apply_hue_sat_map(colours(), np.ones((6, 4, 3)))
    with pytest.raises(ValueError, match=r"encoding should be 0 \(linear\) or 1 \(sRGB\), got 2"):
        apply_hue_sat_map(colours(), np.ones((6, 4, 1, 3)), 2)
