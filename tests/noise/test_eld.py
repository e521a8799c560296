"""The physics-based noise of low light."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from noise.lines import variance_line
from scipy import stats

from isp.noise import EldParameters, eld_noise, load_profile, profile_names, sample_eld
from isp.noise.eld import tukey_lambda_noise, tukey_lambda_variance

CAMERAS = [name for name in profile_names() if load_profile(name).eld is not None]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(**changes: object) -> EldParameters:
    one = torch.ones(1)
    base = EldParameters(1.5 * one, 0.05 * one, 3 * one, 0 * one, torch.zeros(1, 4), 1.0, 15583.0)
    return replace(base, **changes)


def test_all_cameras_ship():
    assert CAMERAS == ["canon-5d4", "canon-700d", "canon-70d", "nikon-d850", "sony-a7m4", "sony-a7s2"]


@pytest.mark.parametrize("shape", [0.2, 0.14, 0.0, 1e-5, -0.1, -0.2, -0.28])
def test_tails_are_those_of_the_tukey_lambda_distribution(shape):
    """Quantiles against scipy's: at probability p the empirical one strays by sqrt(p (1 - p) / n) in p."""
    n, at = 1 << 22, (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.999, 1 - 1e-4, 1 - 1e-5)
    sample = tukey_lambda_noise(torch.zeros(n), torch.tensor(shape), seeded()).numpy()
    sample = np.partition(sample, [int(p * n) for p in at])
    for p in at:
        slack = 5 * (p * (1 - p) / n) ** 0.5
        low, high = stats.tukeylambda.ppf([p - slack, p + slack], shape)
        assert low <= sample[int(p * n)] <= high, p


@pytest.mark.parametrize("shape", [0.5, 0.14, 1e-3, 1e-5, 0.0, -1e-5, -1e-3, -0.1, -0.28, -0.45])
def test_variance_formula_against_scipy(shape):
    expected = stats.tukeylambda.var(shape) if abs(shape) > 1e-4 else np.pi**2 / 3 - 11.388 * shape
    assert float(tukey_lambda_variance(torch.tensor(shape, dtype=torch.float64))) == pytest.approx(expected, rel=1e-6)


def test_variance_is_infinite_from_minus_one_half_down():
    assert torch.isinf(tukey_lambda_variance(torch.tensor([-0.5, -0.7]))).all()


def test_kurtosis_of_the_read_noise():
    """Excess kurtosis of Tukey-lambda 0: that of the logistic distribution, 1.2; of 0.14: nearly that of a normal."""
    for shape, expected in ((0.0, 1.2), (0.14, float(stats.tukeylambda.stats(0.14, moments="k")))):
        sample = tukey_lambda_noise(torch.zeros(1 << 22, dtype=torch.float64), torch.tensor(shape).double(), seeded(1))
        assert stats.kurtosis(sample.numpy()) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", CAMERAS)
def test_every_camera_gives_its_line_within_one_per_cent(name):
    """Of a few draws the one with the lightest tails: towards lambda = -1/4 the scatter of a sample's variance grows
    without limit, and no number of samples tells 1 %. What the tails are is tested by their quantiles. Row offsets
    give one sample a row, so that they stand in a tall frame; 2^20 samples per level: 1 % is 4 standard errors."""
    drawn = sample_eld(load_profile(name), 64, generator=seeded(2))
    best = int(drawn.tukey_lambda.argmax())
    single = replace(
        drawn,
        **{
            field: getattr(drawn, field)[best : best + 1] for field in ("gain", "tukey_lambda", "read_scale", "row_std")
        },
        colour_bias=torch.zeros(1, 4),
    )
    shot, read = (float(values[0, 0]) for values in single.shot_read)
    generator = seeded(3)
    a, b = variance_line(lambda x: eld_noise(x, single, generator=generator), (1, 1, 1 << 17, 8))
    assert a == pytest.approx(shot, rel=0.01)
    assert b == pytest.approx(read, rel=0.01)


