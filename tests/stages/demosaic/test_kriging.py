"""X-Trans and Quad-Bayer demosaicing: what any phase, size and tile must give, and how good it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from isp.raw.cfa import CANONICAL, CFA
from isp.stages.demosaic import kriging
from isp.stages.demosaic.quad_bayer import HALO as QUAD_HALO
from isp.stages.demosaic.quad_bayer import quad_bayer
from isp.stages.demosaic.xtrans import HALO as XTRANS_HALO
from isp.stages.demosaic.xtrans import xtrans
from isp.tiling import tiled

XTRANS, QUAD = CFA(*CANONICAL["x-trans"]), CFA(*CANONICAL["quad-bayer"])
METHODS = [
    pytest.param(xtrans, XTRANS, XTRANS_HALO, id="x-trans"),
    pytest.param(quad_bayer, QUAD, QUAD_HALO, id="quad"),
]


def sample(x: Tensor, cfa: CFA) -> Tensor:
    """The mosaic B 1 H W of B 3 H W."""
    return x.gather(1, torch.from_numpy(cfa.channel_map(*x.shape[-2:])).expand(len(x), 1, -1, -1))


def transposed(cfa: CFA) -> CFA:
    letters = np.array(list(cfa.pattern)).reshape(cfa.rows, cfa.cols).T
    return CFA("".join(letters.ravel()), cfa.cols, cfa.rows)


def phases(cfa: CFA) -> list[CFA]:
    return [c.shifted(y, x) for c in (cfa, transposed(cfa)) for y in range(cfa.rows) for x in range(cfa.cols)]


def smooth(height: int, width: int) -> Tensor:
    """1 3 H W, float64: waves of its own in each channel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [0.5 + 0.3 * torch.sin(0.31 * y + 0.2 * c) * torch.cos(0.23 * x - 0.3 * c) for c in range(3)]
    return torch.stack(waves)[None].double()


@pytest.mark.parametrize(("method", "cfa", "halo"), METHODS)
def test_every_phase_keeps_samples_flat_fields_and_planes(method, cfa: CFA, halo: int) -> None:
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (30, 31)), indexing="ij")
    plane = torch.stack([0.2 + 0.01 * x, 0.7 - 0.006 * y, 0.4 + 0.004 * x - 0.003 * y])[None]
    flat = torch.tensor([0.8, 0.5, 0.1], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 30, 31)
    for phase in phases(cfa):
        assert (method(sample(flat, phase), phase) - flat).abs().max() < 1e-11, phase
        out = method(sample(plane, phase), phase)
        assert torch.equal(sample(out, phase), sample(plane, phase)), phase
        inside = (..., slice(kriging.RADIUS, -kriging.RADIUS), slice(kriging.RADIUS, -kriging.RADIUS))
        assert (out - plane)[inside].abs().max() < 1e-11, phase


@pytest.mark.parametrize(("method", "cfa", "halo"), METHODS)
def test_a_shifted_frame_gives_the_shifted_picture(method, cfa: CFA, halo: int) -> None:
    truth = smooth(70, 72)
    whole = method(sample(truth, cfa), cfa)
    for down, right in ((1, 0), (0, 1), (3, 2), (5, 5)):
        part = truth[..., down:, right:]
        out = method(sample(part, cfa.shifted(down, right)), cfa.shifted(down, right))
        inside = (..., slice(halo, -halo), slice(halo, -halo))
        assert (out - whole[..., down:, right:])[inside].abs().max() < 1e-12


def test_a_turned_sensor_gives_the_turned_picture() -> None:
    """X-Trans transposed is another array; the models are symmetric, so the result is the same, transposed."""
    truth = smooth(60, 66)
    out = xtrans(sample(truth.mT, transposed(XTRANS)), transposed(XTRANS)).mT
    inside = (..., slice(XTRANS_HALO, -XTRANS_HALO), slice(XTRANS_HALO, -XTRANS_HALO))
    assert (out - xtrans(sample(truth, XTRANS), XTRANS))[inside].abs().max() < 1e-3


@pytest.mark.parametrize(("method", "cfa", "halo"), METHODS)
@pytest.mark.parametrize("size", [(4, 4), (5, 9), (6, 6), (7, 40), (23, 25)])
def test_any_size_and_batch(method, cfa: CFA, halo: int, size: tuple[int, int]) -> None:
    truth = torch.cat([smooth(*size), smooth(*size).flip(-1)]).float()
    out = method(sample(truth, cfa), cfa)
    assert out.shape == truth.shape
    assert out.dtype == torch.float32
    assert (out - truth).abs().max() < 0.35
    assert torch.allclose(out[1:], method(sample(truth[1:], cfa), cfa), atol=1e-6)


