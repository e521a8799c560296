"""Shot and read noise from one raw frame.

A patch is texture plus white noise. Texture is taken for a Gaussian scale mixture (J. Portilla et al., "Image
Denoising Using Scale Mixtures of Gaussians in the Wavelet Domain", IEEE TIP 2003): its covariance is one of a few
shapes times an unknown strength t >= 0. The shapes are spectra 1/f^slope, even or drawn out along one direction,
sampled by the mosaic, with much or little in common between the colours; they fall with frequency, which tells them
from noise, and they reach across planes, in which noise is independent. In the eigenbasis of a shape with eigenvalues
L_j, the squares of the coefficients of a patch, in units of the noise, have mean 1 + t L_j. Under the law
n(x) = shot x + read + rest x^2, maximum likelihood over all patches, shapes and strengths gives the law: expectation
(how likely is each shape and strength for each patch) and a step of Fisher scoring on the logarithms of shot, read and
rest, in turn. `rest` takes what grows with the square of the light (grain and finest texture of the picture, unlike
gains of the pixels), which would otherwise bend the line.

No texture has exactly such a spectrum, so that a band of brightness is never trusted to better than MISFIT, however
many patches it holds; and where the frame says little of the read noise (shot x = read only in the darkest parts), the
usual relation of sensors steps in as a weak prior. The covariance that is returned holds both.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

PATCH = 8  # sites; 4 in each plane
PATCHES = 6144  # at most: more do not sharpen the estimate, only slow it
# slope, length along a direction, the direction in degrees, sharpness: where the spectrum ends, cycles per site
SHAPES = (
    *((2.0, 1, 0, math.inf), (3.0, 1, 0, math.inf), (4.5, 1, 0, math.inf), (3.0, 1, 0, 0.1)),
    *((3.0, 4, direction, sharpness) for direction in (0, 45, 90, 135) for sharpness in (math.inf, 0.1)),
)
COMMON = (0.97, 0.6)  # correlation between colours
STRENGTHS = torch.tensor([0.0] + [0.03 * 4.0**k for k in range(10)])  # texture over noise, in energy
PERIOD = 48  # sites, of the spectra
ROUNDS = 18
STEP = 1.6  # times the Fisher step, which is short for what the mixture leaves open
BAND = 0.35  # of ln variance
MISFIT = (0.03, 0.2)  # relative, of the variance in one band: all noise, all texture
# of the shipped profiles, without the IMX686 of the tests: ln read = READ[0] + READ[1] ln shot, and its deviation
READ = (-4.0, 1.28, 1.0)
REST = (math.log(0.03), 1.0, 2.0)  # the same of rest
# bands err together; with this factor of the covariance 95 % intervals hold on the pictures of docs/noise.md
TOGETHER = 1.5**2
UNKNOWN = 0.7  # standard deviation of ln shot beyond which there is no estimate
TOO_LITTLE = "estimate_noise found too little of the frame between black and white to measure noise in"


class NoiseEstimate(NamedTuple):
    """The noise of each frame and site of the 2x2 block in reading order, linear units, and how well it is known."""

    shot: Tensor  # B 4
    read: Tensor  # B 4
    covariance: Tensor  # B 4 2 2, of (ln shot, ln read)

    def std_spread(self, x: Tensor) -> Tensor:
        """Relative standard deviation of the noise's standard deviation sqrt(shot x + read) at levels x, N: B 4 N."""
        parts = torch.stack([self.shot[..., None] * x, self.read[..., None].expand(*self.shot.shape, len(x))], dim=-1)
        parts = parts / parts.sum(-1, keepdim=True)  # B 4 N 2
        return (parts @ self.covariance * parts).sum(-1).sqrt() / 2


def estimate_noise(mosaic: Tensor, *, shared: bool = True, white: float = 1.0) -> tuple[Tensor, Tensor]:
    """(shot, read), each B 4: the first two results of `estimate_noise_spread`, which says how far to trust them."""
    estimate = estimate_noise_spread(mosaic, shared=shared, white=white)
    return estimate.shot, estimate.read


