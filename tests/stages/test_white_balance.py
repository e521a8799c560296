"""White balance: a neutral becomes grey on every array, shifts keep the phase, inverse, gradients."""

import numpy as np
import pytest
import torch

from isp.raw.cfa import CANONICAL, CFA
from isp.stages.white_balance import undo_white_balance, white_balance

GAINS = np.array([2.0, 1.0, 1.5])
ARRAYS = [CFA(letters) for letters in ("RGGB", "GRBG", "GBRG", "BGGR")] + [
    CFA(*CANONICAL[kind]) for kind in ("quad-bayer", "x-trans")
]


def test_four_samples_by_hand() -> None:
    x = torch.tensor([[0.1, 0.2, 0.3], [-0.4, 1.5, 0.6]])[None, None]
    expected = torch.tensor([[0.1, 0.4, 0.3], [-0.6, 1.5, 0.9]])  # G R G / B G B
    torch.testing.assert_close(white_balance(x, GAINS, CFA("GRBG"))[0, 0], expected)


@pytest.mark.parametrize("cfa", ARRAYS, ids=str)
@pytest.mark.parametrize("size", [(2, 2), (7, 13), (24, 36)])
def test_the_neutral_becomes_flat(cfa: CFA, size: tuple[int, int]) -> None:
    neutral = torch.tensor(0.3 / GAINS, dtype=torch.float32)
    x = neutral[torch.as_tensor(cfa.channel_map(*size))].expand(2, 1, *size)
    torch.testing.assert_close(white_balance(x, GAINS, cfa), torch.full((2, 1, *size), 0.3))


@pytest.mark.parametrize("cfa", ARRAYS, ids=str)
def test_a_shifted_array_on_a_shifted_mosaic(cfa: CFA) -> None:
    x = torch.rand(1, 1, 20, 20)
    down, right = 3, 1
    expected = white_balance(x, GAINS, cfa)[..., down:, right:]
    assert torch.equal(white_balance(x[..., down:, right:], GAINS, cfa.shifted(down, right)), expected)


@pytest.mark.parametrize("cfa", [*ARRAYS, None], ids=str)
def test_inverse(cfa: CFA | None) -> None:
    x = torch.rand(2, 3 if cfa is None else 1, 11, 9) * 3 - 1
    before = x.clone()
    torch.testing.assert_close(undo_white_balance(white_balance(x, GAINS, cfa), GAINS, cfa), x, rtol=1e-6, atol=1e-7)
    assert torch.equal(x, before)


def test_rgb_by_hand() -> None:
    x = torch.ones(1, 3, 2, 2, dtype=torch.float64)
    assert white_balance(x, GAINS)[0, :, 0, 0].tolist() == [2.0, 1.0, 1.5]


@pytest.mark.parametrize("cfa", [CFA("GBRG"), None], ids=str)
@pytest.mark.parametrize("stage", [white_balance, undo_white_balance])
def test_gradients_of_both_arguments(stage: object, cfa: CFA | None) -> None:
    x = torch.rand(1, 3 if cfa is None else 1, 3, 4, dtype=torch.float64, requires_grad=True)
    gains = torch.tensor(GAINS, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: stage(a, b, cfa), (x, gains))  # type: ignore[operator]


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"needs B 1 H W with a CFA and 3 gains, got \(1, 3, 4, 4\)"):
        white_balance(torch.zeros(1, 3, 4, 4), GAINS, CFA("RGGB"))
    with pytest.raises(ValueError, match=r"needs B 3 H W without a CFA and 3 gains"):
        white_balance(torch.zeros(1, 1, 4, 4), GAINS)
    with pytest.raises(ValueError, match=r"gains of shape \(4,\)"):
        white_balance(torch.zeros(1, 1, 4, 4), np.ones(4), CFA("RGGB"))
