"""Tone curves: the filmic one by its published numbers, the profile's against SciPy's spline, hue and inverses."""

import colorsys

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from isp.stages.tone import apply_tone_curve, filmic, undo_filmic, undo_tone_curve

CURVE = np.array([[0.0, 0.0], [0.1, 0.05], [0.25, 0.3], [0.6, 0.75], [1.0, 1.0]])


def colours(n: int = 400, high: float = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, 20, n // 20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * high


def grey(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1).expand(1, 3, 1, -1)


def test_filmic_by_hand() -> None:
    """The formula in the file's head, in plain Python, at black, middle grey, sensor white and far above."""

    def by_hand(x: float) -> float:
        u = 1.75 * ((x + 0.004) ** 1.16 - 0.004**1.16)
        return u / (1 + u**3) ** (1 / 3)

    values = [0.0, 0.02, 0.18, 1.0, 8.0]
    assert torch.allclose(
        filmic(grey(values))[0, 0, 0], torch.tensor([by_hand(v) for v in values]).double(), atol=1e-12
    )
    assert filmic(grey([0.0])).abs().max() == 0
    assert 0.23 < by_hand(0.18) < 0.26  # 0.35 to 0.5 stops above 0.18
    assert by_hand(8.0) > 0.9999


def test_filmic_is_white_however_bright() -> None:
    assert filmic(grey([1e12, 1e30, 3e38]).float()).tolist() == grey([1.0, 1.0, 1.0]).tolist()


def test_filmic_rises_and_stays_below_one() -> None:
    y = filmic(grey(np.linspace(-0.5, 30, 5001).tolist()))[0, 0, 0]
    assert (y.diff() > 0).all()
    assert y.max() < 1


@pytest.mark.parametrize("seed", range(3))
def test_hue_holds(seed: int) -> None:
    """HSV hue by Python's colorsys before and after."""
    x = colours(seed=seed)
    for y in (filmic(x), apply_tone_curve(x, CURVE)):
        before = [colorsys.rgb_to_hsv(*rgb)[0] for rgb in x[0].reshape(3, -1).T.tolist()]
        after = [colorsys.rgb_to_hsv(*rgb)[0] for rgb in y[0].reshape(3, -1).T.tolist()]
        turn = np.abs(np.array(before) - np.array(after))
        assert np.minimum(turn, 1 - turn).max() < 1e-9


def test_profile_curve_is_the_natural_spline() -> None:
    values = np.linspace(0, 1, 101)
    expected = CubicSpline(CURVE[:, 0], CURVE[:, 1], bc_type="natural")(values)
    assert np.allclose(apply_tone_curve(grey(values.tolist()), CURVE)[0, 1, 0], expected, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_inverses(dtype: torch.dtype, tolerance: float) -> None:
    x = (colours(high=1.1) - 0.05).to(dtype)
    assert (undo_filmic(filmic(x)) - x).abs().max() < tolerance * 10
    assert (undo_tone_curve(apply_tone_curve(x, CURVE), CURVE) - x).abs().max() < tolerance


def test_falling_curve_has_no_inverse() -> None:
    falling = np.array([[0.0, 0.0], [0.5, 0.8], [0.8, 0.4], [1.0, 1.0]])
    with pytest.raises(ValueError, match="not rising everywhere"):
        undo_tone_curve(colours(), falling)


def test_gradients() -> None:
    x = (colours(20, high=0.9) + 0.02).requires_grad_()
    assert torch.autograd.gradcheck(filmic, x)
    assert torch.autograd.gradcheck(lambda t: apply_tone_curve(t, CURVE), x)
    black = torch.zeros(1, 3, 2, 2, requires_grad=True)
    filmic(black).sum().backward()
    assert torch.isfinite(black.grad).all()


def test_a_tensor_s_outputs_make_the_same_curve_and_get_their_gradient() -> None:
    x = colours(60, high=1.3) - 0.1
    curve = torch.from_numpy(CURVE)
    assert torch.allclose(apply_tone_curve(x, curve), apply_tone_curve(x, CURVE), atol=1e-13)
    outputs = curve[:, 1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda o: apply_tone_curve(x, torch.stack([curve[:, 0], o], 1)), outputs)
