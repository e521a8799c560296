"""Restormer against its formulas in NumPy, float64, and the properties that its design has."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from scipy.special import erf

from isp.nets.published import ROWS
from isp.nets.restormer import GDFN, MDTA, LayerNorm, Restormer, RestormerRGB

SMALL = {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1}


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for p in module.parameters():
        p.data = torch.randn(p.shape, dtype=torch.float64)
    return module.eval()


def pointwise(x, weight):
    """x: C H W, weight: D C 1 1. D H W."""
    return np.einsum("dc,chw->dhw", weight[:, :, 0, 0], x)


def depthwise(x, weight):
    """x: C H W, weight: C 1 3 3; zeros beyond the edges."""
    planes = [correlate(plane, kernel[0], mode="constant") for plane, kernel in zip(x, weight, strict=True)]
    return np.stack(planes)


def arrays(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("bias_free", [True, False])
def test_layer_norm(bias_free):
    norm = randomised(LayerNorm(5, bias_free))
    x = torch.randn(1, 5, 3, 4, dtype=torch.float64) + 2
    p = arrays(norm)
    expected = np.empty((5, 3, 4))
    for i in range(3):
        for j in range(4):
            site = x[0, :, i, j].numpy()
            sigma = np.sqrt(np.mean((site - site.mean()) ** 2) + 1e-5)
            if bias_free:
                expected[:, i, j] = site / sigma * p["body.weight"]
            else:
                expected[:, i, j] = (site - site.mean()) / sigma * p["body.weight"] + p["body.bias"]
    np.testing.assert_allclose(norm(x)[0].detach().numpy(), expected, rtol=1e-12)


def test_transposed_attention():
    """Eq. 1 of the paper, head by head; queries and keys of length 1, the released weights' temperature multiplies."""
    heads, c, h, w = 2, 6, 5, 4
    attention = randomised(MDTA(c, heads))
    x = torch.randn(1, c, h, w, dtype=torch.float64)
    p = arrays(attention)
    q, k, v = np.split(depthwise(pointwise(x[0].numpy(), p["qkv.weight"]), p["qkv_dwconv.weight"]), 3)
    mixed = np.zeros((c, h, w))
    for head in range(heads):
        channels = range(head * c // heads, (head + 1) * c // heads)
        for i in channels:
            similar = np.array([(q[i] * k[j]).sum() / np.linalg.norm(q[i]) / np.linalg.norm(k[j]) for j in channels])
            weights = np.exp(similar * p["temperature"][head, 0, 0])
            mixed[i] = sum(a * v[j] for a, j in zip(weights / weights.sum(), channels, strict=True))
    expected = pointwise(mixed, p["project_out.weight"])
    np.testing.assert_allclose(attention(x)[0].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("width", [1, 6, 48])
def test_feed_forward(width):
    """Eq. 3, all hidden channels at once; their number need not divide into the parts."""
    network = randomised(GDFN(width, 2.66))
    x = torch.randn(1, width, 5, 4, dtype=torch.float64)
    p = arrays(network)
    gate, value = np.split(depthwise(pointwise(x[0].numpy(), p["project_in.weight"]), p["dwconv.weight"]), 2)
    assert len(gate) == int(2.66 * width)
    expected = pointwise(gate * (1 + erf(gate / np.sqrt(2))) / 2 * value, p["project_out.weight"])
    np.testing.assert_allclose(network(x)[0].detach().numpy(), expected, rtol=1e-10, atol=1e-10)


def names(blocks, refinement, norms):
    """The keys of the released weights, written down from their description."""
    block = ["attn.temperature", "attn.qkv.weight", "attn.qkv_dwconv.weight", "attn.project_out.weight"]
    block += ["ffn.project_in.weight", "ffn.dwconv.weight", "ffn.project_out.weight"]
    block += [f"norm{i}.body.{name}" for i in (1, 2) for name in norms]
    counts = {"latent": blocks[3], "refinement": refinement}
    for level in (1, 2, 3):
        counts |= {f"encoder_level{level}": blocks[level - 1], f"decoder_level{level}": blocks[level - 1]}
    keys = {f"{stage}.{i}.{name}" for stage, count in counts.items() for i in range(count) for name in block}
    keys |= {f"{step}.body.0.weight" for step in ("down1_2", "down2_3", "down3_4", "up4_3", "up3_2", "up2_1")}
    return keys | {f"{n}.weight" for n in ("patch_embed.proj", "reduce_chan_level3", "reduce_chan_level2", "output")}


@pytest.mark.parametrize("bias_free", [True, False])
def test_names_of_the_released_weights(bias_free):
    with torch.device("meta"):
        state = RestormerRGB(bias_free=bias_free).state_dict()
    assert set(state) == names((4, 6, 6, 8), 4, ["weight"] if bias_free else ["weight", "bias"])
    assert state["encoder_level3.0.attn.temperature"].shape == (4, 1, 1)
    assert state["decoder_level1.0.ffn.project_in.weight"].shape == (510, 96, 1, 1)


def test_two_stages_have_the_printed_parameters():
    two = next(row for row in ROWS if row.copies == 2)
    assert f"{two.parameters / 1e6:.2f}" == "52.24"


@pytest.mark.parametrize(("network", "scale", "skip"), [(Restormer, 2, False), (RestormerRGB, 1, True)])
def test_long_skip(network, scale, skip):
    """Without what the last convolution adds, the RGB form gives its input back and the raw form nothing."""
    net = network(**SMALL)
    net.output.weight.data.zero_()
    x = torch.rand(1, 3 if skip else 4, 16, 24)
    y = net(x)
    assert torch.equal(y, x) if skip else torch.equal(y, torch.zeros(1, 3, 16 * scale, 24 * scale))


def test_batch_equals_images_one_by_one():
    net = randomised(Restormer(**SMALL))
    x = torch.rand(2, 4, 24, 16, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.cat([net(x[:1]), net(x[1:])]), rtol=1e-9, atol=1e-9)


def test_shift_in_darkness_shifts_the_output():
    """Without biases black stays black, so what moves by a multiple of 8 in it moves alone; the attention, which is
    over all sites, does not notice."""
    torch.manual_seed(0)
    net = Restormer(**SMALL).double().eval()
    x = torch.zeros(1, 4, 208, 208, dtype=torch.float64)
    x[:, :, 92:108, 92:108] = torch.rand(1, 4, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        still, moved = net(x), net(x.roll((8, -8), (2, 3)))
    assert still.abs().max() > 0
    torch.testing.assert_close(moved, still.roll((16, -16), (2, 3)), rtol=1e-9, atol=1e-12)


def test_number_of_levels():
    with pytest.raises(ValueError, match="num_blocks has 3 levels; expected 4"):
        Restormer(num_blocks=(1, 1, 1))
