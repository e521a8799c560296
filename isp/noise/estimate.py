"""Shot and read noise from one raw frame.

After S. Pyatykh and J. Hesser, "Image Sensor Noise Parameter Estimation by Variance Stabilization and Principal
Component Analysis" (IEEE TIP 2014): the smallest principal components of patches hold noise even where there is
texture, for texture has structure. Here, repeated ROUNDS times:
patches of 8x8 sites are cut into their four planes and each 4x4 piece is taken to its DCT; patches are sorted into
groups by the brightness around them (by their own, the darkest group would be the one of the darkest noise); in each
group the tenth with the least low-frequency energy is kept (those coefficients are orthogonal to the ones measured, so
that the choice does not favour weak noise); the weakest quarter of the principal components of the remaining
coefficients, over all four planes together, is measured against the same components of white noise cut from the same
places; and shot and read are fitted to the groups by robust least squares, where a group whose components differ much
(texture) counts little and one that stands out upwards counts less. The groups are formed once over all planes, whose
common structure falls into few components, and once plane by plane, for the weakest components of unlike planes would
all lie in whichever plane the last round took for too noisy; groups of one plane that stand far out are texture, and
left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

PATCH = 8  # sites; 4 in each plane
PATCHES = 150_000  # at most: more do not sharpen the estimate, only slow it
KEPT = 0.1  # of a group: the smoothest patches ...
KEPT_AT_LEAST = 600  # ... but enough of them for 40 components
COMPONENTS = 0.25  # the weakest, of all
GROUPS = (0, 0.004, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.22, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)  # quantiles
ROUNDS = 5
TEXTURED = 1.25  # energy of a group of one plane, over the last round's law, from which it is left out
MISFIT = 0.02  # relative scatter of a group about the law, beyond chance
TOO_EVEN = "the frame is too even to tell shot from read noise; estimate_noise needs bright and dark parts"
# DCT coefficients (u, v) of a 4x4 piece, by u + v: 0 is its mean, 1 and 2 choose smooth patches, the rest is measured
ORDER = torch.tensor([u + v for u in range(4) for v in range(4)])


def estimate_noise(mosaic: Tensor, *, shared: bool = True, white: float = 1.0) -> tuple[Tensor, Tensor]:
    """(shot, read), each B 4, one per site of the 2x2 block in reading order; linear units.

    mosaic: B 1 H W, one noisy frame each of a Bayer or monochrome sensor, linear, unclipped below black where the file
    is; at least 128 x 128. shared: one pair for the four sites of a sensor (they have one amplifier), which is far
    steadier; False estimates each plane by itself. white: the level at which the sensor saturates; patches that near
    it are left out, and so are those near a level under which the file is clipped.

    Errors: on frames whose detail stays below half the sampling rate within about 15 % of both figures; detail up to
    the last pixel is read as noise, and read noise is only seen where a part of the frame is dark enough for it to
    matter. Raises ValueError for a frame that is too small, or too even to tell shot from read noise.
    """
    if mosaic.ndim != 4 or mosaic.shape[1] != 1 or min(mosaic.shape[-2:]) < 128:
        raise ValueError(f"estimate_noise needs a mosaic B 1 H W of at least 128 x 128, got {tuple(mosaic.shape)}")
    results = []
    for frame in mosaic[:, 0].detach().float():
        lowest = frame.min()
        clipped = bool((frame == lowest).float().mean() > 1e-3)
        limits = (float(lowest) if clipped else -math.inf, white)
        step = 2
        while (frame.shape[0] // step) * (frame.shape[1] // step) > PATCHES:
            step += 2
        pieces = _dct_pieces(frame, step)
        reference = torch.randn(frame.shape, generator=torch.Generator().manual_seed(0)).to(frame)
        low, high = ((ORDER >= 1) & (ORDER <= 2)).to(frame.device), (ORDER >= 3).to(frame.device)
        patches = _Patches(
            level=pieces[..., 0] / 4,
            around=_rings(frame, step),
            smoothness=pieces[..., low].square().sum(-1),
            measured=pieces[..., high],
            white_noise=_dct_pieces(reference, step)[..., high],
        )
        if shared:
            results.append(_fit(patches, limits).expand(4, 2))
        else:
            results.append(torch.stack([_fit(patches.plane(p), limits) for p in range(4)]))
    table = torch.stack(results).to(mosaic)  # B 4 2
    return table[..., 0], table[..., 1]


def _dct_pieces(frame: Tensor, step: int) -> Tensor:
    """N 4 16: the orthonormal DCT of the four planes' 4x4 pieces in every patch of a frame H W."""
    i = torch.arange(4, dtype=torch.float64)
    basis = torch.cos(math.pi / 4 * (i[None] + 0.5) * i[:, None]) * math.sqrt(0.5)
    basis[0] = 0.5
    basis = torch.kron(basis, basis).to(frame)  # 16 16: coefficient, sample
    patches = frame.unfold(0, PATCH, step).unfold(1, PATCH, step)  # rows cols 8 8
    planes = [patches[..., y::2, x::2].reshape(-1, 16) @ basis.T for y in (0, 1) for x in (0, 1)]
    return torch.stack(planes, dim=1)


