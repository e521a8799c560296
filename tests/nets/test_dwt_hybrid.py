"""The modulation of DWTHybrid."""

import torch

from isp.nets.dwt_hybrid import ResGFM


def test_resgfm_by_hand():
    """Residual 2 x, scale 0.5 and shift 0.25 on the first plane, -1 and 0 on the second: 4 x + 0.25, and x."""
    block = ResGFM(2)
    for conv in (*block.residual, *block.condition):
        if isinstance(conv, torch.nn.Conv2d):
            torch.nn.init.zeros_(conv.weight)
            torch.nn.init.zeros_(conv.bias)
    for plane in range(2):
        block.residual[0].weight.data[plane, plane, 1, 1] = 1
        block.residual[2].weight.data[plane, plane, 1, 1] = 2
    block.condition[2].bias.data = torch.tensor([0.5, -1, 0.25, 0])
    x = torch.rand(1, 2, 4, 4)
    torch.testing.assert_close(block(x), torch.cat([4 * x[:, :1] + 0.25, x[:, 1:]], 1))


def test_resgfm_modulates_by_its_input():
    """The condition is made at each site: where the input differs, so do scale and shift."""
    torch.manual_seed(0)
    block = ResGFM(4).double()
    x = torch.rand(1, 4, 6, 6, dtype=torch.float64)
    hidden = torch.nn.functional.conv2d(x, block.condition[0].weight, block.condition[0].bias, padding=1)
    hidden = torch.where(hidden > 0, hidden, 0.1 * hidden)
    both = torch.einsum("oi,bihw->bohw", block.condition[2].weight[:, :, 0, 0], hidden)
    both = both + block.condition[2].bias[:, None, None]
    inner = torch.nn.functional.conv2d(x, block.residual[0].weight, block.residual[0].bias, padding=1).clamp(min=0)
    inner = torch.nn.functional.conv2d(inner, block.residual[2].weight, block.residual[2].bias, padding=1)
    torch.testing.assert_close(block(x), x + (1 + both[:, :4]) * inner + both[:, 4:])
