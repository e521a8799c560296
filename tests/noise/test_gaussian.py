"""Heteroscedastic Gaussian noise."""

import pytest
import torch
from noise.lines import variance_line

from isp.noise import amplify, gaussian_noise, load_profile, noise_std, profile_names, sample_upi
from isp.noise.spread import spread

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
WITH_ISO = [name for name in profile_names() if load_profile(name).iso_range is not None]


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def test_std_is_the_square_root_of_the_line():
    x = torch.tensor([0.0, 0.25, 1.0, -0.1], dtype=torch.float64)
    std = noise_std(x, 0.04, 0.0009)
    assert torch.allclose(std**2, torch.tensor([0.0009, 0.0109, 0.0409, 0.0009], dtype=torch.float64), rtol=1e-14)


def test_no_noise_changes_nothing_and_has_a_finite_gradient():
    x = torch.tensor([-0.5, 0.0, 0.3, 2.0], requires_grad=True)
    y = gaussian_noise(x, 0.0, 0.0, generator=seeded())
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(4))


@pytest.mark.parametrize("name", WITH_ISO)
def test_every_profile_gives_its_own_line_within_one_per_cent(name):
    """Power: with 2^20 samples per level shot and read are known to about 0.15 % (1 sigma); 1 % is over 6 of those."""
    profile = load_profile(name)
    iso = (profile.iso_range[0] * profile.iso_range[1]) ** 0.5
    shot, read = (torch.from_numpy(values) for values in profile.at_iso(iso))
    generator = seeded(1)
    a, b = variance_line(lambda x: gaussian_noise(x, shot, read, generator=generator))
    assert a == pytest.approx(float(shot[0]), rel=0.01)
    assert b == pytest.approx(float(read[0]), rel=0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_same_seed_same_bytes_other_seed_other_bytes(device):
    x = torch.rand(2, 4, 64, 64, device=device)
    first, again, other = (
        gaussian_noise(x, 1e-3, 1e-5, generator=seeded(seed, device)).cpu().numpy().tobytes() for seed in (3, 3, 4)
    )
    assert first == again != other


def test_bytes_do_not_depend_on_the_number_of_threads():
    x = torch.rand(1, 1, 512, 512)
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 4):
            torch.set_num_threads(n)
            results.append(gaussian_noise(x, 1e-3, 1e-5, generator=seeded()).numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_clips_only_when_asked():
    x = torch.tensor([0.0, 1.0]).repeat(1000)
    free = gaussian_noise(x, 0.01, 0.01, generator=seeded())
    assert free.min() < -0.1
    assert free.max() > 1.1
    held = gaussian_noise(x, 0.01, 0.01, generator=seeded(), clip=(-0.05, 1.0))
    assert torch.equal(held, free.clamp(-0.05, 1.0))


def test_parameters_per_image_plane_and_site():
    packed, mosaic = torch.zeros(2, 4, 3, 5), torch.zeros(2, 1, 6, 10)
    per_site = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    assert torch.equal(spread(per_site, packed).expand(2, 4, 3, 5)[:, :, 1, 1], per_site)
    sites = spread(per_site, mosaic)
    assert sites.shape == (2, 1, 6, 10)
    assert sites[1, 0, 2:4, 4:6].tolist() == [[5.0, 6.0], [7.0, 8.0]]
    odd = spread(per_site[:1], torch.zeros(2, 1, 3, 3))
    assert odd[0, 0].tolist() == [[1.0, 2.0, 1.0], [3.0, 4.0, 3.0], [1.0, 2.0, 1.0]]
    assert spread(torch.tensor([[1.0], [2.0]]), packed).shape == (2, 1, 1, 1)
    with pytest.raises(ValueError, match=r"shape \(3,\) do not fit samples of shape \(2, 1, 6, 10\)"):
        spread(torch.ones(3), mosaic)


def test_a_gain_after_the_noise_scales_shot_once_and_read_twice():
    shot, read = amplify(1e-3, 1e-5, 8.0)
    generator = seeded(2)
    a, b = variance_line(lambda x: gaussian_noise(x / 8, 1e-3, 1e-5, generator=generator) * 8)  # dark, noisy, bright
    assert (a, b) == (pytest.approx(shot, rel=0.01), pytest.approx(read, rel=0.01))


def test_upi_levels_follow_their_law():
    shot, read = sample_upi(200_000, generator=seeded())
    assert shot.shape == read.shape == (200_000, 1)
    log_shot, residual = shot.double().log(), (read.double().log() - 2.18 * shot.double().log() - 1.20)
    assert log_shot.min() >= torch.tensor(1e-4).log()
    assert log_shot.max() <= torch.tensor(0.012).log()
    assert float(log_shot.mean()) == pytest.approx((-9.21034 - 4.42285) / 2, abs=0.02)  # 6 standard errors
    assert float(residual.mean()) == pytest.approx(0, abs=0.004)
    assert float(residual.std()) == pytest.approx(0.26, rel=0.01)