def _rings(frame: Tensor, step: int) -> Tensor:
    """N 4: the mean around every patch, in the planes of a frame H W, the patch itself left out."""
    planes = torch.stack(
        [frame[y::2, x::2][: frame.shape[0] // 2, : frame.shape[1] // 2] for y in (0, 1) for x in (0, 1)]
    )
    both = torch.stack([planes, torch.ones_like(planes)])  # values and, for the borders, their number
    inner = functional.avg_pool2d(both, 4, step // 2) * 16
    outer = functional.avg_pool2d(both, 12, step // 2, padding=4) * 144
    sums = (outer - inner).flatten(2)
    return (sums[0] / sums[1]).T


@dataclass(frozen=True)
class _Patches:
    """Patches of a frame, in P of its planes, and of white noise at the same places."""

    level: Tensor  # N P, mean
    around: Tensor  # N P, mean of the ring of 12x12 sites of the plane around the 4x4 of the patch
    smoothness: Tensor  # N P, energy of the low-frequency coefficients
    measured: Tensor  # N P 10, the other coefficients
    white_noise: Tensor  # N P 10, those of white noise of variance 1

    def plane(self, p: int) -> _Patches:
        one = slice(p, p + 1)
        return _Patches(
            level=self.level[:, one],
            around=self.around[:, one],
            smoothness=self.smoothness[:, one],
            measured=self.measured[:, one].clone(),
            white_noise=self.white_noise[:, one].clone(),
        )


@dataclass(frozen=True)
class _Group:
    """What one brightness group says: A p = b in the least-squares sense for p = (shot, read)."""

    normal: Tensor  # 2 2, mean of regressors times regressors
    right: Tensor  # 2
    mean: Tensor  # 2, mean regressors
    measured: Tensor  # mean of what the regressors should give
    weight: float  # one over the variance expected of it


def _fit(patches: _Patches, limits: tuple[float, float]) -> Tensor:
    """(shot, read), 2, float64."""
    planes = patches.level.shape[1]
    alone = [patches.plane(p) for p in range(planes)] if planes > 1 else []
    law: Tensor | None = None
    for _ in range(ROUNDS):
        groups = _groups(patches, limits, law)
        if law is not None:
            groups += [g for one in alone for g in _groups(one, limits, law) if g.measured < TEXTURED]
        if len(groups) < 3:
            raise ValueError("estimate_noise found too little of the frame between black and white to measure noise in")
        law = _robust_line(groups)
    assert law is not None
    variances = torch.stack([(g.mean @ law) / g.mean[1] for g in groups])  # of the noise at each group's level
    if variances.max() < 1.2 * variances.min():
        raise ValueError(TOO_EVEN)
    return law


def _groups(patches: _Patches, limits: tuple[float, float], law: Tensor | None) -> list[_Group]:
    """What the patches say, by brightness, under the law of the last round."""
    level = patches.level
    if law is None:
        variance = torch.ones_like(level)
        usable = level.amax(1) < 0.85 * limits[1]
    else:
        variance = law[0].to(level) * level.clamp(min=0) + law[1].to(level)
        reach = 4 * variance.sqrt()
        usable = ((level + reach).amax(1) < limits[1]) & ((level - reach).amin(1) > limits[0])
    index = usable.nonzero().flatten()
    index = index[patches.around[index].mean(1).argsort()]
    texture = (patches.smoothness / variance).sum(1)
    groups = []
    for start, end in pairwise(GROUPS):
        group = index[int(start * len(index)) : int(end * len(index))]
        if len(group) < 150:
            continue
        kept = group[texture[group].argsort()[: max(int(KEPT * len(group)), KEPT_AT_LEAST)]]
        groups.append(
            _measure(patches.measured[kept], patches.white_noise[kept], level[kept], variance[kept], law is None)
        )
    return groups


def _measure(measured: Tensor, white_noise: Tensor, level: Tensor, variance: Tensor, free_scale: bool) -> _Group:
    """One group: the energy of the weakest components, and what (shot, read) contribute to it.

    measured, white_noise: n P 10; level, variance: n P. free_scale: variance is not yet known, so that the group is
    weighed by its own energy.
    """
    n, planes, size = measured.shape
    x = (measured / variance.sqrt()[..., None]).reshape(n, -1).double()
    w = white_noise.reshape(n, -1).double()
    values, vectors = torch.linalg.eigh(x.T @ x / n)
    expected = torch.linalg.eigvalsh(w.T @ w / n)
    count = max(int(COMPONENTS * len(values)), 1)
    weakest = vectors[:, :count]
    # the smallest eigenvalues of a finite sample are too small; those of white noise tell by how much
    energy = (x @ weakest).square().mean(1) / expected[:count].mean()  # n
    share = weakest.square().reshape(planes, size, count).sum(1).mean(1)  # of each plane; sum 1
    shot_part = (share * level / variance).sum(1)
    read_part = (share / variance).sum(1)
    unit = energy.mean() if free_scale else energy.new_ones(())
    regressors = torch.stack([shot_part, read_part], dim=1).double() / unit  # n 2
    energy = energy / unit
    ratio = values / expected
    texture = max(float(ratio.median() / ratio[:count].mean()) - 1, 0.0)
    return _Group(
        normal=regressors.T @ regressors / n,
        right=regressors.T @ energy / n,
        mean=regressors.mean(0),
        measured=energy.mean(),
        weight=1 / (8 / (n * count) + MISFIT**2 + texture**2),
    )


def _robust_line(groups: list[_Group]) -> Tensor:
    """(shot, read), both positive, by iteratively reweighted least squares over the groups."""
    normal = torch.stack([g.normal for g in groups])
    right = torch.stack([g.right for g in groups])
    mean = torch.stack([g.mean for g in groups])
    measured = torch.stack([g.measured for g in groups])
    prior = measured.new_tensor([g.weight for g in groups])
    weight = prior
    scale = normal.mean(0).diagonal().sqrt()  # shot and read differ by orders of magnitude
    law = torch.zeros_like(scale)
    for _ in range(20):
        left = (weight[:, None, None] * normal).sum(0) / scale / scale[:, None]
        if torch.linalg.cond(left) > 1e6:
            raise ValueError(TOO_EVEN)
        law = torch.linalg.solve(left, (weight[:, None] * right).sum(0) / scale) / scale
        predicted = (mean @ law).clamp(min=0.05)
        residual = (measured - predicted) / predicted * prior.sqrt()
        spread = (residual.abs().median() * 1.48).clamp(min=0.5)
        # Huber's weights, with twice the patience for groups under the line: texture only adds
        weight = prior / torch.where(residual > 0, residual / spread, -residual / spread / 2).clamp(min=1)
    shot = law[0].clamp(min=1e-7)
    return torch.stack([shot, law[1].clamp(min=1e-5 * shot)])
