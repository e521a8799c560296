"""The processes that train, alone."""

import pytest
import torch

from isp.train.group import processes


def smallest() -> float:
    """A number that only denormals can hold, after arithmetic."""
    return (torch.tensor([1e-38]) * 0.01).item()


def test_denormals_count_as_0_while_it_lasts():
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor does not say how it treats denormals")
    assert smallest() > 0
    with processes("cpu") as group:
        assert (group.rank, group.of) == (0, 1)
        assert smallest() == 0
    assert smallest() > 0
    with pytest.raises(KeyError), processes("cpu"):
        raise KeyError
    assert smallest() > 0
