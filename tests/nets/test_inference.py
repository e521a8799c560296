"""One model on whole mosaics: phases, sizes, tiles against the whole."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from nets.test_networks import SMALL
from torch import Tensor, nn

from isp.nets import NETWORKS
from isp.nets.inference import develop_mosaic, sample_bytes
from isp.nets.model import Model, ModelConfig
from isp.raw.cfa import CFA
from isp.stages.demosaic import METHODS, mosaic
from isp.stages.demosaic.curve import decode, encode

PHASES = ("RGGB", "GRBG", "GBRG", "BGGR")
TOE = 1e-3
UNBOUNDED = {
    *("dwt-hybrid", "mialgo-student", "mw-ispnet", "mw-ispnet-rgb", "nafnet", "nafnet-rgb", "wavelet-fusion"),
    *("restormer", "restormer-rgb", "xrestormer", "xrestormer-rgb"),
}


def flat(**arguments: Any) -> Model:
    """A small flat network over msg whose every weight counts, of reach 6 + 3 packed samples or so."""
    torch.manual_seed(0)
    config = ModelConfig(
        "flat", {"planes": 20, "width": 8, "blocks": 2, **arguments}, ("packed", "sigma", "base"), "msg", True, TOE
    )
    model = Model(config).eval()
    nn.init.normal_(model.network.tail.weight, std=0.1)
    return model


class Global(nn.Module):
    """No real network: every sample depends on the mean of its tile. Its sizes are multiples of 8, at least 24."""

    multiple, minimum, reach = 8, 24, None

    def forward(self, packed: Tensor, sigma: Tensor) -> Tensor:
        assert packed.shape == sigma.shape
        assert all(n % 8 == 0 and n >= 24 for n in packed.shape[-2:])
        rgb = torch.stack([packed[:, 0], packed[:, 1:3].mean(1), packed[:, 3]], 1)
        return rgb.repeat_interleave(2, 2).repeat_interleave(2, 3) * (1 + rgb.mean((1, 2, 3), keepdim=True))


def scene(height: int, width: int, seed: int = 0) -> Tensor:
    """1 3 H W: smooth colours and some noise."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand((1, 3, 6, 6), generator=generator)
    x = torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic")
    return x + 0.05 * torch.randn(x.shape, generator=generator)


def test_every_phase_gives_the_same_picture():
    """Four crops of one mosaic, by a row and a column: the same picture wherever they are away from the crop's edge."""
    model, picture = flat(), scene(95, 83)
    x, sigma = mosaic(picture, CFA("RGGB")), torch.full((1, 1, 95, 83), 0.02)
    whole = develop_mosaic(model, x, sigma, CFA("RGGB"))
    away = 2 * model.reach + 2
    for phase in PHASES:
        down, right = divmod(PHASES.index(phase), 2)
        assert CFA("RGGB").shifted(down, right) == CFA(phase)
        part = develop_mosaic(model, x[..., down:, right:], sigma[..., down:, right:], CFA(phase))
        difference = (part - whole[..., down:, right:])[..., away:-away, away:-away]
        assert difference.numel() > 100
        assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("phase", PHASES)
def test_an_untrained_residual_is_its_base(phase):
    """With its tail at 0 the flat network is msg under the curve, in every phase and up to the last border pixel."""
    model = flat()
    nn.init.zeros_(model.network.tail.weight)
    x = mosaic(scene(61, 47), CFA(phase))
    expected = decode(METHODS["msg"].function(encode(x, TOE), CFA(phase)), TOE)
    developed = develop_mosaic(model, x, torch.full_like(x, 0.02), CFA(phase))
    assert (developed - expected).abs().max() < 1e-5


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2), (5, 7), (33, 2), (64, 64), (301, 203)])
@pytest.mark.parametrize("phase", PHASES)
def test_any_size(size, phase):
    """A grey stays the grey, and the shape is the mosaic's."""
    for model in (Global(), flat()):
        x = torch.full((2, 1, *size), 0.25)
        y = develop_mosaic(model, x, torch.zeros_like(x), CFA(phase), tile=160)
        assert y.shape == (2, 3, *size)
        if isinstance(model, Global):
            assert (y - 0.25 * 1.25).abs().max() < 1e-6


