"""Dark shading and sampled dark frames."""

import pytest
import torch

from isp.noise import add_dark_frame, dark_shading, fit_dark_shading, sample_dark_frames


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shading_is_fitted_back():
    generator = seeded()
    slope = torch.randn(6, 8, generator=generator, dtype=torch.float64) * 1e-3
    offset = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    isos = [100.0, 400.0, 1600.0]
    means = torch.stack([dark_shading(slope, offset, iso) for iso in isos])
    fitted_slope, fitted_offset = fit_dark_shading(means, isos)
    assert torch.allclose(fitted_slope, slope, atol=1e-12)
    assert torch.allclose(fitted_offset, offset, atol=1e-10)
    with pytest.raises(ValueError, match="at least two ISOs"):
        fit_dark_shading(means[:2], [100.0, 100.0])


def test_windows_keep_the_phase_and_come_from_the_frames():
    frames = torch.arange(2 * 20 * 30, dtype=torch.float32).reshape(2, 20, 30)
    windows = sample_dark_frames(frames, 50, (8, 10), generator=seeded(1))
    assert windows.shape == (50, 1, 8, 10)
    corners = windows[:, 0, 0, 0].long()
    assert ((corners % 600 // 30) % 2 == 0).all()
    assert ((corners % 30) % 2 == 0).all()
    assert len({int(corner) // 600 for corner in corners}) == 2
    first = windows[0, 0]
    assert torch.equal(first - first[0, 0], (torch.arange(8)[:, None] * 30 + torch.arange(10)).float())
    assert torch.equal(windows, sample_dark_frames(frames, 50, (8, 10), generator=seeded(1)))
    assert sample_dark_frames(frames, 1, (20, 30), generator=seeded()).shape == (1, 1, 20, 30)
    with pytest.raises(ValueError, match="22 x 10 does not fit dark frames of 20 x 30"):
        sample_dark_frames(frames, 1, (22, 10))


def test_dark_frame_carries_all_but_the_photons():
    dark = torch.randn(1, 1, 512, 512, generator=seeded(2)) * 3
    x = torch.full_like(dark, 0.2)
    y = add_dark_frame(x, dark, 2.0, scale=1000.0, generator=seeded(3))
    assert torch.equal(add_dark_frame(x * 0, dark, 2.0, scale=1000.0, generator=seeded(3)), dark / 1000)
    assert float(y.double().var()) * 1e6 == pytest.approx(2 * 200 + 9, rel=0.015)  # 5 standard errors
    with pytest.raises(ValueError, match="expected that of x"):
        add_dark_frame(x, dark[..., :-2], 2.0, scale=1000.0)