def test_draws_follow_the_laws_of_the_profile():
    profile = load_profile("sony-a7s2")
    p = sample_eld(profile, 100_000, generator=seeded(4))
    log_k = p.gain.double().log()
    low, high = np.log(profile.eld.gain_range)
    assert stats.kstest((log_k.numpy() - low) / (high - low), "uniform").pvalue > 1e-3
    for scale, (slope, bias, sd) in ((p.read_scale, profile.eld.tukey_scale), (p.row_std, profile.eld.row_std)):
        residual = (scale.double().log() - slope * log_k - bias).numpy()
        assert stats.kstest(residual / sd, "norm").pvalue > 1e-3
    # settings: all of them, as often as each other, rising with K
    values, counts = np.unique(p.colour_bias[:, 0].numpy(), return_counts=True)
    assert len(values) == 18
    assert stats.chisquare(counts).pvalue > 1e-3
    highest = log_k > high - (high - low) / 18
    assert np.allclose(p.tukey_lambda[highest].numpy(), profile.eld.tukey_lambda[-1])
    assert np.allclose(p.colour_bias[highest].numpy(), profile.eld.colour_bias[-1])


def test_lambda_from_a_range_where_settings_are_not_known():
    p = sample_eld(load_profile("sony-a7m4"), 10_000, generator=seeded(5))
    assert stats.kstest((p.tukey_lambda.numpy() + 0.28) / 0.18, "uniform").pvalue > 1e-3
    assert torch.equal(p.colour_bias, torch.zeros(10_000, 4))


def test_rows_share_their_offset_in_a_mosaic():
    p = parameters(row_std=torch.full((1,), 2.0), read_scale=torch.full((1,), 0.5))
    y = eld_noise(torch.zeros(1, 1, 1 << 16, 64), p, generator=seeded(6)) * p.scale
    total = float(y.double().var())
    rows = y.double().mean(-1)
    pixel = total - 4.0
    assert float(rows.var()) == pytest.approx(4.0 + pixel / 64, rel=0.03)  # 5 standard errors
    columns = y.double().mean(-2)
    assert float(columns.var()) < 3 * total / (1 << 16)  # columns have none
    neighbours = y[..., :-1].flatten().double(), y[..., 1:].flatten().double()
    assert float(torch.corrcoef(torch.stack(neighbours))[0, 1]) == pytest.approx(4.0 / total, rel=0.03)


def test_packed_planes_share_the_rows_that_the_mosaic_has():
    p = parameters(row_std=torch.full((1,), 2.0), read_scale=torch.full((1,), 1e-3), step=0.0)
    y = eld_noise(torch.zeros(1, 4, 4096, 8), p, generator=seeded(7))[0].mean(-1).double()  # 4 h
    correlation = torch.corrcoef(y)
    assert correlation[0, 1] > 0.999
    assert correlation[2, 3] > 0.999
    assert abs(float(correlation[0, 2])) < 0.08  # 5 standard errors


def test_colour_bias_falls_on_its_sites():
    bias = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    p = parameters(colour_bias=bias)
    for x in (torch.zeros(1, 1, 512, 512), torch.zeros(1, 4, 256, 256)):
        y = eld_noise(x, p, generator=seeded(8)) * p.scale
        planes = y[0] if x.shape[1] == 4 else torch.stack([y[0, 0, i::2, j::2] for i in (0, 1) for j in (0, 1)])
        assert torch.allclose(planes.flatten(1).mean(1), bias[0], atol=0.12)  # 5 standard errors of 65536 samples


def test_batches_take_their_own_parameters():
    p = parameters(
        gain=torch.tensor([0.5, 5.0]),
        tukey_lambda=torch.tensor([0.0, 0.14]),
        read_scale=torch.tensor([1.0, 9.0]),
        row_std=torch.zeros(2),
        colour_bias=torch.zeros(2, 4),
    )
    y = eld_noise(torch.full((2, 1, 512, 512), 0.1), p, generator=seeded(9)).flatten(1).double().var(1)
    shot, read = p.shot_read
    assert torch.allclose(y, (shot * 0.1 + read)[:, 0].double(), rtol=0.02)
    with pytest.raises(ValueError, match=r"eld_noise needs 2 1 H W or 2 4 h w, got \(1, 1, 8, 8\)"):
        eld_noise(torch.zeros(1, 1, 8, 8), p)


def test_same_seed_same_bytes_on_any_number_of_threads():
    x = torch.rand(4, 4, 128, 128)
    profile = load_profile("nikon-d850")
    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            generator = seeded(11)
            p = sample_eld(profile, 4, generator=generator)
            results.append(eld_noise(x, p, generator=generator, clip=(-0.05, 1.0)).numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1]


def test_a_profile_without_the_model_is_refused():
    with pytest.raises(ValueError, match="'imx686' has no ELD part; those of canon-5d4, "):
        sample_eld(load_profile("imx686"), 1)
