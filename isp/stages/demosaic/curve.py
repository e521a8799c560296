"""The curve under which a mosaic is interpolated: close to how the eye, and a display, see its steps.

Interpolation errs in proportion to the steps it meets. On linear light it errs most where bright meets dark, and the
error is seen most in the dark; under a cube root (as in CIE lightness) it is spread as evenly as it is seen. On the
Kodak pictures through a real camera's matrix this is worth more than 5 dB over linear light, and about half a decibel
over a square root. Noise turns it: where it is large against the signal, a mean under a concave curve is too dark.
Hence the toe.
"""

from __future__ import annotations

import math

from torch import Tensor

TOE = 1e-3  # without noise; full scale is 1
# Where nobody says how noisy the mosaic is: on Kodak, 0.2 dB below TOE without noise, 0.3 above it at ISO 10000; with
# TOE, noise of near-black samples of one channel turns to dark dots in the others.
UNKNOWN = 7e-3


def toe(noise: tuple[float, float] | None) -> float:
    """Where the curve passes from linear to a cube root: at four times the signal that equals its own noise, at least
    TOE. noise: (shot, read), variance = shot * x + read; None: unknown.

    The factor was chosen at the noise of a phone between ISO 600 and 10000 (S 8e-4, 3.2e-3 and 1.3e-2): it comes within
    0.05 dB of the best toe at each, where one ten times as small or as large loses up to 0.35.
    """
    if noise is None:
        return UNKNOWN
    shot, read = noise
    unity = (shot + math.sqrt(shot**2 + 4 * read)) / 2  # x with x**2 = shot * x + read
    return max(TOE, 4 * unity)


def encode(x: Tensor, t: float) -> Tensor:
    """cbrt(|x| + t) - cbrt(t) with the sign of x: odd, straight through 0 and defined for all x. t: the toe."""
    s = t ** (1 / 3)
    u = (x.abs() + t) ** (1 / 3)
    return x / (u * u + u * s + s * s)  # a difference of cubes: exact and differentiable at 0


def decode(y: Tensor, t: float) -> Tensor:
    """The inverse of `encode`."""
    s = t ** (1 / 3)
    v = y.abs()
    return y * (v * (v + 3 * s) + 3 * s * s)
