"""X-Restormer against its formulas in NumPy, float64, and the properties that its design has."""

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from isp.nets.xrestormer import OCA, XRestormer, XRestormerBlock, XRestormerRGB, windows

SMALL = {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "window_size": 4}


@pytest.mark.parametrize(("size", "overlap"), [(8, 4), (4, 2), (4, 0)])
def test_windows_are_slices(size, overlap):
    x = torch.rand(2, 3, 2 * size, 3 * size)
    found = windows(x, size, overlap)
    padded = pad(x, [overlap // 2] * 4)
    for i in range(2):
        for j in range(3):
            rows, columns = slice(i * size, (i + 1) * size + overlap), slice(j * size, (j + 1) * size + overlap)
            assert torch.equal(found[:, :, i, :, j], padded[:, :, rows, columns])


def test_overlapping_attention():
    """Site by site: softmax over the keys of the larger window of q . (k + rel_height[dy] + rel_width[dx]), scaled."""
    torch.manual_seed(0)
    window, half, heads, d, width = 4, 1, 2, 3, 5
    attention = OCA(width, window, 0.5, heads, d).double()
    x = torch.randn(1, width, 8, 12, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in attention.named_parameters()}
    q, k, v = np.split(np.einsum("dc,chw->dhw", p["qkv.weight"][:, :, 0, 0], x[0].numpy()), 3)
    along = window + 2 * half  # keys along a side
    mixed = np.zeros((heads * d, 8, 12))
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        for y in range(8):
            for x_ in range(12):
                top, left = y // window * window - half, x_ // window * window - half  # of the larger window
                logits, values = [], []
                for i in range(along):
                    for j in range(along):
                        inside = 0 <= top + i < 8 and 0 <= left + j < 12
                        key = k[part, top + i, left + j] if inside else np.zeros(d)
                        values.append(v[part, top + i, left + j] if inside else np.zeros(d))
                        # entry along - 1 is that of a key in the first row for a query in the window's first row
                        place = p["rel_pos_emb.rel_height"][along - 1 + i - y % window]
                        place = place + p["rel_pos_emb.rel_width"][along - 1 + j - x_ % window]
                        logits.append(q[part, y, x_] @ (key + place) / np.sqrt(d))
                weights = np.exp(np.array(logits))
                mixed[part, y, x_] = weights / weights.sum() @ np.array(values)
    expected = np.einsum("dc,chw->dhw", p["project_out.weight"][:, :, 0, 0], mixed)
    np.testing.assert_allclose(attention(x)[0].detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        np.testing.assert_allclose(attention(x)[0].numpy(), expected, rtol=1e-10, atol=1e-12)


def test_names_of_the_released_weights():
    """A block's keys, and the stages, as in the release (which has norms with bias)."""
    with torch.device("meta"):
        state = XRestormerRGB().state_dict()
    keys = {f"{kind}_ffn.{name}.weight" for kind in ("channel", "spatial") for name in ("project_in", "dwconv")}
    keys |= {f"{kind}_{name}.project_out.weight" for kind in ("channel", "spatial") for name in ("attn", "ffn")}
    keys |= {"channel_attn.temperature", "channel_attn.qkv.weight", "channel_attn.qkv_dwconv.weight"}
    keys |= {"spatial_attn.qkv.weight", "spatial_attn.rel_pos_emb.rel_height", "spatial_attn.rel_pos_emb.rel_width"}
    keys |= {f"norm{i}.body.{name}" for i in (1, 2, 3, 4) for name in ("weight", "bias")}
    counts = {"encoder_level1": 2, "encoder_level2": 4, "encoder_level3": 4, "latent": 4}
    counts |= {"decoder_level3": 4, "decoder_level2": 4, "decoder_level1": 2, "refinement": 4}
    blocks = {f"{stage}.{i}.{key}" for stage, count in counts.items() for i in range(count) for key in keys}
    outside = {f"{step}.body.0.weight" for step in ("down1_2", "down2_3", "down3_4", "up4_3", "up3_2", "up2_1")}
    outside |= {f"{n}.weight" for n in ("patch_embed.proj", "reduce_chan_level3", "reduce_chan_level2", "output")}
    assert set(state) == blocks | outside
    assert state["latent.0.spatial_attn.rel_pos_emb.rel_height"].shape == (23, 16)
    assert state["latent.0.spatial_attn.qkv.weight"].shape == (3 * 8 * 16, 384, 1, 1)


@pytest.mark.parametrize(("network", "planes"), [(XRestormer, 4), (XRestormerRGB, 3)])
def test_long_skip(network, planes):
    """Without what the last convolution adds, the RGB form gives its input back and the raw form nothing."""
    net = network(**SMALL)
    net.output.weight.data.zero_()
    x = torch.rand(1, planes, 32, 32)
    y = net(x)
    assert torch.equal(y, x) if planes == 3 else torch.equal(y, torch.zeros(1, 3, 64, 64))


def test_batch_equals_images_one_by_one():
    torch.manual_seed(0)
    net = XRestormer(**SMALL).double().eval()
    x = torch.rand(2, 4, 32, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.cat([net(x[:1]), net(x[1:])]), rtol=1e-9, atol=1e-12)


def test_shift_by_a_window_in_darkness_shifts_the_output():
    """Without biases black stays black, so what moves by whole windows in it moves alone, and otherwise does not."""
    torch.manual_seed(0)
    block = XRestormerBlock(6, 2, 2, 8, 0.5, 4, 2.66, bias_free=True).double()
    x = torch.zeros(1, 6, 64, 64, dtype=torch.float64)
    x[:, :, 28:36, 28:36] = torch.rand(1, 6, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        still, window, less = (block(x.roll((n, -n), (2, 3))) for n in (0, 8, 4))
    assert still.abs().max() > 0
    torch.testing.assert_close(window, still.roll((8, -8), (2, 3)), rtol=1e-9, atol=1e-12)
    assert (less - still.roll((4, -4), (2, 3))).abs().max() > 1e-3
