"""Transfer curves: the standards' own points, colour-science, odd symmetry, inverse and gradients."""

import colour
import numpy as np
import pytest
import torch

from isp.stages.encode import decode, encode

SPACES = ["srgb", "display-p3", "rec2020", "prophoto"]


@pytest.mark.parametrize(
    ("space", "linear", "encoded"),
    [
        ("srgb", 0.001, 0.01292),  # the straight part
        ("srgb", 0.18, 0.46135613),  # 1.055 * 0.18 ** (1 / 2.4) - 0.055
        ("display-p3", 0.18, 0.46135613),
        ("rec2020", 0.01, 0.045),
        ("rec2020", 0.18, 0.40884811),  # 1.0992968 * 0.18 ** 0.45 - 0.0992968
        ("prophoto", 0.001, 0.016),
        ("prophoto", 0.18, 0.38571142),  # 0.18 ** (1 / 1.8)
    ],
)
def test_points_by_hand(space: str, linear: float, encoded: float) -> None:
    assert encode(torch.tensor([linear], dtype=torch.float64), space).item() == pytest.approx(encoded, abs=1e-8)


@pytest.mark.parametrize(
    ("space", "theirs", "tolerance"),
    [
        ("srgb", colour.models.eotf_inverse_sRGB, 1e-12),
        # theirs has alpha and beta rounded to 1.0993 and 0.0181
        ("rec2020", lambda x: colour.models.oetf_BT2020(x, is_12_bits_system=True), 2e-5),
        ("prophoto", colour.models.cctf_encoding_ROMMRGB, 1e-12),
    ],
)
def test_agrees_with_colour_science(space: str, theirs: object, tolerance: float) -> None:
    x = np.linspace(0, 1, 2001)
    expected = theirs(x)  # type: ignore[operator]
    np.testing.assert_allclose(encode(torch.tensor(x), space).numpy(), expected, atol=tolerance)


@pytest.mark.parametrize("space", SPACES)
def test_ends_rise_and_odd_symmetry(space: str) -> None:
    x = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    y = encode(x, space)
    assert bool((y.diff() > 0).all())
    torch.testing.assert_close(y, -y.flip(0))
    assert encode(torch.tensor([0.0, 1.0]), space).tolist() == pytest.approx([0.0, 1.0], abs=1e-7)


@pytest.mark.parametrize("space", SPACES)
def test_continuous_at_the_knee(space: str) -> None:
    """BT.2020's constants make value and slope meet; sRGB's are rounded and leave a step of 3e-8."""
    for sign in (-1, 1):
        x = sign * torch.linspace(0.0015, 0.02, 400001, dtype=torch.float64)
        assert encode(x, space).diff().abs().max() < 1e-6


@pytest.mark.parametrize("space", [*SPACES, "camera"])
def test_inverse_in_float32(space: str) -> None:
    x = torch.linspace(-1, 1, 200001)
    assert (decode(encode(x, space), space) - x).abs().max() < 1e-6
    assert (encode(decode(x, space), space) - x).abs().max() < 1e-6
    bright = torch.logspace(0, 4, 1001)
    torch.testing.assert_close(decode(encode(bright, space), space), bright, rtol=2e-6, atol=0)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("function", [encode, decode])
def test_gradients(function: object, space: str) -> None:
    x = torch.tensor([-1.5, -0.3, -0.0005, 0.0, 0.0005, 0.3, 0.9, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: function(v, space), (x,))  # type: ignore[operator]
    near_zero = torch.tensor([-1e-30, -0.0, 0.0, 1e-30], requires_grad=True)
    (gradient,) = torch.autograd.grad(function(near_zero, space).sum(), near_zero)  # type: ignore[operator]
    slope = {"srgb": 12.92, "display-p3": 12.92, "rec2020": 4.5, "prophoto": 16.0}[space]
    expected = torch.full((4,), slope if function is encode else 1 / slope)
    torch.testing.assert_close(gradient, expected)


def test_camera_is_left_as_it_is_and_inputs_are_kept() -> None:
    x = torch.rand(1, 3, 4, 4) - 0.2
    assert torch.equal(encode(x, "camera"), x)
    assert torch.equal(decode(x, "camera"), x)
    before = x.clone()
    encode(x, "srgb")
    decode(x, "srgb")
    assert torch.equal(x, before)
