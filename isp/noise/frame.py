"""The noise of one raw frame: what its file says, or what is known of its camera, or what the frame shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isp.noise.dng import to_dng_noise_profile
from isp.raw.metadata import RawMetadata

if TYPE_CHECKING:
    from torch import Tensor

NORMAL_MAD = 0.6745  # median of |x| for a standard normal x


def frame_noise(meta: RawMetadata, linear: Tensor | None) -> tuple[np.ndarray | None, str]:
    """(shot, read) of a Bayer frame as the tag NoiseProfile holds them, planes 2, and where they come from.

    The first there is of: the tag, a shipped profile for the camera at the frame's ISO, an estimate from `linear`,
    1 1 H W after the sensor stages. Lens shading that OpcodeList2 corrected is not in the figures: it lifts the noise
    of each site together with its signal. None without a frame to look at.
    """
    if meta.noise_profile is not None:
        return meta.noise_profile, meta.origins.get("noise_profile", "given")
    from isp.noise.profile import camera_profile

    make = meta.make or ""
    profile = camera_profile(
        meta.model, meta.unique_camera_model, f"{make} {meta.model}", f"{make.split(' ')[0]} {meta.model}"
    )
    if profile is not None and meta.iso:
        return to_dng_noise_profile(*profile.at_iso(meta.iso), meta.cfa), f"profile {profile.name} at ISO {meta.iso:g}"
    if linear is None:
        return None, "unknown: no NoiseProfile, no profile of the camera, and no frame to look at"
    return _estimated(meta, linear)


def _estimated(meta: RawMetadata, linear: Tensor) -> tuple[np.ndarray, str]:
    from isp.noise.estimate import estimate_noise
    from isp.stages.opcodes import lens_shading

    shading = lens_shading(linear, meta.opcode_list2, meta.cfa)
    frame = linear[:1] if shading is None else linear[:1] / shading
    try:
        shot, read = estimate_noise(frame)
    except ValueError as error:  # too small, or too dark and even: one variance for all of it
        return np.array([[0.0, _even_variance(frame)]]), f"estimated from the frame, one variance for all ({error})"
    return to_dng_noise_profile(shot[0].cpu().numpy(), read[0].cpu().numpy(), meta.cfa), "estimated from the frame"


def _even_variance(frame: Tensor) -> float:
    """Noise variance of an even mosaic 1 1 H W, from its diagonal Haar coefficients; 0 where there is none.

    D. Donoho and I. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994, section 2.3.
    """
    plane = frame[0, 0].detach()
    height, width = (n // 4 * 4 for n in plane.shape)
    if not height or not width:
        return 0.0
    sites = plane[:height, :width].reshape(height // 4, 2, 2, width // 4, 2, 2)  # cell: row, site; column, site
    detail = (sites[:, 0, :, :, 0] - sites[:, 1, :, :, 0] - sites[:, 0, :, :, 1] + sites[:, 1, :, :, 1]) / 2
    return float(detail.abs().median() / NORMAL_MAD) ** 2
