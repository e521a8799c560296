"""Gain, read noise, row noise and dark offset of a sensor from its frames: the photon-transfer method; NumPy only.

EMVA 1288, release 4.0, section 6: the temporal variance of a site grows along a line with its mean, variance =
K (mean - dark) + read variance, where K is the gain in DN per electron. Here the line is drawn through many brightness
groups of static frames. Sites are grouped by the mean of their eight neighbours in the same plane, not by their own:
their own noise then sits in neither side of the comparison, and groups are unbiased however few the frames.

Intervals are analytic, 95 %: the scatter of the sites in each group, and what the groups stray from the line beyond
that (an ADC's steps are never quite even; a few per cent is usual), which is estimated from the fit and counted as
an error of its own, the same relative size for every group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

GROUPS = 48  # of brightness, per plane and burst
SITES = 200  # a group with fewer is left out
DITHERED = 0.5  # DN^2: from this variance on, rounding to whole DN adds 1/12 wherever the mean lies, to 1 part in 1000
AGREE = 0.05  # planes whose K differ by less, or by less than 3 standard errors, share one amplifier
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Interval:
    """A figure and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, error: float) -> Interval:
        return cls(float(value), float(value - NORMAL_95 * error), float(value + NORMAL_95 * error))

    @property
    def error(self) -> float:
        return (self.high - self.low) / (2 * NORMAL_95)

    def __str__(self) -> str:
        digits = 1 - int(np.floor(np.log10(self.error))) if self.error > 0 else 4
        digits = min(max(digits, 0), 6)
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class BurstStatistics:
    """What the temporal statistics of at least two frames of one still scene need; DN."""

    frames: int
    mean: np.ndarray  # H W, over the frames
    variance: np.ndarray  # H W, unbiased, over the frames
    row_means: np.ndarray  # frames H
    clipped: np.ndarray  # H W, bool: saturated or at 0 in any frame


@dataclass(frozen=True)
class Groups:
    """Brightness groups of one plane: a photon-transfer curve, in DN."""

    plane: np.ndarray  # N, site of the 2x2 block in reading order
    signal: np.ndarray  # N, above dark
    variance: np.ndarray  # N
    error: np.ndarray  # N, standard error of the variance
    sites: np.ndarray  # N


@dataclass(frozen=True)
class Line:
    """variance = gain * signal + read, fitted; DN per electron and DN^2."""

    gain: Interval
    read: Interval  # quantisation included
    misfit: float  # relative scatter of groups about the line beyond chance

    @property
    def pixel_read(self) -> Interval:
        """Read variance less the 1/12 DN^2 of rounding to whole DN."""
        return Interval(self.read.value - 1 / 12, self.read.low - 1 / 12, self.read.high - 1 / 12)


@dataclass(frozen=True)
class Rows:
    """Offsets that whole rows share, and frames; standard deviations over time in DN."""

    row_means: float  # of the means of rows, everything included
    independent: float  # what that would be if every site had noise of its own
    row_noise: Interval  # offsets of rows beyond that, frame by frame
    frames: float  # of the means of frames: drift of the light, or of the black level


@dataclass(frozen=True)
class Transfer:
    """A calibration at one ISO."""

    groups: Groups
    planes: tuple[Line, ...]  # fitted plane by plane
    shared: Line  # one line for all planes
    agree: bool  # the planes share one amplifier, as far as the frames tell

    def line(self, plane: int) -> Line:
        """The figures of a plane: the shared ones where the planes agree, for they are surer."""
        return self.shared if self.agree else self.planes[plane]


