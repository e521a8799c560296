"""Standard normal numbers, fast and the same wherever they are drawn: compiled where a C compiler is, NumPy elsewhere.

G. Box and M. Muller, "A Note on the Generation of Random Normal Deviates", Ann. Math. Stat. 29, 1958: with u and v
uniform, sqrt(-2 ln u) times cosine and sine of 2 pi v. The raw bits are those of SFC64 (C. Doty-Humphrey), which NumPy
has; logarithm, sine and cosine are polynomials of ours, fitted to errors of 7e-8, 7e-9 and 3e-10. IEEE 754 rounds every
operation here correctly, so that both ways give the same bits on any processor. 31 bits of u reach 6.66 deviations.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LN = (0.3333466649055481, -0.24981249868869781, 0.1991083323955536, -0.17156744003295898, 0.16135278344154358,
      -0.10253116488456726)  # fmt: skip  # of (ln(1 + t) - t + t^2 / 2) / t^3 for sqrt(1/2) <= 1 + t < sqrt(2)
SINE = (1.5707963705062866, -0.6459637880325317, 0.07968992739915848, -0.004674157593399286, 0.00015167852689046413)
COSINE = (1.0, -1.2337005138397217, 0.2536693215370178, -0.02086268924176693, 0.0009177248575724661,
          -2.3824917661841027e-05)  # fmt: skip  # both of the square of a quarter turn's share; sine over the share
LN_2 = np.float32(0.6931471824645996)
SQRT_HALF = 0x3F3504F3  # bits of float32 sqrt(1/2)


def standard_normals(shape: tuple[int, ...] | torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers, float32, on the processor. generator: gives the seed, with one of its numbers; None:
    PyTorch's default one does."""
    from isp.fast.pairs import normals as compiled

    numbers = int(np.prod(shape, dtype=np.int64))
    raw = raw_bits(generator).random_raw(-(-numbers // 2))
    z = compiled(raw)
    return torch.from_numpy((normals(raw) if z is None else z)[:numbers]).view(shape)


def raw_bits(generator: torch.Generator | None) -> np.random.SFC64:
    """Where the random bits of standard_normals come from, seeded with one number of the generator."""
    return np.random.SFC64(int(torch.randint(2**63 - 1, (), generator=generator)))


def normals(raw: np.ndarray) -> np.ndarray:
    """2 N standard normal numbers, float32, from N of 64 random bits: all first ones of the pairs, then the others."""
    low = (raw & np.uint64(0xFFFFFFFF)).astype(np.uint32) >> np.uint32(1)
    high = (raw >> np.uint64(32)).astype(np.uint32)
    u = low.view(np.int32).astype(np.float32) * np.float32(2.0**-31) + np.float32(2.0**-32)
    bits = u.view(np.int32)
    exponent = (bits - np.int32(SQRT_HALF)) >> np.int32(23)
    t = (bits - (exponent << np.int32(23))).view(np.float32) - np.float32(1)
    square = t * t
    ln = _polynomial(LN, t) * (square * t) + (t - np.float32(0.5) * square) + exponent.astype(np.float32) * LN_2
    radius = np.sqrt(np.maximum(np.float32(-2) * ln, np.float32(0)))
    share = (high & np.uint32(0x3FFFFFFF)).view(np.int32).astype(np.float32) * np.float32(2.0**-30)
    square = share * share
    first, second = radius * _polynomial(COSINE, square), radius * (share * _polynomial(SINE, square))
    sign = np.uint32(0x80000000)
    z = np.concatenate([first, second]).view(np.uint32)
    z[: len(raw)] ^= high & sign
    z[len(raw) :] ^= (high << np.uint32(1)) & sign
    return z.view(np.float32)


def _polynomial(coefficients: tuple[float, ...], x: np.ndarray) -> np.ndarray:
    """By Horner's rule, each step rounded."""
    y = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        y = y * x + np.float32(c)
    return y
