"""The toe of the curve under which mosaics are interpolated (isp.stages.demosaic.curve), from their noise."""

from __future__ import annotations

import math

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
