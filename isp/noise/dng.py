"""The tag NoiseProfile of DNG 1.7.1 (chapter 4), to and from figures per site of the CFA; NumPy only.

The tag holds S and O per colour plane (or one pair for all), with std = sqrt(S x + O) on the linear scale of the file:
black 0, white 1. Planes stand in the order of CFAPlaneColor: red, green, blue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isp.raw.cfa import CFA, LETTERS


def from_dng_noise_profile(noise_profile: np.ndarray, cfa: CFA | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(shot, read), float64, one number per site of a CFA period in reading order; cfa None: monochrome, 1 number.

    noise_profile: planes 2, as RawMetadata.noise_profile; 1 or 3 planes for a CFA.
    """
    table = np.asarray(noise_profile, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != 2:
        raise ValueError(f"a DNG NoiseProfile holds planes x 2 numbers, got shape {table.shape}")
    return per_site(table[:, 0], cfa), per_site(table[:, 1], cfa)


def to_dng_noise_profile(
    shot: Sequence[float] | np.ndarray, read: Sequence[float] | np.ndarray, cfa: CFA | None = None
) -> np.ndarray:
    """NoiseProfile, 3 2 (red, green, blue; the mean of each colour's sites), or 1 2 for cfa None.

    shot, read: linear; 1 number, 3 (R, G, B), or one per site of the CFA in reading order.
    """
    table = np.stack([per_site(shot, cfa), per_site(read, cfa)], axis=1)  # sites 2
    if cfa is None:
        return table
    colours = cfa.channels.ravel()
    return np.stack([table[colours == channel].mean(0) for channel in range(len(LETTERS))])


def per_site(values: Sequence[float] | np.ndarray, cfa: CFA | None) -> np.ndarray:
    """Noise figures of one plane each, arranged to the sites of one CFA period in reading order, float64.

    values: 1 number (all sites alike), 3 (R, G, B), or already one per site. cfa None: a monochrome sensor, 1 site.
    """
    v = np.atleast_1d(np.asarray(values, dtype=np.float64))
    sites = np.zeros(1, dtype=np.int64) if cfa is None else cfa.channels.ravel()
    if v.size == 1:
        return np.full(len(sites), v[0])
    if cfa is not None and v.size == 3:
        return v[sites]
    if v.size == len(sites):
        return v
    kind = "a monochrome sensor" if cfa is None else f"CFA {cfa}"
    raise ValueError(f"{v.size} noise figures do not fit {kind}; expected 1, 3 (R, G, B) or {len(sites)}")
