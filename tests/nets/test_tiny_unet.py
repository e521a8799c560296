"""The tiny wavelet UNet: its global residual, and the widths it takes."""

import pytest
import torch

from isp.nets.tiny_unet import TinyUNet, TinyUNetRGB


def test_rgb_form_corrects_its_input():
    network = TinyUNetRGB(widths=(4, 8, 12))
    torch.nn.init.zeros_(network.tail.weight)
    torch.nn.init.zeros_(network.tail.bias)
    x = torch.rand(1, 3, 8, 4)
    assert torch.equal(network(x), x)


def test_refuses_widths_that_haar_cannot_make():
    with pytest.raises(ValueError, match=r"widths are \(16, 26, 48\); after the first, expected multiples of 4"):
        TinyUNet(widths=(16, 26, 48))
