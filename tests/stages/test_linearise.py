"""LinearizationTable against a loop over the specification's words, and its inverse."""

import numpy as np
import pytest
import torch

from isp.raw.metadata import RawMetadata
from isp.stages.linearise import delinearise, linearise

RISING = np.array([0, 3, 4, 10, 10, 25, 100], dtype=np.float64)


def meta(table: np.ndarray | None) -> RawMetadata:
    return RawMetadata(4, 6, linearization_table=table)


def test_table_at_integers_and_past_its_end() -> None:
    x = torch.tensor([[[[0.0, 1, 2, 3, 4, 5, 6, 7, 255, 65535]]]])
    expected = [RISING[min(i, 6)] for i in x.flatten().long().tolist()]
    assert linearise(x, meta(RISING)).flatten().tolist() == expected


def test_straight_lines_between_integers() -> None:
    x = torch.rand(2, 1, 5, 3, dtype=torch.float64) * 8 - 0.5
    expected = np.interp(x.numpy(), np.arange(7), RISING)
    np.testing.assert_allclose(linearise(x, meta(RISING)).numpy(), expected, atol=1e-12)


def test_no_table_and_one_entry() -> None:
    x = torch.rand(1, 1, 2, 2)
    assert linearise(x, meta(None)) is x
    assert delinearise(x, meta(None)) is x
    assert linearise(x, meta(np.array([7.0]))).tolist() == [[[[7, 7], [7, 7]]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse_both_ways(dtype: torch.dtype) -> None:
    table = np.cumsum(np.linspace(0.5, 30, 4096))
    x = torch.rand(2, 1, 7, 5, dtype=dtype) * 4095
    there = linearise(x, meta(table))
    assert there.dtype == dtype
    back = delinearise(there, meta(table))
    assert back.dtype == dtype
    torch.testing.assert_close(back / 4095, x / 4095, atol=1e-5, rtol=0)
    torch.testing.assert_close(linearise(back, meta(table)), there, rtol=1e-5, atol=0)


def test_flat_stretch_gives_its_start() -> None:
    y = torch.tensor([[[[10.0, 17.5, 0.0, -3.0, 500.0]]]])
    assert delinearise(y, meta(RISING)).flatten().tolist() == [3, 4.5, 0, 0, 6]


@pytest.mark.parametrize("table", [[0, 5, 4], [3, 3, 3]])
def test_no_inverse(table: list[float]) -> None:
    with pytest.raises(ValueError, match="linearization_table has no inverse"):
        delinearise(torch.zeros(1, 1, 2, 2), meta(np.array(table, dtype=np.float64)))


def test_gradients() -> None:
    x = (torch.rand(1, 1, 3, 4, dtype=torch.float64) * 0.8 + 0.1 + torch.arange(12).reshape(1, 1, 3, 4) % 6).detach()
    table = np.array([0, 3, 4, 10, 13, 25, 100], dtype=np.float64)
    assert torch.autograd.gradcheck(lambda x: linearise(x, meta(table)), x.requires_grad_())
    y = linearise(x.detach(), meta(table)).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: delinearise(y, meta(table)), y)
