"""What every Bayer method must keep, whatever its quality."""

import numpy as np
import pytest
import torch

from isp.raw.cfa import CFA
from isp.stages.demosaic import METHODS, bayer, default_method, demosaic, halo_of, mosaic
from isp.tiling import tiled

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
BAYER = [name for name, method in METHODS.items() if "bayer" in method.kinds]
NOISE = (3.2e-3, 2.5e-5)


def scene(*size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Noise and steps from -0.1 to 3: deep shadows with noise below black, and white-balanced highlights."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(size, generator=generator, dtype=dtype)
    return 3.1 * x * torch.rand((*size[:-2], 1, size[-1]), generator=generator, dtype=dtype).round() - 0.1 * x


@pytest.mark.parametrize("name", BAYER)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("size", [(2, 2), (3, 2), (5, 7), (16, 18), (31, 30)])
def test_known_samples_survive(name, phase, size):
    x = scene(2, 1, *size)
    y = demosaic(x, CFA(phase), name, NOISE)
    assert y.shape == (2, 3, *size)
    assert torch.isfinite(y).all()
    assert torch.equal(mosaic(y, CFA(phase)), x)


@pytest.mark.parametrize("name", BAYER)
def test_methods_keep_samples_by_themselves(name):
    """Nothing hides behind putting samples back: each method returns what it was given where it was measured."""
    x = scene(1, 1, 20, 22, dtype=torch.float64)
    torch.testing.assert_close(mosaic(METHODS[name].function(x, CFA("GRBG")), CFA("GRBG")), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BAYER)
@pytest.mark.parametrize("colour", [(0.5, 0.5, 0.5), (0.9, 0.02, 0.3), (2.1, 1.0, 1.5), (-0.01, 0.004, 0.0)])
def test_a_flat_colour_stays_as_it_is(name, colour):
    truth = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 25, 24)
    y = demosaic(mosaic(truth, CFA("GBRG")), CFA("GBRG"), name, NOISE)
    torch.testing.assert_close(y, truth, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("name", BAYER)
@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, 1), (1, 1)])
def test_phases_agree_after_a_shift(name, down, right):
    x, cfa = scene(1, 1, 48, 50, dtype=torch.float64), CFA("RGGB")
    whole = demosaic(x, cfa, name)
    part = demosaic(x[..., down:, right:], cfa.shifted(down, right), name)
    edge = METHODS[name].halo
    cut = (..., slice(edge, -edge), slice(edge, -edge))
    torch.testing.assert_close(part[cut], whole[..., down:, right:][cut], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BAYER)
@pytest.mark.parametrize("phase", ["RGGB", "GBRG"])
def test_tiles_equal_the_whole(name, phase):
    x, cfa = scene(1, 1, 111, 134), CFA(phase)
    whole = demosaic(x, cfa, name)
    parts = tiled(lambda part: demosaic(part, cfa, name), x, halo_of(name, cfa), tile=36)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BAYER)
def test_the_halo_is_as_large_as_stated(name):
    """A sample changes nothing further away than the halo."""
    x, cfa = scene(1, 1, 64, 64, dtype=torch.float64), CFA("RGGB")
    changed = x.clone()
    changed[..., 31:33, 31:33] += 1
    moved = (demosaic(changed, cfa, name) != demosaic(x, cfa, name)).any(1)[0].nonzero()
    assert int((31 - moved.min(0).values).max()) <= METHODS[name].halo
    assert int((moved.max(0).values - 32).max()) <= METHODS[name].halo


@pytest.mark.parametrize("name", BAYER)
def test_methods_are_odd(name):
    """Noise about black has no sign to prefer: f(-x) = -f(x)."""
    x = scene(1, 1, 20, 20, dtype=torch.float64) - 0.5
    for cfa in (CFA("RGGB"), CFA("GRBG")):
        torch.testing.assert_close(demosaic(-x, cfa, name), -demosaic(x, cfa, name), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", BAYER)
def test_batch_equals_single(name):
    x = scene(3, 1, 18, 20)
    together = demosaic(x, CFA("BGGR"), name)
    apart = torch.cat([demosaic(one[None], CFA("BGGR"), name) for one in x])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["bilinear", "malvar2004", "dlmmse", "msg"])
def test_gradients(name):
    """Smooth but for the absolute values inside, which random samples do not meet at 0."""
    x = scene(1, 1, 6, 8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: demosaic(x, CFA("GRBG"), name, NOISE), x)


@pytest.mark.parametrize("name", ["menon2007", "rcd"])
def test_gradients_where_decisions_hold(name):
    x = scene(1, 1, 12, 12, dtype=torch.float64).requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    demosaic(x, CFA("RGGB"), name).sum().backward()
    step = 1e-7
    with torch.no_grad():
        ahead, behind = (demosaic(x + s * step * direction, CFA("RGGB"), name).sum() for s in (1, -1))
    torch.testing.assert_close((x.grad * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_reflection_goes_as_far_as_asked(n):
    """Against NumPy, beyond the frame's own size."""
    x = np.arange(n * (n + 1.0)).reshape(n, n + 1)
    expected = np.pad(x, ((11, 14), (12, 9)), mode="reflect")
    assert np.array_equal(bayer.reflect(torch.from_numpy(x)[None, None], (11, 14), (12, 9))[0, 0].numpy(), expected)


@pytest.mark.parametrize("name", ["menon2007", "rcd", "dlmmse", "msg"])
def test_directional_methods_follow_stripes(name):
    """Grey stripes at random, up to the limit of the grid: nothing to gain across them, exact along them."""
    stripes = torch.rand(40, generator=torch.Generator().manual_seed(0)).expand(1, 3, 40, 40)
    for truth in (stripes, stripes.mT):
        y = METHODS[name].function(mosaic(truth, CFA("RGGB")), CFA("RGGB"))
        torch.testing.assert_close(y, truth, rtol=0, atol=2e-3)


def test_mosaic_by_hand():
    x = torch.arange(12.0).view(1, 3, 2, 2)  # red 0 1 2 3, green 4 5 6 7, blue 8 9 10 11
    assert mosaic(x, CFA("RGGB")).flatten().tolist() == [0, 5, 6, 11]
    assert mosaic(x, CFA("GBRG")).flatten().tolist() == [4, 9, 2, 7]


def test_errors_name_what_was_expected():
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match=r"'amaze' is unknown; known: bilinear, malvar2004"):
        demosaic(x, CFA("RGGB"), "amaze")
    quad = CFA("RRGGRRGGGGBBGGBB", 4, 4)
    with pytest.raises(ValueError, match=r"'msg' does not treat quad-bayer arrays; those that do: quad-bayer"):
        halo_of("msg", quad)
    with pytest.raises(ValueError, match=r"needs a mosaic B 1 H W of at least 2x2, got \(1, 3, 8, 8\)"):
        demosaic(x.expand(1, 3, 8, 8), CFA("RGGB"), "msg")
    with pytest.raises(ValueError, match=r"at least 2x2, got \(1, 1, 1, 8\)"):
        demosaic(x[..., :1, :], CFA("RGGB"), "msg")
    with pytest.raises(ValueError, match=r"needs an image B 3 H W, got \(1, 1, 8, 8\)"):
        mosaic(x, CFA("RGGB"))


def test_defaults_treat_their_kind():
    for kind in ("bayer", "x-trans", "quad-bayer"):
        assert kind in METHODS[default_method(kind)].kinds
    assert default_method("monochrome") == default_method("linear") == "none"