@pytest.mark.parametrize(("tile", "batch"), [(96, 1), (100, 3), (128, None), (210, 2)])
def test_tiles_equal_the_whole(tile, batch):
    model = flat()
    x = mosaic(scene(333, 275), CFA("GBRG")).expand(2, -1, -1, -1) * torch.tensor([1.0, 0.5]).view(2, 1, 1, 1)
    sigma = 0.02 + 0.01 * torch.rand_like(x)
    whole = develop_mosaic(model, x, sigma, CFA("GBRG"), tile=1024)
    assert (develop_mosaic(model, x, sigma, CFA("GBRG"), tile=tile, batch=batch) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in UNBOUNDED)) for n in SMALL])
def test_every_network_in_tiles(name):
    """Bounded reach: the whole's values to rounding. Unbounded: near them."""
    rgb = NETWORKS[name].kind == "rgb"
    arguments = SMALL[name] if rgb else {"planes": 8, **SMALL[name]}
    model = Model(ModelConfig(name, arguments, ("packed", "sigma"), "bilinear" if rgb else None)).eval()
    model = model if model.reach is None else model.double()
    torch.manual_seed(0)
    for p in model.parameters():
        if not p.any():
            p.data.normal_(0, 0.1)
    shared = 32 if model.reach is None else 2 * model.reach
    side = 2 * (shared + 64 + 2 * model.multiple)
    x = mosaic(scene(side + 90, side // (4 if model.reach is None else 2) + 9), CFA("GRBG"))
    x = x if model.reach is None else x.double()
    whole = develop_mosaic(model, x, 0.05 * x.abs(), CFA("GRBG"), tile=4096)
    parts = develop_mosaic(model, x, 0.05 * x.abs(), CFA("GRBG"), tile=side)
    difference = (parts - whole).abs().max() / whole.abs().max()
    assert whole.isfinite().all()
    assert whole.std() > 1e-3
    assert (model.reach is None) == (name in UNBOUNDED)
    if model.reach is None:
        assert (parts - whole).abs().mean() < 0.05 * whole.std()
    else:
        assert difference < 1e-5


def test_tiles_start_at_multiples_and_overlap_enough():
    """A network with pooling (reach bounded, multiple 4), tile by tile: the whole's values everywhere."""

    class Pooled(nn.Module):
        multiple, minimum, reach = 4, 8, 8

        def forward(self, packed: Tensor, sigma: Tensor) -> Tensor:
            pooled = nn.functional.avg_pool2d(packed[:, :3], 4)
            pooled = nn.functional.conv2d(pooled, torch.ones(3, 1, 3, 3), padding=1, groups=3)
            return pooled.repeat_interleave(8, 2).repeat_interleave(8, 3)

    x = mosaic(scene(301, 203), CFA("BGGR"))
    whole, parts = (develop_mosaic(Pooled(), x, x, CFA("BGGR"), tile=tile) for tile in (1024, 66))
    assert whole.std() > 0.1
    assert (whole - parts).abs().max() < 1e-5


def test_no_seams_on_a_flat_field_and_a_gradient():
    """Steps between neighbouring pixels of one colour are no larger at the tiles' borders than elsewhere."""
    ramp = torch.linspace(0, 1, 700).view(1, 1, 1, -1).expand(1, 1, 500, -1)
    for x in (torch.full((1, 1, 500, 700), 0.18), ramp.contiguous()):
        y = develop_mosaic(flat(), x, torch.full_like(x, 0.01), CFA("RGGB"), tile=192)
        whole = develop_mosaic(flat(), x, torch.full_like(x, 0.01), CFA("RGGB"), tile=2048)
        assert (y - whole).abs().max() < 1e-5
        z = develop_mosaic(Global(), x, x, CFA("RGGB"), tile=192)
        slope = (z[..., 2:] - z[..., :-2]).abs().max()  # of a tile's mean, spread over the 64 pixels of a ramp
        assert slope < 0.03


def test_gradients_reach_the_mosaic_and_the_sigma():
    x = mosaic(scene(150, 40), CFA("GRBG")).requires_grad_()
    sigma = torch.full_like(x, 0.02).requires_grad_()
    develop_mosaic(flat(), x, sigma, CFA("GRBG"), tile=96).square().sum().backward()
    assert (x.grad != 0).all()
    assert (sigma.grad != 0).float().mean() > 0.99
    with torch.no_grad():
        again = develop_mosaic(flat(), x, sigma, CFA("GRBG"))
    assert not again.requires_grad
    assert not again.is_inference(), "callers may use it in a graph of their own"


def test_bfloat16_is_near_float32_and_leaves_the_base_alone():
    model = flat()
    x = mosaic(scene(64, 64), CFA("RGGB"))
    full = develop_mosaic(model, x, torch.full_like(x, 0.02), CFA("RGGB"))
    half = develop_mosaic(model, x, torch.full_like(x, 0.02), CFA("RGGB"), dtype=torch.bfloat16)
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().mean() < 0.01 * full.abs().mean()
    nn.init.zeros_(model.network.tail.weight)
    full, half = (
        develop_mosaic(model, x, torch.full_like(x, 0.02), CFA("RGGB"), dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert (half - full).abs().max() < 1e-6


def test_no_compiler_is_imported():
    """Seconds, which PyTorch takes for its own at the first draw of a normal number on the device meta, as where a
    runtime runs the network, and where memory is counted."""
    code = """
import sys, torch
from isp.nets.inference import sample_bytes
from isp.nets.model import Model, ModelConfig
config = ModelConfig("pyramid", {"planes": 20}, inputs=("packed", "sigma", "base"), base="msg", toe=1e-3)
with torch.device("meta"):
    Model(config)
assert sample_bytes(Model(config)) > 0
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_of_a_tile_is_counted():
    """By hand, for two convolutions of 16 and 12 planes and a shuffle."""

    class Two(nn.Module):
        multiple = minimum = 1
        reach = 2

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 12, 3, padding=1)

        def forward(self, packed: Tensor, sigma: Tensor) -> Tensor:
            return nn.functional.pixel_shuffle(self.second(self.first(packed)), 2)

    # both convolutions' outputs are alive together; then the second's and its shuffled copy
    assert sample_bytes(Two()) == pytest.approx(1.5 * 4 * 28)
    assert sample_bytes(flat(width=128)) > 1.7 * sample_bytes(flat(width=64))
    x = torch.rand(1, 1, 400, 400)
    tight = develop_mosaic(flat(), x, x, CFA("RGGB"), memory=6e6)
    assert (tight - develop_mosaic(flat(), x, x, CFA("RGGB"))).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cfa": CFA("RRGGRRGGGGBBGGBB", 4, 4)}, "models take Bayer mosaics, got quad-bayer"),
        ({"mosaic": torch.zeros(1, 1, 1, 8)}, "at least 2x2, got"),
        ({"sigma": torch.zeros(1, 1, 4, 4)}, "expected the mosaic's shape"),
        ({"tile": 20}, "tile is 20 pixels; expected at least"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    arguments = {
        "mosaic": torch.zeros(1, 1, 8, 8),
        "sigma": torch.zeros(1, 1, 8, 8),
        "cfa": CFA("RGGB"),
        "tile": None,
        **change,
    }
    with pytest.raises(ValueError, match=message):
        develop_mosaic(flat(), **arguments)
