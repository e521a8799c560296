"""Tone: one curve on the largest and the smallest channel, so that hue holds; the profile's curve or our filmic one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PPoly
from torch import Tensor

Curve = Callable[[Tensor], Tensor]

# The filmic curve y = u / (1 + u^P)^(1/P), u = GAIN ((x + TOE)^CONTRAST - TOE^CONTRAST): a power law with a linear toe,
# bent into an asymptote at 1. Chosen by eye on photographs: middle grey 0.18 rises by 0.4 stops, the deepest shadows
# stay where they are, sensor white lands at 0.94 (248 of 255 in sRGB).
GAIN = 1.75
CONTRAST = 1.16
TOE = 0.004
SHOULDER = 3.0
LARGEST = 1e12  # of u, whose power would overflow float32 and turn white to black; there the curve is 1 long since


def filmic(x: Tensor) -> Tensor:
    """Scene-linear to display-linear: B 3 H W in, the same out, below 1 everywhere; 0 stays 0, negatives mirror.

    Rising everywhere, so it has an inverse; highlights far above 1 fade to white as their channels meet at 1.
    """
    return tone_holding_hue(x, _filmic)


def undo_filmic(y: Tensor) -> Tensor:
    """The inverse of filmic, for values below 1 (above, the nearest finite one)."""
    return tone_holding_hue(y, _unfilmic)


def apply_tone_curve(x: Tensor, curve: np.ndarray | Tensor) -> Tensor:
    """ProfileToneCurve (DNG 1.7.1, tag 50940): a natural cubic spline through the points, on linear ProPhoto RGB.

    x: B 3 H W. curve: N 2 (input, output) in 0..1, input rising; the outputs of a tensor get their gradient, its inputs
    get none. Goes on straight beyond the ends.
    """
    if isinstance(curve, Tensor):
        inputs, outputs = curve[:, 0].detach().cpu().double().contiguous().numpy(), curve[:, 1].to(x)
        basis = _spline(inputs, np.eye(len(inputs)))  # a spline is linear in its outputs
        coefficients = torch.as_tensor(basis.c, dtype=x.dtype, device=x.device) @ outputs  # 4 N-1
        return tone_holding_hue(x, lambda t: _polynomials(inputs, coefficients, t))
    spline = _spline(*curve.T)
    return tone_holding_hue(x, lambda t: _evaluate(spline, t))


def undo_tone_curve(y: Tensor, curve: np.ndarray) -> Tensor:
    """The inverse of apply_tone_curve for a rising curve; ValueError for one that is not."""
    spline = _spline(*curve.T)
    low, high = curve[0, 0], curve[-1, 0]
    if spline(np.linspace(low, high, 4097), 1).min() <= 0:
        raise ValueError("the profile tone curve is not rising everywhere, so it has no inverse")
    return tone_holding_hue(y, lambda t: _invert(spline, t))


def tone_holding_hue(x: Tensor, curve: Curve) -> Tensor:
    """curve on the largest and the smallest channel; the middle one keeps its place between them (HSV hue).

    x: B 3 H W. The same for a rising curve's inverse gives x back.
    """
    largest, smallest = x.amax(1, keepdim=True), x.amin(1, keepdim=True)  # B 1 H W
    top, bottom = curve(largest), curve(smallest)
    span = largest - smallest
    grey = span < 1e-9
    return bottom + (x - smallest) * (torch.where(grey, 0.0, top - bottom) / torch.where(grey, 1.0, span))


def _filmic(x: Tensor) -> Tensor:
    u = (GAIN * ((x.abs() + TOE) ** CONTRAST - TOE**CONTRAST)).clamp(max=LARGEST)
    return x.sign() * u / (1 + u**SHOULDER) ** (1 / SHOULDER)


def _unfilmic(y: Tensor) -> Tensor:
    bound = y.abs().clamp(max=1 - 1e-6)
    u = bound / (1 - bound**SHOULDER) ** (1 / SHOULDER)
    return y.sign() * ((u / GAIN + TOE**CONTRAST) ** (1 / CONTRAST) - TOE)


def _spline(inputs: np.ndarray, outputs: np.ndarray) -> PPoly:
    if np.any(np.diff(inputs) <= 0):
        raise ValueError("the profile tone curve's inputs must rise; they do not")
    return CubicSpline(inputs, outputs, bc_type="natural")


def _evaluate(spline: PPoly, x: Tensor) -> Tensor:
    return _polynomials(spline.x, torch.as_tensor(spline.c, dtype=x.dtype, device=x.device), x)


def _polynomials(inputs: np.ndarray, coefficients: Tensor, x: Tensor) -> Tensor:
    """Piecewise polynomials between N inputs, going on straight beyond them. coefficients: of the falling powers of
    the distance from a piece's left end, k N-1."""
    knots = torch.as_tensor(inputs, dtype=x.dtype, device=x.device)
    inside = x.clamp(inputs[0], inputs[-1])
    piece = torch.bucketize(inside.detach(), knots[1:-1])
    t = inside - knots[piece]
    y = coefficients[0][piece]
    for row in coefficients[1:]:
        y = y * t + row[piece]
    end, high = knots[-1] - knots[-2], torch.zeros_like(coefficients[0, -1])
    for power, row in zip(range(len(coefficients) - 1, 0, -1), coefficients, strict=False):
        high = high * end + power * row[-1]
    return y + torch.where(x < inside, coefficients[-2, 0], high) * (x - inside)


def _invert(spline: PPoly, y: Tensor) -> Tensor:
    """A dense table, then Newton steps: as exact as y's type."""
    table_in = np.linspace(spline.x[0], spline.x[-1], 4097)
    inputs, outputs = (torch.as_tensor(a, dtype=y.dtype, device=y.device) for a in (table_in, spline(table_in)))
    right = torch.bucketize(y.detach(), outputs).clamp(1, len(inputs) - 1)
    left = right - 1
    x = inputs[left] + (y - outputs[left]) * (inputs[right] - inputs[left]) / (outputs[right] - outputs[left])
    slope = spline.derivative()
    for _ in range(3):
        x = x - (_evaluate(spline, x) - y) / _evaluate(slope, x.clamp(spline.x[0], spline.x[-1]))
    return x
