"""The compiled parts of making pairs against what they stand for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from isp.datasets.degradations import blur, expose_short, gaussian_kernels, quantise
from isp.datasets.recipes import load_recipe
from isp.datasets.sources import Sample
from isp.datasets.synthesis import PATTERN, CameraChoice, PairStream, make_pair
from isp.fast import pairs
from isp.noise.gaussian import noise_std
from isp.noise.spread import like
from isp.stages.demosaic import mosaic

SIZES = [(2, 2), (18, 34), (64, 250)]


@pytest.fixture
def by_pytorch(monkeypatch):
    """As without a compiler."""

    def switch():
        monkeypatch.setattr(pairs, "_library", lambda: None)

    if pairs._library() is None:
        pytest.skip("needs a C compiler")
    return switch


class Bytes:
    """Pictures of 8 bits, every value of each channel, rows of three interleaved channels as readers give them."""

    def __len__(self):
        return 2

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
        return Sample(torch.from_numpy(coarse).permute(2, 0, 1), f"bytes-{i}")


@pytest.mark.parametrize("recipe", ["mialgo", "upi", "njust-heavy", "iid-ai", "wide"])
@pytest.mark.parametrize("camera", ["nikon-d850", "random"])
def test_pairs_are_those_of_pytorch(by_pytorch, recipe, camera):
    """Clean sides to 2 of float32's steps at white; counts to one, where rounding falls the other way."""
    made = [make_pair(Bytes(), load_recipe(recipe), CameraChoice(camera), seed=3, index=i, size=40) for i in range(2)]
    by_pytorch()
    for i, one in enumerate(made):
        other = make_pair(Bytes(), load_recipe(recipe), CameraChoice(camera), seed=3, index=i, size=40)
        torch.testing.assert_close(one.clean, other.clean, atol=3e-7, rtol=2e-6)
        difference = (one.counts() - other.counts()).abs()
        assert (difference > 0).float().mean() < 2e-3
        assert one.records == other.records
        torch.testing.assert_close(one.shot, other.shot)


def test_a_stream_s_windows_turn_and_flip(by_pytorch):
    settings = {"batch": 6, "size": 16, "seed": 5, "prefetch": 0}
    one = next(iter(PairStream(Bytes(), load_recipe("wide"), CameraChoice("random"), **settings)))
    by_pytorch()
    other = next(iter(PairStream(Bytes(), load_recipe("wide"), CameraChoice("random"), **settings)))
    torch.testing.assert_close(one.clean, other.clean, atol=3e-7, rtol=2e-6)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("planes", [1, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_sensor_is_bit_equal(by_pytorch, size, planes, channels):
    generator = seeded()
    x = torch.rand(1, channels, *size, generator=generator) * 1.3 - 0.1
    shot, read = torch.rand(1, planes, generator=generator) * 1e-2, torch.rand(1, planes, generator=generator) * 1e-4
    gain, scale, black = 1.7, 959.0, 64.0
    made = pairs.expose(x, seeded(1), shot, read, gain, scale, black)
    seen = mosaic(x, PATTERN) if channels == 3 else x
    expected = expose_short(
        seen, torch.tensor([[gain]]), lambda light: light + noise_std(light, shot, read) * like(light, seeded(1)),
        scale=torch.tensor([[scale]]), black=torch.tensor([[black]]),
    )  # fmt: skip
    assert torch.equal(made, expected)
    packed = pairs.pack(expected, scale, black)
    assert torch.equal(packed, F.pixel_unshuffle(quantise(expected, scale, black), 2))


@pytest.mark.parametrize("size", SIZES)
def test_noise_on_what_is_seen_of_rgb_is_bit_equal(by_pytorch, size):
    x = torch.rand(1, 3, *size, generator=seeded())
    made, seen = pairs.add_noise(x, 1e-4, seeded(1)), mosaic(x, PATTERN)
    assert torch.equal(made, seen + noise_std(seen, 0.0, 1e-4) * like(seen, seeded(1)))


@pytest.mark.parametrize("elongation", [1.0, 1.6])
@pytest.mark.parametrize("size", [3, 7])
def test_blur_is_the_same(by_pytorch, size, elongation):
    x = torch.rand(2, 3, 9, 21, generator=torch.Generator().manual_seed(0))
    kernels = gaussian_kernels(
        torch.tensor([size, 3]),
        torch.tensor([1.1, 0.6]),
        elongation=torch.tensor([elongation, 1.0]),
        angle=torch.tensor([0.4, 0]),
    )
    made = blur(x, kernels)
    by_pytorch()
    torch.testing.assert_close(made, blur(x, kernels), atol=3e-7, rtol=0)


def test_what_the_kernels_cannot_do_is_left_to_pytorch():
    x = torch.rand(1, 1, 4, 4)
    generator, one = seeded(), torch.ones(1, 1)
    assert pairs.expose(x.double(), generator, one, one, 1, 1, 0) is None
    assert pairs.add_noise(torch.rand(1, 3, 4, 3), 0.1, generator) is None
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=seeded()))
    assert pairs.pack(x.requires_grad_(), 1023.0, 64.0) is None
    assert pairs.unprocess(torch.rand(3, 4, 4), np.ones(256), np.eye(3), np.ones(3), np.ones(3), 1.0, 0.9) is None
