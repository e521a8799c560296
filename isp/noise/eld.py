"""Physics-based noise of low light: Poisson electrons, long-tailed read noise, rows, quantisation, colour bias.

K. Wei et al., "A Physics-based Noise Formation Model for Extreme Low-light Raw Denoising", CVPR 2020, section 3, and
"Physics-based Noise Modeling for Extreme Low-light Photography", IEEE TPAMI 2021:
D = K Poisson(I / K) + N_read + N_row + N_q with N_read Tukey-lambda around a colour bias, N_row normal and common to a
row, N_q uniform over one step. ln K is uniform, and ln sigma = slope ln K + bias + N(0, sd) for each part.

Differs from the paper: shape parameter and colour bias, calibrated in a few settings of the camera, are those of the
setting nearest in rank to the drawn ln K, not drawn apart from it (the settings stand in order of rising gain).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isp.noise.spread import spread

if TYPE_CHECKING:
    from isp.noise.profile import NoiseProfile

ZETA3 = 1.2020569031595942  # Apery's constant


@dataclass(frozen=True)
class EldParameters:
    """One draw of the model for each of B images; tensors on one device, in DN unless said otherwise."""

    gain: Tensor  # B, K in DN per electron
    tukey_lambda: Tensor  # B, shape of the read noise; 0.14 is nearly normal, 0 logistic, negative long-tailed
    read_scale: Tensor  # B, scale of the Tukey-lambda distribution: not its standard deviation
    row_std: Tensor  # B
    colour_bias: Tensor  # B 4, one per site of the 2x2 block in reading order of RGGB
    step: float  # width of the quantisation noise
    scale: float  # DN between black and white

    @property
    def shot_read(self) -> tuple[Tensor, Tensor]:
        """(shot, read), each B 1 and linear: what the model adds has variance shot * x + read; all its parts but the
        constant colour bias."""
        dark = self.read_scale**2 * tukey_lambda_variance(self.tukey_lambda) + self.row_std**2 + self.step**2 / 12
        return (self.gain / self.scale)[:, None], (dark / self.scale**2)[:, None]


def sample_eld(
    profile: NoiseProfile,
    batch: int,
    *,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
) -> EldParameters:
    """Parameters for a batch, drawn from a camera's profile; raises ValueError for a profile without an ELD part."""
    law = profile.eld
    if law is None:
        raise ValueError(f"noise profile {profile.name!r} has no ELD part; those of {known_cameras()} have one")
    position = torch.rand(batch, generator=generator, device=device)  # in the range of ln K
    normal = torch.randn(3, batch, generator=generator, device=device)
    low, high = (math.log(k) for k in law.gain_range)
    log_gain = low + (high - low) * position
    scales = [
        torch.exp(slope * log_gain + bias + sd * z)
        for (slope, bias, sd), z in zip((law.tukey_scale, law.row_std), normal, strict=False)
    ]
    if law.tukey_lambda:
        table = log_gain.new_tensor(law.tukey_lambda)
        shape = table[(position * len(table)).long().clamp(max=len(table) - 1)]
    else:
        lowest, highest = law.tukey_lambda_range
        shape = lowest + (highest - lowest) * torch.rand(batch, generator=generator, device=device)
    bias = log_gain.new_tensor(law.colour_bias or ((0.0,) * 4,))
    return EldParameters(
        gain=log_gain.exp(),
        tukey_lambda=shape,
        read_scale=scales[0],
        row_std=scales[1],
        colour_bias=bias[(position * len(bias)).long().clamp(max=len(bias) - 1)],
        step=law.step,
        scale=profile.scale,
    )


def known_cameras() -> str:
    """The shipped profiles that have an ELD part, for messages."""
    from isp.noise.profile import load_profile, profile_names

    return ", ".join(name for name in profile_names() if load_profile(name).eld is not None)


def eld_noise(
    x: Tensor,
    parameters: EldParameters,
    *,
    generator: torch.Generator | None = None,
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """x with ELD noise, linear and in the shape of x; carries no gradient through the counting of photons.

    x: linear, clean, B 1 H W (mosaic) or B 4 h w (packed, planes in reading order: the upper two share their rows,
    and so do the lower two). The colour bias follows the 2x2 block in reading order. clip: as in gaussian_noise.
    """
    p = parameters
    batch, planes, height, _ = x.shape if x.ndim == 4 else (0, 0, 0, 0)
    if planes not in (1, 4) or batch != len(p.gain):
        raise ValueError(f"eld_noise needs {len(p.gain)} 1 H W or {len(p.gain)} 4 h w, got {tuple(x.shape)}")
    k = spread(p.gain[:, None], x)
    electrons = torch.poisson(x.clamp(min=0) * (p.scale / k), generator=generator)
    read = tukey_lambda_noise(x, spread(p.tukey_lambda[:, None], x), generator) * spread(p.read_scale[:, None], x)
    rows = torch.randn(
        (batch, max(planes // 2, 1), height, 1), generator=generator, dtype=x.dtype, device=x.device
    ).repeat_interleave(2 if planes == 4 else 1, dim=1) * spread(p.row_std[:, None], x)  # B planes H 1
    uniform = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) - 0.5
    counts = x.clamp(max=0) * p.scale + electrons * k + read + spread(p.colour_bias, x) + rows + uniform * p.step
    noisy = counts / p.scale
    return noisy if clip is None else noisy.clamp(*clip)


def tukey_lambda_noise(x: Tensor, shape: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Samples of the Tukey-lambda distribution of scale 1, in the shape of x; `shape` broadcasts to it.

    Quantile (p^l - (1 - p)^l) / l; ln p - ln(1 - p) where l is 0. The symmetric half is drawn, so that both tails
    reach down to probabilities of 2^-25.
    """
    centred = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) - 0.5
    p = (0.5 - centred.abs()).clamp(min=2.0**-25)  # 0 .. 1/2
    log_p, log_q = p.log(), torch.log1p(-p)
    nonzero = torch.where(shape == 0, torch.ones_like(shape), shape)
    magnitude = torch.where(
        shape == 0, log_q - log_p, (torch.expm1(nonzero * log_q) - torch.expm1(nonzero * log_p)) / nonzero
    )
    return magnitude * centred.sign()


def tukey_lambda_variance(shape: Tensor) -> Tensor:
    """Variance of the Tukey-lambda distribution of scale 1; infinite from shape -1/2 down.

    2 / l^2 (1 / (1 + 2 l) - G(l + 1)^2 / G(2 l + 2)); near 0 its tangent pi^2 / 3 - 4 (zeta(2) + zeta(3)) l.
    """
    l = shape.double()  # noqa: E741 - the distribution's own letter
    safe = torch.where((l.abs() < 1e-4) | (l <= -0.5), torch.ones_like(l), l)
    gammas = torch.exp(2 * torch.lgamma(safe + 1) - torch.lgamma(2 * safe + 2))
    variance = 2 / safe**2 * (1 / (1 + 2 * safe) - gammas)
    variance = torch.where(l.abs() < 1e-4, math.pi**2 / 3 - 4 * (math.pi**2 / 6 + ZETA3) * l, variance)
    return torch.where(l <= -0.5, torch.full_like(l, math.inf), variance).to(shape.dtype)