@pytest.mark.parametrize(("method", "cfa", "halo"), METHODS)
def test_tiles_give_what_the_whole_gives(method, cfa: CFA, halo: int) -> None:
    x = torch.rand(1, 1, 130, 157, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (tiled(lambda part: method(part, cfa), x, halo, tile=48) - method(x, cfa)).abs().max() < 1e-12


@pytest.mark.parametrize(("method", "cfa", "halo"), METHODS)
def test_the_halo_is_what_a_sample_reaches(method, cfa: CFA, halo: int) -> None:
    x = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    picture = method(x, cfa)
    reach = []
    for site in range(48, 54):
        (gradient,) = torch.autograd.grad(picture[0, :, site, site].sum(), x, retain_graph=True)
        reach.append(int((gradient[0, 0].nonzero() - site).abs().max()))
    assert max(reach) == halo


@pytest.mark.parametrize(("method", "cfa", "halo"), METHODS)
def test_gradients(method, cfa: CFA, halo: int) -> None:
    x = torch.rand(1, 1, 7, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda mosaic: method(mosaic, cfa), x, atol=1e-5)


def test_a_filter_is_the_solution_of_its_kriging_system() -> None:
    """One filter against a direct minimisation: no perturbation that keeps planes lowers the expected error."""
    models = xtrans.__globals__["MODELS"]
    bank = kriging._bank(XTRANS, models).reshape(3, 5, 36, 16, 16)
    side = 2 * kriging.RADIUS + 1
    taps = bank[1, 0, 0, :side, :side].ravel()  # the isotropic model's red or blue at the first cell
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2) - kriging.RADIUS
    channel = XTRANS.channels[at[:, 0] % 6, at[:, 1] % 6]
    wanted = (channel[len(at) // 2] + 1) % 3

    def covariance(d: np.ndarray, same: np.ndarray) -> np.ndarray:
        r = np.hypot(d[..., 0], d[..., 1])
        shared = np.exp(-((r / models.isotropic_length) ** models.exponent))
        colour = np.exp(-((r / models.colour_length) ** models.colour_exponent))
        return shared + models.isotropic_colour_variance * colour * same

    between = covariance(at[:, None] - at, channel[:, None] == channel) + models.noise_variance * np.eye(len(at))
    to_site = covariance(at, channel == wanted)
    for c in range(3):  # unbiased: each channel's weights add up to 1 for the wanted one and to 0 for the others
        assert taps[channel == c].sum() == pytest.approx(float(c == wanted), abs=1e-9)
        assert np.abs(taps[channel == c] @ at[channel == c]).max() < 1e-9
    planes = np.concatenate([(channel == c)[:, None] * np.c_[np.ones(len(at)), at] for c in range(3)], 1)
    gradient = between @ taps - to_site
    residual = gradient - planes @ np.linalg.lstsq(planes, gradient, rcond=None)[0]
    assert np.abs(residual).max() < 1e-9


def cpsnr(a: Tensor, b: Tensor) -> float:
    """dB over all channels, 8 bits, border 10."""
    difference = (a.clamp(0, 1) * 255).round() - (b * 255).round()
    return float(10 * torch.log10(255**2 / difference[..., 10:-10, 10:-10].square().mean()))


def normalised_mean(y: Tensor, cfa: CFA, radius: int) -> Tensor:
    """B 3 H W: each channel the mean of its samples under a tent, the baseline any array allows."""
    tent = radius + 1 - torch.arange(-radius, radius + 1).abs().float()
    here = torch.from_numpy(cfa.channel_map(*y.shape[-2:])) == torch.arange(3).view(3, 1, 1, 1)
    total, weight = (
        F.conv2d(t, torch.outer(tent, tent)[None, None], padding=radius) for t in (here * y[0], here * 1.0)
    )
    return (total / weight).transpose(0, 1)


@pytest.mark.parametrize(
    ("method", "cfa", "floor", "radius", "gain"), [(xtrans, XTRANS, 38.3, 2, 8.5), (quad_bayer, QUAD, 33.9, 3, 7.0)]
)
def test_kodak(shared: Path, method, cfa: CFA, floor: float, radius: int, gain: float) -> None:
    """Mean CPSNR of every fourth image, mosaicked as encoded, in dB; and what it gains over a normalised mean."""
    values, baseline = [], []
    for path in sorted((shared / "data" / "kodak").glob("*.png"))[::4]:
        truth = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None] / 255
        mosaic = sample(truth, cfa)
        values.append(cpsnr(method(mosaic, cfa), truth))
        baseline.append(cpsnr(normalised_mean(mosaic, cfa, radius), truth))
    assert np.mean(values) > floor
    assert np.mean(values) - np.mean(baseline) > gain
