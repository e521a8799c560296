"""MW-ISPNet: its outermost skip."""

import pytest
import torch

from isp.nets.mw_ispnet import MWISPNet


@pytest.mark.parametrize("planes", [4, 8])
def test_outermost_skip_is_the_mosaic(planes: int):
    """With nothing from the levels, the four planes of the mosaic come out; a noise map behind them does not."""
    network = MWISPNet(planes, widths=(4, 4, 4), blocks=1, reduction=2)
    torch.nn.init.zeros_(network.up3[1].weight)
    torch.nn.init.zeros_(network.up3[1].bias)
    x = torch.rand(1, planes, 8, 16)
    assert torch.equal(network.body(x), x[:, :4])
