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
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

PATCH = 8  # sites; 4 in each plane
PATCHES = 6144  # at most: more do not sharpen the estimate, only slow it
BLOCK = 256  # patches at once, which the processor's cache holds
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
    # in a thread with a setting of its own: PyTorch's threads would mostly wait for each other at operations this small
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        law, covariance = pool.submit(_estimate, mosaic[:, 0].detach().float().cpu(), shared, white).result()
    return NoiseEstimate(law[..., 0].to(mosaic), law[..., 1].to(mosaic), covariance.to(mosaic))


def _estimate(frames: Tensor, shared: bool, white: float) -> tuple[Tensor, Tensor]:
    """(shot, read, rest) of frames B H W, B 4 3, and covariances B 4 2 2."""
    shapes = _shapes(4 if shared else 1)
    laws, covariances = [], []
    for frame in frames:
        samples, lowest = _patches(frame, white)
        parts = [samples] if shared else list(samples.split(1))
        fits = [_fit(part, shapes, (lowest, white)) for part in parts]
        laws.append(torch.stack([law for law, _ in fits]).expand(4, 3))
        covariances.append(torch.stack([covariance for _, covariance in fits]).expand(4, 2, 2))
    return torch.stack(laws), torch.stack(covariances)


class _Shapes(NamedTuple):
    """S texture covariances of P planes, without the mean of each plane; with K STRENGTHS and J = 15P eigenvectors."""

    basis: Tensor  # SJ 16P, eigenvectors
    planes: Tensor  # P SJ, energy of the eigenvectors in each plane
    noise_share: Tensor  # S K J, noise over noise and texture
    # sums over the eigenvectors
    log_share: Tensor  # SK 1, of ln noise_share
    mean: Tensor  # P SK, of noise_share in each plane
    information: Tensor  # 1 SK, of noise_share^2 / 2, the information on ln noise
    information_in: Tensor  # PP SK, the same by pairs of planes


@cache
def _shapes(planes: int) -> _Shapes:
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
    bases, eigenvalues = [], []
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
            bases.append(vectors[:, : 15 * planes].float())
            eigenvalues.append(values[: 15 * planes].clamp(min=0).float())
    basis = torch.stack(bases).mT  # S J 16P
    energy = basis.unflatten(2, (planes, 16)).square().sum(3)  # S J P
    pairs = (energy[..., None] * energy[..., None, :]).flatten(2)  # S J PP
    share = 1 / (1 + STRENGTHS[:, None] * torch.stack(eigenvalues)[:, None])  # S K J
    return _Shapes(
        basis=basis.flatten(0, 1),
        planes=energy.flatten(0, 1).T.contiguous(),
        noise_share=share,
        log_share=share.log().sum(2).view(-1, 1),
        mean=(share @ energy).flatten(0, 1).T,
        information=share.square().sum(2).view(1, -1) / 2,
        information_in=(share.square() @ pairs).flatten(0, 1).T / 2,
    )


def _patches(frame: Tensor, white: float) -> tuple[Tensor, float]:
    """4 16 N: samples of patches by plane, at most PATCHES, none clipped; the level the file is clipped at."""
    cut = frame.unfold(0, PATCH, PATCH).unfold(1, PATCH, PATCH)
    planes = torch.stack([cut[..., y::2, x::2].reshape(-1, 16) for y in (0, 1) for x in (0, 1)], dim=1)
    lowest = float(frame.min())
    if (frame == lowest).float().mean() <= 1e-3:
        lowest = -math.inf  # not clipped
    planes = planes[(planes.amax((1, 2)) < white) & (planes.amin((1, 2)) > lowest)]
    chosen = torch.randperm(len(planes), generator=torch.Generator().manual_seed(0))[:PATCHES]
    return planes[chosen].permute(1, 2, 0), lowest