def burst_statistics(frames: Iterable[np.ndarray], white: float) -> BurstStatistics:
    """Statistics of frames H W (DN) that show one still scene, read one by one. Raises ValueError for fewer than 2."""
    iterator: Iterator[np.ndarray] = iter(frames)
    first = next(iterator).astype(np.float64)
    total, square = np.zeros_like(first), np.zeros_like(first)
    clipped = (first >= white) | (first <= 0)
    rows = [first.mean(1)]
    for frame in iterator:
        if frame.shape != first.shape:
            raise ValueError(f"frames of one burst differ in size: {first.shape} and {frame.shape} (rows x columns)")
        difference = frame - first
        total += difference
        square += difference**2
        clipped |= (frame >= white) | (frame <= 0)
        rows.append(frame.mean(1, dtype=np.float64))
    n = len(rows)
    if n < 2:
        raise ValueError("temporal statistics need at least 2 frames of one scene, got 1")
    return BurstStatistics(
        n, first + total / n, np.maximum(square - total**2 / n, 0) / (n - 1), np.stack(rows), clipped
    )


def row_statistics(burst: BurstStatistics) -> Rows:
    """Row noise of a burst. The means of a row of W independent sites vary by their variance / W; what is more, after
    each frame's own mean is taken off, is the rows'."""
    n, height = burst.row_means.shape
    width = burst.mean.shape[1]
    residual = burst.row_means - burst.row_means.mean(0)
    frame_means = residual.mean(1)
    within = residual - frame_means[:, None]
    frames = float(frame_means.var(ddof=1))
    total = float((residual**2).sum() / ((n - 1) * height))
    measured = float((within**2).sum() / ((n - 1) * (height - 1)))
    per_site = float(burst.variance.mean()) - frames  # row offsets included
    offsets = (measured - per_site / width) / (1 - 1 / width)
    error = measured * np.sqrt(2 / ((n - 1) * (height - 1)))
    low, high = (np.sqrt(max(offsets + side * NORMAL_95 * error, 0.0)) for side in (-1, 1))
    return Rows(
        row_means=np.sqrt(total),
        independent=np.sqrt(max(per_site - max(offsets, 0.0), 0.0) / width),
        row_noise=Interval(float(np.sqrt(max(offsets, 0.0))), float(low), float(high)),
        frames=np.sqrt(frames),
    )


def dark_offset(frame_means: Sequence[float], spatial_error: float) -> Interval:
    """The mean of dark frames from the means of each, DN. One frame tells nothing of how frames differ: then the
    interval is that of its own mean."""
    means = np.asarray(frame_means, dtype=np.float64)
    error = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else spatial_error
    return Interval.around(float(means.mean()), float(error))


def brightness_groups(burst: BurstStatistics, zero: Sequence[float]) -> Groups:
    """The photon-transfer curve of a burst of a scene with bright and dark parts; the four sites of the 2x2 block on
    their own. zero: mean of dark frames per site, DN.

    Changes of the light from frame to frame scale the whole frame; they add (drift * signal)^2 to the variance, which
    is taken off. Groups with a clipped site in a thousand are left out.
    """
    parts: list[tuple[float, ...]] = []
    level = float(burst.row_means.mean()) - float(np.mean(zero))
    noise = float(burst.variance.mean()) / burst.mean.size
    drift = max(float(burst.row_means.mean(1).var(ddof=1)) - noise, 0.0) / max(level, 1e-9) ** 2  # relative, squared
    for plane in range(4):
        y, x = divmod(plane, 2)
        mean = burst.mean[y::2, x::2] - zero[plane]
        signal, variance = mean[1:-1, 1:-1].ravel(), burst.variance[y::2, x::2][1:-1, 1:-1].ravel()
        around = (9 * uniform_filter(mean, 3, mode="nearest") - mean)[1:-1, 1:-1].ravel() / 8
        clipped = burst.clipped[y::2, x::2][1:-1, 1:-1].ravel()
        low, high = np.quantile(around, [0.001, 0.999])
        which = np.floor((around - low) / max(high - low, 1e-9) * GROUPS).astype(np.int64)
        which[(which < 0) | (which >= GROUPS)] = GROUPS
        sites = np.bincount(which, minlength=GROUPS + 1)[:GROUPS]

        def sums(values: np.ndarray, which: np.ndarray = which) -> np.ndarray:
            return np.bincount(which, values, minlength=GROUPS + 1)[:GROUPS]

        kept = (sites >= SITES) & (sums(clipped) <= sites * 1e-3)
        count = np.maximum(sites, 1)
        m, v = sums(signal) / count, sums(variance) / count
        scatter = np.sqrt(np.maximum(sums(variance**2) / count - v**2, 0) / count)
        v = v - drift * m**2
        parts += [(plane, *row) for row in zip(m[kept], v[kept], scatter[kept], sites[kept].astype(float), strict=True)]
    return _as_groups(parts)