def estimate_noise_spread(mosaic: Tensor, *, shared: bool = True, white: float = 1.0) -> NoiseEstimate:
    """Shot and read noise with their covariance, one per site of the 2x2 block in reading order; linear units.

    mosaic: B 1 H W, one noisy frame each of a Bayer or monochrome sensor, linear, unclipped below black where the file
    is; at least 128 x 128. shared: one pair for the four sites of a sensor (they have one amplifier), which is far
    steadier; False estimates each plane by itself. white: the level at which the sensor saturates; patches that near
    it are left out, and so are those near a level under which the file is clipped. Computed on the CPU.

    Errors: docs/noise.md. Raises ValueError for a frame that is too small, that has too little between black and white,
    that holds no noise, or that is too dark and even to tell shot from read noise.
    """
    if mosaic.ndim != 4 or mosaic.shape[1] != 1 or min(mosaic.shape[-2:]) < 128:
        raise ValueError(f"estimate_noise needs a mosaic B 1 H W of at least 128 x 128, got {tuple(mosaic.shape)}")
    shapes = _shapes(4 if shared else 1)
    laws, covariances = [], []
    for frame in mosaic[:, 0].detach().float().cpu():
        samples, lowest = _patches(frame, white)
        parts = [samples] if shared else list(samples.split(1, dim=1))
        fits = [_fit(part, shapes, (lowest, white)) for part in parts]
        laws.append(torch.stack([law for law, _ in fits]).expand(4, 3))
        covariances.append(torch.stack([covariance for _, covariance in fits]).expand(4, 2, 2))
    law = torch.stack(laws).to(mosaic)
    return NoiseEstimate(law[..., 0], law[..., 1], torch.stack(covariances).to(mosaic))


class _Shape(NamedTuple):
    """One texture covariance of P planes, without the mean of each plane."""

    basis: Tensor  # 16P 15P, eigenvectors
    noise_share: Tensor  # 11 15P, noise over noise and texture, at the STRENGTHS
    planes: Tensor  # P 15P, energy of the eigenvectors in each plane


def _shapes(planes: int) -> list[_Shape]:
    """The covariances of SHAPES and COMMON at the samples of a patch, plane by plane; of 4 planes or 1."""
    sites = torch.tensor([(y + 2 * i, x + 2 * j) for y in (0, 1) for x in (0, 1) for i in range(4) for j in range(4)])
    sites = sites[: 16 * planes]
    difference = (sites[:, None] - sites[None]) % PERIOD
    plane = torch.arange(16 * planes) // 16
    same = plane[:, None] == plane[None]  # the two greens count as two, so that every phase of the CFA is alike
    means = torch.kron(torch.eye(planes), torch.full((16, 1), 0.25)).double()
    no_means = torch.eye(16 * planes).double() - means @ means.T
    f = torch.fft.fftfreq(PERIOD, dtype=torch.float64)
    fy, fx = torch.meshgrid(f, f, indexing="ij")
    shapes = []
    for slope, length, degrees, sharpness in SHAPES:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        along, across = fx * c + fy * s, fy * c - fx * s
        spectrum = ((length * along) ** 2 + across**2 + 0.25 / PERIOD**2) ** (-slope / 2)
        spectrum = spectrum * (-(fx**2 + fy**2) / sharpness**2).exp()
        kernel = torch.fft.ifft2(spectrum).real[difference[..., 0], difference[..., 1]]
        for common in COMMON[: 1 if planes == 1 else None]:
            texture = no_means @ (kernel * torch.where(same, 1.0, common)) @ no_means
            # the means are put behind all others, and left there
            values, vectors = torch.linalg.eigh(texture / texture.trace() * 15 * planes + 1e6 * means @ means.T)
            basis, eigenvalues = vectors[:, : 15 * planes].float(), values[: 15 * planes].clamp(min=0).float()
            noise_share = 1 / (1 + STRENGTHS[:, None] * eigenvalues)
            shapes.append(_Shape(basis, noise_share, basis.reshape(planes, 16, -1).square().sum(1)))
    return shapes


def _patches(frame: Tensor, white: float) -> tuple[Tensor, float]:
    """N 4 16: samples of patches by plane, at most PATCHES, none clipped; the level the file is clipped at."""
    cut = frame.unfold(0, PATCH, PATCH).unfold(1, PATCH, PATCH)
    planes = torch.stack([cut[..., y::2, x::2].reshape(-1, 16) for y in (0, 1) for x in (0, 1)], dim=1)
    lowest = float(frame.min())
    if (frame == lowest).float().mean() <= 1e-3:
        lowest = -math.inf  # not clipped
    planes = planes[(planes.amax((1, 2)) < white) & (planes.amin((1, 2)) > lowest)]
    chosen = torch.randperm(len(planes), generator=torch.Generator().manual_seed(0))[:PATCHES]
    return planes[chosen], lowest


