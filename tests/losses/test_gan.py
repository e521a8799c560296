"""Adversarial losses by hand, their balance, and that following them does what each side wants."""

import math

import pytest
import torch

from isp.losses import discriminator_loss, generator_loss
from isp.losses.gan import DISCRIMINATOR, GENERATOR

KINDS = ("vanilla", "lsgan", "hinge", "relativistic")


def cross_entropy(logit: float, label: int) -> float:
    """From the probability, as Goodfellow writes it."""
    p = 1 / (1 + math.exp(-logit))
    return -math.log(p if label else 1 - p)


def test_by_hand() -> None:
    g, r = torch.tensor([0.5, -2.0], dtype=torch.float64), torch.tensor([1.5, -0.3], dtype=torch.float64)
    pairs, mean_g, mean_r = ((0.5, 1.5), (-2, -0.3)), -0.75, 0.6
    expected = {
        "vanilla": (
            [cross_entropy(a, 1) for a, _ in pairs],
            [cross_entropy(a, 0) + cross_entropy(b, 1) for a, b in pairs],
        ),
        "lsgan": ([0.25, 9], [0.25 + 0.25, 4 + 1.69]),
        "hinge": ([-0.5, 2], [1.5 + 0, 0 + 1.3]),
    }
    expected["relativistic"] = (
        [cross_entropy(a - mean_r, 1) + cross_entropy(b - mean_g, 0) for a, b in pairs],
        [cross_entropy(a - mean_r, 0) + cross_entropy(b - mean_g, 1) for a, b in pairs],
    )
    assert set(expected) == set(KINDS) == set(GENERATOR) == set(DISCRIMINATOR)
    for kind, (generator, discriminator) in expected.items():
        assert generator_loss(kind, g, r).tolist() == pytest.approx(generator)
        assert discriminator_loss(kind, g, r).tolist() == pytest.approx(discriminator)


@pytest.mark.parametrize("kind", KINDS)
def test_sites_are_averaged(kind: str) -> None:
    g, r = torch.randn(2, 3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    for loss in (generator_loss, discriminator_loss):
        value = loss(kind, g, r)
        assert value.shape == (3,)
        if kind != "relativistic":
            sites = loss(kind, g[0].flatten(), r[0].flatten())
            assert value[0].item() == pytest.approx(sites.mean().item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_side_gets_its_way(kind: str) -> None:
    """The generator's gradient raises the logits of its pictures; the discriminator's sets the two apart."""
    for g0, r0 in ((0.3, 0.6), (0.2, 0.1)):
        g = torch.full((2, 1, 2, 2), g0, requires_grad=True)
        r = torch.full((2, 1, 2, 2), r0, requires_grad=True)
        (towards,) = torch.autograd.grad(generator_loss(kind, g, r.detach()).sum(), g)
        assert (towards < 0).all()
        apart_g, apart_r = torch.autograd.grad(discriminator_loss(kind, g, r).sum(), (g, r))
        assert (apart_g > 0).all()
        assert (apart_r < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind: str) -> None:
    g, r = torch.randn(2, 2, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    g, r = g.requires_grad_(), r.requires_grad_()
    for loss in (generator_loss, discriminator_loss):
        assert torch.autograd.gradcheck(lambda a, b, loss=loss: loss(kind, a, b), (g, r))


def test_large_logits_stay_finite() -> None:
    for kind in KINDS:
        assert torch.isfinite(discriminator_loss(kind, torch.tensor([200.0]), torch.tensor([-200.0]))).all()


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="GAN loss is 'wgan'; expected one of vanilla, lsgan, hinge, relativistic"):
        generator_loss("wgan", torch.zeros(1), torch.zeros(1))
