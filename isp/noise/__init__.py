"""Raw noise: models, profiles of sensors, and estimates from frames.

Everywhere x is linear (black 0, white 1) and noise is (shot, read): variance = shot * x + read. Models are plain
functions on tensors, seeded by a torch.Generator that lives on the tensor's device. Names are imported at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isp.noise.dark import add_dark_frame as add_dark_frame
    from isp.noise.dark import dark_shading as dark_shading
    from isp.noise.dark import fit_dark_shading as fit_dark_shading
    from isp.noise.dark import sample_dark_frames as sample_dark_frames
    from isp.noise.darktable import read_darktable as read_darktable
    from isp.noise.dng import from_dng_noise_profile as from_dng_noise_profile
    from isp.noise.dng import per_site as per_site
    from isp.noise.dng import to_dng_noise_profile as to_dng_noise_profile
    from isp.noise.eld import EldParameters as EldParameters
    from isp.noise.eld import eld_noise as eld_noise
    from isp.noise.eld import sample_eld as sample_eld
    from isp.noise.estimate import estimate_noise as estimate_noise
    from isp.noise.gaussian import amplify as amplify
    from isp.noise.gaussian import gaussian_noise as gaussian_noise
    from isp.noise.gaussian import noise_std as noise_std
    from isp.noise.poisson import poisson_noise as poisson_noise
    from isp.noise.profile import NoiseProfile as NoiseProfile
    from isp.noise.profile import load_profile as load_profile
    from isp.noise.profile import profile_names as profile_names
    from isp.noise.upi import sample_upi as sample_upi

_HOMES = {
    "EldParameters": "eld",
    "NoiseProfile": "profile",
    "add_dark_frame": "dark",
    "amplify": "gaussian",
    "dark_shading": "dark",
    "eld_noise": "eld",
    "estimate_noise": "estimate",
    "fit_dark_shading": "dark",
    "from_dng_noise_profile": "dng",
    "gaussian_noise": "gaussian",
    "load_profile": "profile",
    "noise_std": "gaussian",
    "per_site": "dng",
    "poisson_noise": "poisson",
    "profile_names": "profile",
    "read_darktable": "darktable",
    "sample_dark_frames": "dark",
    "sample_eld": "eld",
    "sample_upi": "upi",
    "to_dng_noise_profile": "dng",
}
__all__ = [
    "EldParameters",
    "NoiseProfile",
    "add_dark_frame",
    "amplify",
    "dark_shading",
    "eld_noise",
    "estimate_noise",
    "fit_dark_shading",
    "from_dng_noise_profile",
    "gaussian_noise",
    "load_profile",
    "noise_std",
    "per_site",
    "poisson_noise",
    "profile_names",
    "read_darktable",
    "sample_dark_frames",
    "sample_eld",
    "sample_upi",
    "to_dng_noise_profile",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isp.noise' has no attribute {name!r}")
    return getattr(import_module(f"isp.noise.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
