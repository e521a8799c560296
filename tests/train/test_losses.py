"""Domains and a phase's losses, against NumPy in float64."""

import numpy as np
import pytest
import torch

from isp.train.config import Phase
from isp.train.data import Batch
from isp.train.domains import DOMAINS, to_domain
from isp.train.losses import PhaseLoss, unsharp_mask

MATRIX = np.array([[1.7, -0.6, -0.1], [-0.2, 1.5, -0.3], [0.0, -0.5, 1.5]])


def pictures(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.1, 1.4, (2, 3, 6, 8))


def batch(target: np.ndarray) -> Batch:
    rgb, empty = torch.from_numpy(target), torch.zeros(2, 4, 3, 4)
    return Batch(empty, empty, rgb, torch.from_numpy(MATRIX).expand(2, 3, 3))


def srgb(x: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, odd for negatives."""
    size = np.abs(x)
    return np.sign(x) * np.where(size <= 0.0031308, 12.92 * size, 1.055 * size ** (1 / 2.4) - 0.055)


def test_domains_are_their_formulas():
    x = pictures()
    display = srgb(np.einsum("ij,bjhw->bihw", MATRIX, x))
    expected = {
        "camera": x,
        "root": np.sign(x) * (np.cbrt(np.abs(x) + 1e-3) - 0.1),
        "display": display,
        "display-clipped": display.clip(0, 1),
    }
    assert expected.keys() == DOMAINS.keys()
    for domain, values in expected.items():
        found = to_domain(torch.from_numpy(x), torch.from_numpy(MATRIX).expand(2, 3, 3), domain)
        np.testing.assert_allclose(found.numpy(), values, atol=1e-5)


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_gradients(domain):
    matrix = torch.from_numpy(MATRIX)[None]
    x = torch.from_numpy(pictures()[:1, :, :2, :2]).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: to_domain(x, matrix, domain), (x,))


def test_beyond_white_there_is_a_gradient_unless_clipped():
    for domain, expected in (("display", True), ("display-clipped", False)):
        x = torch.tensor([1.5, -0.2]).view(2, 1, 1, 1).repeat(1, 3, 1, 1).requires_grad_()
        to_domain(x, torch.eye(3).expand(2, 3, 3), domain).sum().backward()
        assert bool((x.grad != 0).all()) == expected


def test_terms_are_weighted_and_named():
    x, y = pictures(1), pictures(2)
    losses = {"camera": {"l2": 0.5}, "display": {"l1": 2.0}}
    terms = PhaseLoss(Phase(1, 1, 1, losses))(torch.from_numpy(x), batch(y))
    shown = [srgb(np.einsum("ij,bjhw->bihw", MATRIX, z)) for z in (x, y)]
    assert terms.keys() == {"camera.l2", "display.l1"}
    assert float(terms["camera.l2"]) == pytest.approx(0.5 * np.square(x - y).mean())
    assert float(terms["display.l1"]) == pytest.approx(2 * np.abs(shown[0] - shown[1]).mean(), rel=1e-5)


def test_another_truth_takes_the_target_s_place():
    x, y = torch.from_numpy(pictures(1)), torch.from_numpy(pictures(2))
    terms = PhaseLoss(Phase(1, 1, 1, {"camera": {"l1": 1}}))(x, batch(y.numpy()), truth=x)
    assert float(terms["camera.l1"]) == 0


class TestUnsharpMask:
    def test_flat_stays_flat_and_the_mean_stays(self):
        assert torch.allclose(unsharp_mask(torch.full((1, 3, 20, 20), 0.4), 0.5, 2.0), torch.tensor(0.4))

    def test_a_point_gains_what_the_gaussian_takes(self):
        x = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
        x[..., 15, 15] = 1
        y = unsharp_mask(x, 0.5, 1.5)
        at = np.arange(-4, 5)
        line = np.exp(-(at**2) / (2 * 1.5**2))
        line /= line.sum()
        expected = -0.5 * np.outer(line, line)
        expected[4, 4] += 1.5
        np.testing.assert_allclose(y[0, 0, 11:20, 11:20].numpy(), expected, atol=1e-12)

    def test_the_target_alone_is_sharpened(self):
        sharp = torch.from_numpy(pictures(3))
        phase = Phase(1, 1, 1, {"camera": {"l1": 1}}, usm=(0.5, 0.6))
        assert float(PhaseLoss(phase)(unsharp_mask(sharp, 0.5, 0.6), batch(sharp.numpy()))["camera.l1"]) == 0
