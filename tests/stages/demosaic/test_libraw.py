import pytest
import torch

from isp.raw.cfa import CFA
from isp.stages.demosaic import LIBRAW, METHODS, demosaic, halo_of, mosaic

pytest.importorskip("rawpy")


def scene(*size: int) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.05


@pytest.mark.parametrize("phase", ["RGGB", "GRBG", "GBRG", "BGGR"])
@pytest.mark.parametrize("size", [(40, 44), (33, 37)])
def test_linear_is_bilinear(phase, size):
    """LibRaw's LINEAR against our bilinear method on linear values, to a few of its steps: 1.55 / 65535 each."""
    x = scene(2, 1, *size)
    y = LIBRAW["libraw:LINEAR"].function(x, CFA(phase))
    expected = METHODS["bilinear"].function(x.clamp(min=0), CFA(phase))
    torch.testing.assert_close(y[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=0, atol=4e-5)


@pytest.mark.parametrize("name", LIBRAW)
def test_samples_and_flat_fields_survive(name):
    x, cfa = scene(1, 1, 32, 36), CFA("GRBG")
    assert halo_of(name, cfa) is None
    alone = LIBRAW[name].function(x, cfa)
    torch.testing.assert_close(mosaic(alone, cfa), x.clamp(min=0), rtol=0, atol=2e-5)
    assert torch.equal(mosaic(demosaic(x, cfa, name), cfa), x)
    flat = torch.tensor([2.0, 1.0, 1.5]).view(1, 3, 1, 1).expand(1, 3, 32, 36)
    inside = demosaic(mosaic(flat, cfa), cfa, name)[..., 4:-4, 4:-4]  # AAHD fails in the corners
    torch.testing.assert_close(inside, flat[..., 4:-4, 4:-4], rtol=0, atol=4e-5)


def test_errors():
    with pytest.raises(ValueError, match="libraw:AHD needs at least 22x22 pixels, got"):
        demosaic(scene(1, 1, 16, 40), CFA("RGGB"), "libraw:AHD")
    with pytest.raises(ValueError, match="libraw:DHT is not differentiable"):
        demosaic(scene(1, 1, 32, 32).requires_grad_(), CFA("RGGB"), "libraw:DHT")
    with pytest.raises(ValueError, match=r"unknown; known: .*libraw:AHD"):
        demosaic(scene(1, 1, 32, 32), CFA("RGGB"), "libraw:AMAZE")