def _fit(samples: Tensor, shapes: list[_Shape], limits: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """(shot, read, rest) of patches N P 16, and the covariance of the logarithms of the first two, 2 2; float64."""
    if len(samples) < 100:
        raise ValueError(TOO_LITTLE)
    means = samples.mean(2)
    centred, level = samples - means[..., None], means.clamp(min=0)
    start = float((centred.square().mean((1, 2)) / (level.mean(1) + 0.01)).quantile(0.05))
    if start <= 0:
        raise ValueError("a twentieth of the frame is perfectly flat: it holds no noise for estimate_noise to measure")
    law = start * torch.tensor([1.0, 0.01, 0.03], dtype=torch.float64)
    log_weights = torch.zeros(len(shapes) * len(STRENGTHS))
    powers = torch.stack([level, torch.ones_like(level), level**2])  # 3 N P
    covariance = torch.empty(0)
    for _ in range(ROUNDS):
        parts = powers * law[:, None, None].float()  # 3 N P
        variance = parts.sum(0)
        reach = 4 * variance.sqrt()
        usable = ((means + reach).amax(1) < limits[1]) & ((means - reach).amin(1) > limits[0])
        if int(usable.sum()) < 100:
            raise ValueError(TOO_LITTLE)
        variance, parts = variance[usable], parts[:, usable] / variance[usable]
        white_noise = (centred[usable] / variance.sqrt()[..., None]).flatten(1)  # n 16P
        energies = [(white_noise @ shape.basis).square() for shape in shapes]  # n 15P each
        likelihood = [
            -0.5 * (e @ s.noise_share.T - s.noise_share.log().sum(1)) for e, s in zip(energies, shapes, strict=True)
        ]
        chances = (torch.cat(likelihood, dim=1) + log_weights).softmax(1)
        log_weights = (chances.mean(0) + 1e-6).log()
        band = ((variance.mean(1).log() - variance.mean(1).log().min()) / BAND).long()
        score, fisher = _score(energies, chances, shapes, parts, band)
        step, inverse = _with_priors(score, fisher, law)
        law = law * (STEP * step).clamp(-0.7, 0.7).exp()
        covariance = TOGETHER * inverse[:2, :2]
    if float(covariance[0, 0]) > UNKNOWN**2:
        raise ValueError(
            "the frame is too dark and even to tell shot from read noise; estimate_noise needs bright parts"
        )
    return law, covariance


def _score(
    energies: list[Tensor], chances: Tensor, shapes: list[_Shape], parts: Tensor, band: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient 3 and Fisher information 3 3 of the log-likelihood for the logarithms of the law.

    parts: 3 n P, the share of each term in the variance. A band of information F counts F / (1 + misfit^2 F); its
    misfit rises from MISFIT[0] to MISFIT[1] with what texture hides of it.
    """
    bands = int(band.max()) + 1
    gradient = torch.zeros(bands, 3, dtype=torch.float64)
    fisher = torch.zeros(bands, 9, dtype=torch.float64)
    seen, possible = torch.zeros(bands, dtype=torch.float64), torch.zeros(bands, dtype=torch.float64)
    for energy, shape, chance in zip(energies, shapes, chances.split(len(STRENGTHS), dim=1), strict=True):
        information = 0.5 * (chance @ shape.noise_share.square())  # n 15P, of ln noise
        score = energy * information - 0.5 * (chance @ shape.noise_share)
        regressors = parts @ shape.planes  # 3 n 15P
        products = torch.stack([(information * a * b).sum(1) for a in regressors for b in regressors], dim=1)
        seen.index_add_(0, band, information.sum(1).double())
        possible.index_add_(0, band, 0.5 * information.shape[1] * chance.sum(1).double())
        gradient.index_add_(0, band, (regressors * score).sum(2).T.double())
        fisher.index_add_(0, band, products.double())
    hidden = 1 - seen / possible.clamp(min=1)
    misfit = MISFIT[0] + (MISFIT[1] - MISFIT[0]) * hidden
    trust = 1 / (1 + misfit**2 * seen)[:, None]
    return (trust * gradient).sum(0), (trust * fisher).sum(0).reshape(3, 3)


def _with_priors(score: Tensor, fisher: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
    """The Newton step of the logarithms of law, 3, and their covariance, with READ and REST."""
    for part, (offset, slope, spread) in ((1, READ), (2, REST)):
        relation = law.new_zeros(3)
        relation[0], relation[part] = -slope, 1
        score = score - (law.log() @ relation - offset) * relation / spread**2
        fisher = fisher + torch.outer(relation, relation) / spread**2
    return torch.linalg.solve(fisher, score), torch.linalg.inv(fisher)
