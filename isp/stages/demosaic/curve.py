"""The curve under which a mosaic is interpolated: close to how the eye, and a display, see its steps.

Interpolation errs in proportion to the steps it meets. On linear light it errs most where bright meets dark, and the
error is seen most in the dark; under a cube root (as in CIE lightness) it is spread as evenly as it is seen. On the
Kodak pictures through a real camera's matrix this is worth more than 5 dB over linear light, and about half a decibel
over a square root. Noise turns it: where it is large against the signal, a mean under a concave curve is too dark.
Hence the toe.
"""

from __future__ import annotations

from torch import Tensor

from isp.toe import TOE as TOE
from isp.toe import UNKNOWN as UNKNOWN
from isp.toe import toe as toe


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
