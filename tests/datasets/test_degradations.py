"""Degradations against sums written out, scipy, and the statistics that they promise."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from isp.datasets.degradations import (
    add_defects,
    amplify_noise,
    blur,
    disc_kernel,
    downsample,
    edge_blur,
    effective_noise,
    expose_short,
    gaussian_kernels,
    pdaf_lattice,
    quantise,
    scale_channels,
)
from isp.noise import gaussian_noise
from isp.raw.cfa import CFA


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestBlur:
    def test_gaussian_kernel_by_hand(self):
        kernel = gaussian_kernels(torch.tensor([3]), torch.tensor([0.8], dtype=torch.float64))[0]
        side, corner = math.exp(-1 / (2 * 0.64)), math.exp(-2 / (2 * 0.64))
        total = 1 + 4 * side + 4 * corner
        expected = np.array([[corner, side, corner], [side, 1, side], [corner, side, corner]]) / total
        np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-12)

    def test_kernels_of_a_batch_keep_their_own_sizes(self):
        kernels = gaussian_kernels(torch.tensor([3, 7, 1]), torch.tensor([1.0, 1.0, 1.0]))
        assert kernels.shape == (3, 7, 7)
        torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(3))
        assert kernels[0, :2].abs().max() == 0
        assert kernels[2, 3, 3] == 1

    def test_elongation_and_angle_give_the_covariance_of_the_point_spread(self):
        sigma, elongation, angle = 2.0, 1.6, 0.5
        kernel = gaussian_kernels(
            torch.tensor([41]),
            torch.tensor([sigma], dtype=torch.float64),
            elongation=torch.tensor([elongation], dtype=torch.float64),
            angle=torch.tensor([angle], dtype=torch.float64),
        )[0].numpy()
        y, x = np.mgrid[-20:21, -20:21]
        covariance = np.array(
            [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
        )
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        expected = turn @ np.diag([sigma**2 * elongation, sigma**2 / elongation]) @ turn.T
        np.testing.assert_allclose(covariance, expected, rtol=1e-3)

    @pytest.mark.parametrize("elongation", [1.0, 1.5])
    def test_agrees_with_scipy_and_with_the_convolution_used_on_a_gpu(self, elongation):
        x = torch.rand(2, 3, 20, 23, generator=seeded(), dtype=torch.float64)
        kernels = gaussian_kernels(
            torch.tensor([5, 7]),
            torch.tensor([0.7, 1.2], dtype=torch.float64),
            elongation=torch.tensor([elongation] * 2, dtype=torch.float64),
            angle=torch.tensor([0.4, 2.0], dtype=torch.float64),
        )
        ours = blur(x, kernels)
        for b in range(2):
            for c in range(3):
                theirs = scipy.ndimage.convolve(x[b, c].numpy(), kernels[b].numpy(), mode="mirror")
                np.testing.assert_allclose(ours[b, c].numpy(), theirs, atol=1e-12)
        convolved = blur(x, kernels.clone().requires_grad_())
        torch.testing.assert_close(convolved.detach(), ours, atol=1e-6, rtol=0)

    def test_an_uneven_point_spread_appears_as_it_is(self):
        x = torch.zeros(1, 1, 9, 9)
        x[0, 0, 4, 4] = 1
        kernel = torch.rand(1, 3, 3, generator=seeded())
        torch.testing.assert_close(blur(x, kernel)[0, 0, 3:6, 3:6], kernel[0])

    def test_a_disc_has_its_area_and_sum(self):
        disc = disc_kernel(3.0, torch.zeros((), dtype=torch.float64))
        assert disc.shape == (1, 7, 7)
        assert disc.sum() == pytest.approx(1)
        assert 1 / disc.max() == pytest.approx(math.pi * 9, rel=0.05)

    def test_gradient(self):
        x = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
        kernels = gaussian_kernels(torch.tensor([3]), torch.tensor([0.9], dtype=torch.float64))
        assert torch.autograd.gradcheck(lambda t: blur(t, kernels), x)

    def test_says_what_it_needs(self):
        with pytest.raises(ValueError, match="odd sizes"):
            gaussian_kernels(torch.tensor([4]), torch.tensor([1.0]))
        with pytest.raises(ValueError, match="too large"):
            blur(torch.zeros(1, 1, 3, 3), torch.full((1, 7, 7), 1 / 49))
        with pytest.raises(ValueError, match="odd k"):
            blur(torch.zeros(2, 1, 9, 9), torch.ones(3, 3, 3))


def test_downsample_is_the_mean_of_blocks_and_divides_the_variance():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(downsample(x, 2)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    noise = torch.randn(1, 1, 600, 600, generator=seeded())
    assert downsample(noise, 3).var() == pytest.approx(1 / 9, rel=0.03)
    with pytest.raises(ValueError, match="multiples"):
        downsample(x, 3)


def test_channels_are_scaled_per_image():
    x = torch.ones(2, 3, 2, 2)
    y = scale_channels(x, torch.tensor([[0.8, 1.0, 1.2], [1.0, 1.0, 1.0]]))
    torch.testing.assert_close(y[0, :, 0, 0], torch.tensor([0.8, 1.0, 1.2]))
    torch.testing.assert_close(y[1], x[1])
    with pytest.raises(ValueError, match="factors B C"):
        scale_channels(x, torch.ones(4))


def test_amplified_noise_has_the_factor_squared_in_its_variance():
    clean = torch.full((1, 1, 500, 500), 0.3)
    noisy = gaussian_noise(clean, 1e-3, 1e-5, generator=seeded())
    assert amplify_noise(noisy, clean, 1.25).var() == pytest.approx(1.25**2 * (1e-3 * 0.3 + 1e-5), rel=0.02)
    torch.testing.assert_close(amplify_noise(noisy, clean, 1.0), noisy)


class TestQuantise:
    def test_whole_counts_inside_the_file_s_range(self):
        x = torch.tensor([-1.0, -0.01, 0.0, 0.4999, 0.5, 2.0])
        counts = quantise(x, 1023 - 64, 64) * 959 + 64
        torch.testing.assert_close(counts, torch.tensor([0.0, 54.0, 64.0, 543.0, 544.0, 1023.0]), atol=1e-3, rtol=0)

    def test_n_bits_have_2_to_the_n_levels(self):
        levels = quantise(torch.linspace(0, 1, 10000), 2.0**4 - 1).unique()
        assert len(levels) == 16

    def test_a_step_adds_a_twelfth(self):
        x = torch.rand(1, 1, 1000, 1000, generator=seeded(), dtype=torch.float64)
        assert (quantise(x, 100.0) - x).var() == pytest.approx(1 / (12 * 100**2), rel=0.01)

    def test_the_gradient_passes_straight_through_where_nothing_was_clipped(self):
        x = torch.tensor([-0.5, 0.2, 0.7, 1.5], requires_grad=True)
        quantise(x, 10.0).sum().backward()
        assert x.grad.tolist() == [0, 1, 1, 0]


class TestDigitalGain:
    def test_effective_noise_is_what_comes_out(self):
        shot, read, gain, scale, black = 2e-3, 4e-5, 8.0, 959.0, 64.0
        for level in (0.05, 0.2, 0.5):
            clean = torch.full((1, 1, 1000, 1000), level, dtype=torch.float64)
            noisy = expose_short(
                clean, gain, lambda x: gaussian_noise(x, shot, read, generator=seeded(3)), scale=scale, black=black
            )
            a, b = effective_noise(torch.tensor(shot), torch.tensor(read), gain, scale)
            assert a == pytest.approx(shot * gain)
            assert noisy.var() == pytest.approx(float(a) * level + float(b), rel=0.01)
            assert noisy.mean() == pytest.approx(level, abs=3e-4)

    def test_counts_stand_a_gain_apart_and_saturate_at_the_gain(self):
        x = torch.linspace(0, 9, 5000).view(1, 1, 50, 100)
        y = expose_short(x, 4.0, lambda t: t, scale=100.0)
        steps = (y.unique() * 100).diff()
        torch.testing.assert_close(steps, torch.full_like(steps, 4.0), atol=1e-3, rtol=0)
        assert y.max() == 4

    def test_each_image_has_its_own_gain(self):
        x = torch.ones(2, 1, 2, 2)
        y = expose_short(x, torch.tensor([[1.0], [10.0]]), lambda t: t, scale=64.0)
        assert y[0, 0, 0, 0] == 1
        assert y[1, 0, 0, 0] == pytest.approx(10 * 6 / 64)


class TestDefects:
    def broken(self, density, seed=0, size=1024, **more):
        x = torch.full((1, 1, size, size), 0.2)
        return (add_defects(x, density, generator=seeded(seed), **more) != x)[0, 0]

    @pytest.mark.parametrize("density", [1e-5, 1e-4, 1e-3])
    def test_density(self, density):
        """Sites in clusters of mean variance: eight standard deviations of the mean over ten frames."""
        found = [int(self.broken(density, seed).sum()) for seed in range(10)]
        expected = density * 1024**2 * 10
        assert abs(sum(found) - expected) < 8 * math.sqrt(expected * 2.2)

    def test_kinds(self):
        x = torch.full((1, 1, 1024, 1024), 0.2)
        y = add_defects(x, 5e-3, generator=seeded())
        values = y[y != x]
        hot, dead = (values >= 0.6).float().mean(), (values == 0).float().mean()
        assert dead == pytest.approx(0.25, abs=0.04)
        assert hot == pytest.approx(0.5 + 0.25 * 0.4, abs=0.04)  # stuck ones are uniform
        assert values.max() <= 1

    def test_clusters_are_of_one_colour_and_of_two_to_four(self):
        sizes = []
        for seed in range(30):
            broken = self.broken(2e-5, seed)
            for dy in (0, 1):
                for dx in (0, 1):
                    _, count = scipy.ndimage.label(broken[dy::2, dx::2], np.ones((3, 3)))
                    labels, _ = scipy.ndimage.label(broken[dy::2, dx::2], np.ones((3, 3)))
                    sizes += np.bincount(labels.ravel())[1:].tolist() if count else []
        assert set(sizes) <= {1, 2, 3, 4}
        assert np.mean(np.array(sizes) > 1) == pytest.approx(0.3, abs=0.1)

    def test_lines_are_pieces_of_rows_or_columns(self):
        broken = self.broken(0.0, 5, lines=[1])
        rows, cols = np.nonzero(broken.numpy())
        assert len(set(rows.tolist())) == 1 or len(set(cols.tolist())) == 1
        assert 1 <= len(rows) <= 128

    def test_the_same_seed_gives_the_same_and_images_differ(self):
        x = torch.full((2, 1, 256, 256), 0.2)
        y, again = (add_defects(x, [1e-3, 1e-3], generator=seeded(4)) for _ in range(2))
        assert torch.equal(y, again)
        assert not torch.equal(y[0], y[1])

    def test_broken_sites_carry_no_gradient_and_bright_scenes_outshine_hot_ones(self):
        x = torch.full((1, 1, 128, 128), 2.0, requires_grad=True)
        y = add_defects(x, 1e-2, generator=seeded())
        y.sum().backward()
        assert set(x.grad.unique().tolist()) == {0.0, 1.0}
        assert (x.grad == 0).sum() > 100
        assert not ((y >= 0.6) & (y < 2)).logical_and(x.grad == 0).all()  # hot ones show the scene

    def test_pdaf_lattice(self):
        x = torch.ones(1, 1, 64, 64)
        for pattern in ("RGGB", "GRBG", "GBRG", "BGGR"):
            y = pdaf_lattice(x, 16, 0.75, CFA(pattern), generator=seeded(1))
            changed = (y != x)[0, 0].numpy()
            assert changed.sum() == 2 * (64 / 16) ** 2
            assert (CFA(pattern).channel_map(64, 64)[changed] == 1).all()  # green
            np.testing.assert_array_equal(changed[:16, :16], changed[16:32, 32:48])  # a lattice of its period
            assert set(y.unique().tolist()) == {0.75, 1.0}

    def test_says_what_it_needs(self):
        with pytest.raises(ValueError, match="B 1 H W"):
            add_defects(torch.zeros(1, 3, 4, 4), 1e-3)
        with pytest.raises(ValueError, match="even number"):
            pdaf_lattice(torch.zeros(1, 1, 4, 4), 5, 0.8, CFA("RGGB"))
        with pytest.raises(ValueError, match="do not fit 2 images"):
            add_defects(torch.zeros(2, 1, 4, 4), [1e-3])


def test_edge_blur_softens_edges_and_leaves_the_rest():
    x = torch.full((1, 3, 48, 48), 0.1, dtype=torch.float32)
    x[..., 24:] = 0.6
    x += 0.002 * torch.rand(x.shape, generator=seeded())
    y = edge_blur(x)
    steepest = lambda t: t.diff(dim=-1).abs().amax()  # noqa: E731
    assert steepest(y) < 0.8 * steepest(x)
    far = torch.ones(48, dtype=torch.bool)
    far[18:30] = False
    torch.testing.assert_close(y[..., far], x[..., far])
    x.requires_grad_()
    edge_blur(x).sum().backward()
    assert torch.isfinite(x.grad).all()
