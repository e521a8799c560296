"""Muon against float64 arithmetic of its own, and PyTorch's Adam. test_engine.py interrupts a run with it."""

import numpy as np
import pytest
import torch
from torch import nn

from isp.nets.b2fnet import B2FNet
from isp.train.muon import LENGTH, MOMENTUM, Muon, groups_of, orthogonal


def polar(matrix: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    return u @ v


class TestOrthogonal:
    @pytest.mark.parametrize("shape", [(16, 144), (144, 16), (12, 12), (1, 9)])
    def test_it_keeps_the_directions_and_makes_lengths_equal(self, shape):
        matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        u, _, v = np.linalg.svd(matrix.numpy(), full_matrices=False)
        inside = u.T @ orthogonal(matrix).numpy() @ v.T  # diagonal: the same singular vectors
        lengths = np.diag(inside)
        assert abs(inside - np.diag(lengths)).max() < 1e-9
        assert lengths.min() > 0.6  # of the paper's polynomial: 0.7 to 1.2
        assert lengths.max() < 1.25

    def test_of_nothing_it_is_nothing(self):
        assert (orthogonal(torch.zeros(3, 5)) == 0).all()

    def test_scale_says_nothing(self):
        matrix = torch.randn(8, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(orthogonal(1e-8 * matrix), orthogonal(matrix))

    def test_what_is_next_to_nothing_stays_finite(self):
        assert orthogonal(torch.full((4, 9), 1e-21)).abs().max() < 1e-9


@pytest.mark.parametrize("kind", ["convolution", "transposed", "linear"])
def test_steps_of_a_weight(kind):
    torch.manual_seed(0)
    layer = {
        "convolution": nn.Conv2d(5, 3, 3),
        "transposed": nn.ConvTranspose2d(3, 5, 2, 2),
        "linear": nn.Linear(7, 4),
    }[kind].double()
    optimiser = Muon(groups_of(layer), lr=0.1, weight_decay=0.5)
    weight = layer.weight.detach().numpy().copy()
    mean = np.zeros_like(weight)
    for _ in range(4):
        layer.weight.grad = torch.randn_like(layer.weight)
        gradient = layer.weight.grad.numpy()
        mean = MOMENTUM * mean + (1 - MOMENTUM) * gradient
        ahead = MOMENTUM * mean + (1 - MOMENTUM) * gradient
        if kind == "transposed":
            ahead = ahead.transpose(1, 0, 2, 3)
        flat = ahead.reshape(len(ahead), -1)
        step = polar(flat).reshape(ahead.shape) * LENGTH * np.sqrt(max(flat.shape))
        before = layer.weight.detach().numpy().copy()
        optimiser.step()
        taken = before * (1 - 0.1 * 0.5) - layer.weight.detach().numpy()
        wanted = 0.1 * (step.transpose(1, 0, 2, 3) if kind == "transposed" else step)
        assert (taken * wanted).sum() / np.sqrt((taken**2).sum() * (wanted**2).sum()) > 0.97
        assert 0.7 < np.sqrt((taken**2).sum() / (wanted**2).sum()) < 1.2


def test_a_layer_without_gradients_comes_to_rest():
    """The momentum shrinks for ever, while a step's length says nothing of it."""
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3)
    optimiser = Muon(groups_of(layer), lr=1e-3, weight_decay=0)
    layer.weight.grad = 1e-3 * torch.randn_like(layer.weight)
    optimiser.step()
    layer.weight.grad = torch.zeros_like(layer.weight)
    for _ in range(600):
        optimiser.step()
    before = layer.weight.detach().clone()
    for _ in range(2000):
        optimiser.step()
    assert (layer.weight - before).abs().max() < 1e-6


def test_all_else_is_adam():
    torch.manual_seed(0)
    ours, theirs = nn.GroupNorm(2, 8), nn.GroupNorm(2, 8)
    a = Muon(groups_of(ours), lr=0.01, betas=(0.8, 0.95))
    b = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.8, 0.95))
    for _ in range(20):
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        a.step()
        b.step()
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_every_parameter_is_in_one_group():
    net = nn.Sequential(B2FNet(), nn.Conv2d(8, 8, 3, groups=8), nn.GroupNorm(2, 8), nn.Linear(3, 3))
    groups = {group["kind"]: group["params"] for group in groups_of(net)}
    listed = [id(p) for params in groups.values() for p in params]
    assert sorted(listed) == sorted(id(p) for p in net.parameters())
    assert all(p.ndim == 1 or p is net[1].weight for p in groups["vector"])
    assert len(groups["transposed"]) == 7  # two in each UNet, one in the tail


def test_an_uneven_problem_is_learned_faster_than_by_adam():
    """Least squares whose inputs have variances from 1 to 1e-4: Adam follows the large ones."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.linalg.qr(torch.randn(32, 32, generator=generator))[0]
    inputs = torch.randn(512, 32, generator=generator) * torch.logspace(0, -2, 32) @ mix
    truth = inputs @ torch.randn(32, 32, generator=generator)
    left = {}
    for name in ("muon", "adam"):
        best = []
        for rate in (0.3, 0.1, 0.03, 0.01):
            layer = nn.Linear(32, 32, bias=False)
            nn.init.zeros_(layer.weight)
            optimiser = (
                Muon(groups_of(layer), lr=rate, weight_decay=0)
                if name == "muon"
                else torch.optim.Adam(layer.parameters(), lr=rate)
            )
            for step in range(150):
                optimiser.param_groups[0]["lr"] = rate * (1 - step / 150)
                loss = (layer(inputs) - truth).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            best.append(loss.item())
        left[name] = min(best)
    assert left["muon"] < 0.5 * left["adam"], left