def dark_groups(burst: BurstStatistics) -> Groups:
    """One group per plane from a burst of dark frames, at signal 0; steps of the whole frame's level are taken off."""
    frames = float(burst.row_means.mean(1).var(ddof=1))
    parts: list[tuple[float, ...]] = []
    for plane in range(4):
        y, x = divmod(plane, 2)
        variance = burst.variance[y::2, x::2]
        error = float(variance.std()) / np.sqrt(variance.size)
        parts.append((plane, 0.0, float(variance.mean()) - frames, error, float(variance.size)))
    return _as_groups(parts)


def join(groups: Sequence[Groups]) -> Groups:
    """The groups of several bursts as one curve."""
    return Groups(*(np.concatenate([getattr(g, name) for g in groups]) for name in Groups.__dataclass_fields__))


def fit_transfer(groups: Groups) -> Transfer:
    """K and read variance, plane by plane and for all planes together.

    Groups under DITHERED are left out: there, rounding does not act as noise of 1/12. Raises ValueError where too few
    levels of brightness are left.
    """
    groups = _select(groups, groups.variance >= DITHERED)
    if len(groups.signal) < 3 or np.ptp(groups.signal) <= 0:
        raise ValueError(
            "the frames hold fewer than 3 levels of brightness with more than 0.5 DN^2 of noise; K needs a scene, or "
            "flat frames, of several"
        )
    shared = _fit_line(groups)
    planes = []
    for plane in range(4):
        part = _select(groups, groups.plane == plane)
        planes.append(_fit_line(part) if len(part.signal) >= 3 else shared)

    def close(mine: Interval, common: Interval) -> bool:
        return abs(mine.value - common.value) <= max(AGREE * common.value, 3 * mine.error)

    agree = all(close(line.gain, shared.gain) for line in planes)
    return Transfer(groups, tuple(planes), shared, agree)


def _select(groups: Groups, which: np.ndarray) -> Groups:
    return Groups(*(getattr(groups, name)[which] for name in Groups.__dataclass_fields__))


def _fit_line(groups: Groups) -> Line:
    """Weighted least squares with a relative misfit per group, chosen so that chi squared is what chance gives."""
    m, v, error = groups.signal, groups.variance, groups.error
    design = np.stack([m, np.ones_like(m)], axis=1)
    scale = np.array([np.abs(m).max(), 1.0])  # of the columns, for a well-conditioned solution

    def solve(misfit: float) -> tuple[np.ndarray, np.ndarray, float]:
        model = np.maximum(v, 1e-12)
        for _ in range(5):  # relative misfit counts from the line, not from the measured value
            weight = 1 / np.hypot(error, misfit * model)
            a = design / scale * weight[:, None]
            covariance = np.linalg.inv(a.T @ a)
            line = covariance @ (a.T @ (v * weight)) / scale
            model = np.maximum(design @ line, 1e-3 * v.max())
        chi = float((((v - design @ line) * weight) ** 2).sum())
        return line, covariance / np.outer(scale, scale), chi

    freedom = max(len(m) - 2, 1)
    low, high = 0.0, 1.0
    if solve(0.0)[2] > freedom:
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if solve(middle)[2] > freedom else (low, middle)
    else:
        high = 0.0
    line, covariance, _ = solve(high)
    errors = np.sqrt(np.diag(covariance))
    return Line(Interval.around(line[0], errors[0]), Interval.around(line[1], errors[1]), high)


def _as_groups(parts: list[tuple[float, ...]]) -> Groups:
    table = np.array(parts, dtype=np.float64).reshape(-1, 5)
    return Groups(table[:, 0].astype(np.int64), *(table[:, i] for i in range(1, 5)))