def _fit(samples: Tensor, shapes: _Shapes, limits: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """(shot, read, rest) of patches P 16 N, and the covariance of the logarithms of the first two, 2 2; float64."""
    if samples.shape[2] < 100:
        raise ValueError(TOO_LITTLE)
    means = samples.mean(1)  # P N
    centred, level = samples - means[:, None], means.clamp(min=0)
    start = float((centred.square().mean((0, 1)) / (level.mean(0) + 0.01)).quantile(0.05))
    if start <= 0:
        raise ValueError("a twentieth of the frame is perfectly flat: it holds no noise for estimate_noise to measure")
    law = start * torch.tensor([1.0, 0.01, 0.03], dtype=torch.float64)
    log_weights = torch.zeros_like(shapes.log_share)
    powers = torch.stack([level, torch.ones_like(level), level**2])  # 3 P N
    covariance = torch.empty(0)
    for _ in range(ROUNDS):
        parts = powers * law[:, None, None].float()  # 3 P N
        variance = parts.sum(0)
        reach = 4 * variance.sqrt()
        usable = ((means + reach).amax(0) < limits[1]) & ((means - reach).amin(0) > limits[0])
        if int(usable.sum()) < 100:
            raise ValueError(TOO_LITTLE)
        variance, parts = variance[:, usable], parts[..., usable] / variance[:, usable]
        white_noise = (centred[..., usable] / variance.sqrt()[:, None]).flatten(0, 1)  # 16P n
        brightness = variance.mean(0).log()
        band = ((brightness - brightness.min()) / BAND).long()
        score, fisher, chances = _score(white_noise, parts, band, shapes, log_weights)
        log_weights = (chances + 1e-6).log()
        step, inverse = _with_priors(score, fisher, law)
        law = law * (STEP * step).clamp(-0.7, 0.7).exp()
        covariance = TOGETHER * inverse[:2, :2]
    if float(covariance[0, 0]) > UNKNOWN**2:
        raise ValueError(
            "the frame is too dark and even to tell shot from read noise; estimate_noise needs bright parts"
        )
    return law, covariance


def _score(
    white_noise: Tensor, parts: Tensor, band: Tensor, shapes: _Shapes, log_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient 3 and Fisher information 3 3 of the log-likelihood for the logarithms of the law; and the mean chance of
    each shape and strength, SK 1.

    white_noise: 16P n, patches over the deviation of their noise. parts: 3 P n, the share of each term in the variance.
    A band of information F counts F / (1 + misfit^2 F); its misfit rises from MISFIT[0] to MISFIT[1] with what texture
    hides of it.
    """
    kinds = shapes.noise_share.shape[:2]  # S K
    planes, bands = len(shapes.planes), int(band.max()) + 1
    gradient = torch.zeros(3, bands, dtype=torch.float64)
    fisher = torch.zeros(3, 3, bands, dtype=torch.float64)
    seen, total = torch.zeros(1, bands, dtype=torch.float64), torch.zeros_like(log_weights)
    for white, part, at in zip(*(x.split(BLOCK, dim=-1) for x in (white_noise, parts, band)), strict=True):
        energies = (shapes.basis @ white).square().unflatten(0, (kinds[0], -1))  # S J m
        exponent = (shapes.noise_share @ energies).flatten(0, 1)  # SK m
        chances = ((shapes.log_share - exponent) / 2 + log_weights).softmax(0)
        energies *= shapes.noise_share.square().mT @ chances.unflatten(0, kinds)
        slope = (shapes.planes @ energies.flatten(0, 1) - shapes.mean @ chances) / 2  # P m
        information = (shapes.information_in @ chances).unflatten(0, (planes, planes))  # P P m
        gradient.index_add_(1, at, (part * slope).sum(1).double())
        fisher.index_add_(2, at, torch.einsum("apm,bqm,pqm->abm", part, part, information).double())
        seen.index_add_(1, at, (shapes.information @ chances).double())
        total += chances.sum(1, keepdim=True)
    possible = 15 / 32 * len(white_noise) * band.bincount()
    hidden = 1 - seen / possible.clamp(min=1)
    misfit = MISFIT[0] + (MISFIT[1] - MISFIT[0]) * hidden
    trust = 1 / (1 + misfit**2 * seen)
    return (trust * gradient).sum(-1), (trust * fisher).sum(-1), total / len(band)


def _with_priors(score: Tensor, fisher: Tensor, law: Tensor) -> tuple[Tensor, Tensor]:
    """The Newton step of the logarithms of law, 3, and their covariance, with READ and REST."""
    for part, (offset, slope, spread) in ((1, READ), (2, REST)):
        relation = law.new_zeros(3)
        relation[0], relation[part] = -slope, 1
        score = score - (law.log() @ relation - offset) * relation / spread**2
        fisher = fisher + torch.outer(relation, relation) / spread**2
    return torch.linalg.solve(fisher, score), torch.linalg.inv(fisher)
