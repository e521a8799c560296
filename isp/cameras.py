"""Cameras to unprocess pictures with: profiles under data/cameras, DNGs, and random ones between them. NumPy only.

camera = load_camera("nikon-d850")                      # or "mine.yaml", or "photo.dng"
meta = camera.metadata(512, 768, temperature=3200)      # a frame of this camera, under this light
mosaic = isp.unprocess(picture, meta)                   # its counts (DN) for a picture 1 3 512 768
picture = isp.develop(mosaic, meta)[0]                  # and back
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from isp.locate import data_path
from isp.primaries import D50, D65, SPACES, XY, bradford, rgb_to_xyz, xy_to_xyz
from isp.raw.cfa import CANONICAL, CFA
from isp.raw.colour import DAYLIGHT_XY, has_colour, temperature_tint_to_xy, xy_to_neutral
from isp.raw.metadata import MATRICES, RawMetadata
from isp.raw.opcodes import AreaOpcode, FixVignetteRadial, LineOpcode, Opcode

# What a YAML says about a camera beyond `name`, `licence` and `noise`: fields of RawMetadata.
ILLUMINANTS = ("calibration_illuminant1", "calibration_illuminant2", "calibration_illuminant3")
KEYS = ("name", "licence", "noise", "cfa", "black_level", "white_level", "baseline_exposure", "analog_balance")
# A colour profile does not tell the sensor's levels. Where a YAML does not either: 14 bits and a round black.
BLACK, WHITE = 512.0, 16383.0
MIREDS = (125.0, 370.0)  # 1e6 / kelvin of the lights under which random cameras stand: 8000 to 2700 K
TINTS = (-15.0, 15.0)


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera, as what the metadata of its frames have in common.

    frame: the metadata of one frame; its size counts only where something lies at a place of it (opcode lists).
    noise: a profile of isp.noise by name or path; None: the frame's NoiseProfile, if any.
    licence: of the calibration, as its source states it.
    """

    name: str
    frame: RawMetadata
    noise: str | None = None
    licence: str | None = None

    @cached_property
    def has_colour(self) -> bool:
        return has_colour(self.frame)

    @cached_property
    def illuminants(self) -> tuple[int | None, ...]:
        """Of the calibration, as the tags number them."""
        return tuple(getattr(self.frame, name) for name in ILLUMINANTS)

    def metadata(
        self,
        height: int,
        width: int,
        *,
        white_xy: XY | None = None,
        temperature: float | None = None,
        tint: float = 0.0,
        neutral: Sequence[float] | np.ndarray | None = None,
        iso: float | None = None,
        cfa: CFA | None = None,
        linear: bool = False,
    ) -> RawMetadata:
        """What a frame of this size says: no borders, no crop, upright.

        At most one of white_xy, temperature (kelvin, with tint) and neutral (camera RGB of a grey) names the light;
        none: the frame's own as-shot white, daylight where it has none. iso: also sets noise_profile, where the noise
        profile tells it; without `noise` the frame's NoiseProfile holds for the frame's own ISO.
        cfa: another array, or phase, than the camera's. linear: three samples at each pixel, black 0 and white 1,
        nothing left to correct: what a linear DNG of this camera would say.

        Gains over the frame (GainMap, FixVignetteRadial, area maps) are stretched to the new size; patterns of black
        by row and column are continued. What mends or moves single places (bad pixels, row and column corrections,
        warps, trims) is left out.
        """
        light = self._neutral(white_xy, temperature, tint, neutral)
        changes: dict[str, Any] = {}
        if light is not None:
            changes.update(as_shot_neutral=light, as_shot_white_xy=None)
        if iso is not None:
            changes.update(iso=iso, noise_profile=self._noise_profile(iso))
        return replace(
            self.frame,
            height=height,
            width=width,
            active_area=None,
            default_crop_origin=(0.0, 0.0),
            default_crop_size=None,
            orientation=1,
            cfa=None if linear else cfa or self.frame.cfa,
            samples=3 if linear else self.frame.samples,
            **_levels(self.frame, height, width, linear),
            opcode_list3=_fit_opcodes(self.frame.opcode_list3, self.frame, (height, width)),
            **changes,
        )

    def _neutral(
        self, white_xy: XY | None, temperature: float | None, tint: float, neutral: Sequence[float] | np.ndarray | None
    ) -> np.ndarray | None:
        """Camera RGB of a grey, largest 1; None: as the frame says."""
        if sum(value is not None for value in (white_xy, temperature, neutral)) > 1:
            raise ValueError("expected at most one of white_xy, temperature and neutral")
        if neutral is not None:
            return np.asarray(neutral, dtype=np.float64) / np.max(neutral)
        if white_xy is None and temperature is None:
            if self.frame.as_shot_neutral is not None or self.frame.as_shot_white_xy is not None:
                return None
            return xy_to_neutral(self.frame, DAYLIGHT_XY) if self.has_colour else None
        if not self.has_colour:
            raise ValueError(
                f"camera {self.name!r} has no ColorMatrix; give the light as neutral, not as a temperature"
            )
        return xy_to_neutral(self.frame, white_xy or temperature_tint_to_xy(temperature or 0.0, tint))

    def _noise_profile(self, iso: float) -> np.ndarray | None:
        """NoiseProfile at an ISO, planes 2; None where nothing is known of it."""
        if self.noise is None:
            return self.frame.noise_profile if iso == self.frame.iso else None
        from isp.noise.dng import to_dng_noise_profile
        from isp.noise.profile import load_profile

        profile = load_profile(self.noise)
        if profile.iso_range is None:  # it knows the sensor's gain (ELD), but not which ISO has which
            return None
        return to_dng_noise_profile(*profile.at_iso(iso), CFA("RGGB"))


def list_cameras() -> list[str]:
    """Names of the cameras that ship with the library."""
    return sorted(path.stem for path in data_path("cameras").glob("*.yaml"))


def load_camera(source: str | Path) -> Camera:
    """A shipped camera by its name ("nikon-d850", "NIKON D850"), or one from the path of a YAML or raw file.

    A raw file gives all that it says: matrices, as-shot white, levels, NoiseProfile, opcode lists. Raises ValueError
    for an unknown name or a YAML that does not hold a camera, RawFileError for a file that isp.read refuses.
    """
    path = Path(source)
    if path.suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(path)
    if path.is_file():
        from isp.raw import read

        meta = read(path).meta
        return Camera(meta.unique_camera_model or meta.model or path.stem, meta)
    name = re.sub("[^a-z0-9]+", "-", str(source).lower()).strip("-")
    known = list_cameras()
    if name not in known:
        near = [other for other in known if other.split("-")[0] == name.split("-")[0]] or known
        raise ValueError(
            f"no camera {str(source)!r}: neither a file nor one of the {len(known)} shipped ones, "
            f"such as {', '.join(near[:8])}; isp.cameras.list_cameras() names all"
        )
    return _shipped(data_path("cameras") / f"{name}.yaml")


def random_camera(
    rng: np.random.Generator, scheme: str = "mixture", cameras: Sequence[str | Path | Camera] | None = None
) -> Camera:
    """A camera drawn between real ones, a Bayer one with an as-shot white of its own.

    "mixture": two to four cameras with the same calibration illuminants, their ColorMatrices and ForwardMatrices
    mixed with weights uniform on the simplex, under a light of random temperature and tint: gains that belong to the
    matrices. "upi": see upi_camera. cameras: those to draw from, also by name or path; None: all that ship.
    """
    pool = [source if isinstance(source, Camera) else load_camera(source) for source in cameras or list_cameras()]
    if colourless := [camera.name for camera in pool if not camera.has_colour]:
        raise ValueError(f"camera {colourless[0]!r} has no ColorMatrix, so none can be drawn near it")
    if scheme == "upi":
        return upi_camera(rng, pool)
    if scheme != "mixture":
        raise ValueError(f"scheme is {scheme!r}; expected mixture or upi")
    first = pool[rng.integers(len(pool))]
    alike = [camera for camera in pool if camera.illuminants == first.illuminants and camera is not first]
    count = min(int(rng.integers(1, 4)), len(alike))
    parts = [first, *(alike[i] for i in rng.permutation(len(alike))[:count])]
    weights = _simplex(rng, len(parts))
    camera = Camera(_mixture_name(parts, weights), _mixed(parts, weights), licence=_licences(parts))
    frame = camera.metadata(2, 2, temperature=1e6 / rng.uniform(*MIREDS), tint=rng.uniform(*TINTS))
    return replace(camera, frame=frame)


def upi_camera(rng: np.random.Generator, pool: Sequence[Camera]) -> Camera:
    """A camera by the scheme of "Unprocessing Images for Learned Raw Denoising" (T. Brooks et al., CVPR 2019, sec. 3).

    The ColorMatrices (daylight) of four cameras mixed with random weights and reduced to what they do to
    white-balanced RGB; gains apart from them: red U(1.9, 2.4), blue U(1.5, 1.9); brightness 1 / N(0.8, 0.1) as
    BaselineExposure; noise by sample_upi as NoiseProfile.
    Differs from the paper: the four cameras are drawn from the pool, the paper always mixes its own four; the
    brightness is held to 0.5 .. 1.1 of the sensor's range. Its tone curve belongs to the picture, not to the camera.
    """
    import torch

    from isp.noise.upi import sample_upi

    parts = [pool[i] for i in rng.permutation(len(pool))[:4]]
    weights = rng.random(len(parts))
    weights = weights / weights.sum()
    frame = _mixed(parts, weights)
    last = frame.color_matrix2 if frame.color_matrix2 is not None else frame.color_matrix1
    assert last is not None
    srgb_to_xyz = rgb_to_xyz(*SPACES["srgb"][:2])
    srgb_to_camera = last @ srgb_to_xyz
    srgb_to_camera = srgb_to_camera / srgb_to_camera.sum(1, keepdims=True)  # white stays white
    forward = bradford(xy_to_xyz(D65), xy_to_xyz(D50)) @ srgb_to_xyz @ np.linalg.inv(srgb_to_camera)
    red, blue = rng.uniform(1.9, 2.4), rng.uniform(1.5, 1.9)
    brightness = float(np.clip(rng.normal(0.8, 0.1), 0.5, 1.1))
    shot, read = sample_upi(1, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
    upi = RawMetadata(
        height=2,
        width=2,
        cfa=CFA("RGGB"),
        black_level=np.full((1, 1, 1), BLACK),
        white_level=np.array([WHITE]),
        calibration_illuminant1=21,
        color_matrix1=last,
        forward_matrix1=forward,
        as_shot_neutral=np.array([1 / red, 1.0, 1 / blue]),
        baseline_exposure=-math.log2(brightness),
        noise_profile=np.array([[float(shot), float(read)]]),
    )
    return Camera("upi: " + _mixture_name(parts, weights), upi, licence=_licences(parts))


def _mixed(parts: Sequence[Camera], weights: np.ndarray) -> RawMetadata:
    """A frame with the weighted means of the cameras' matrices; everything else that of a YAML that says nothing."""
    mixed = {
        name: np.sum([w * getattr(part.frame, name) for part, w in zip(parts, weights, strict=True)], axis=0)
        for name in ("color_matrix1", "color_matrix2", "forward_matrix1", "forward_matrix2")
        if all(getattr(part.frame, name) is not None for part in parts)
    }
    illuminants: dict[str, Any] = dict(zip(ILLUMINANTS, parts[0].illuminants, strict=True))
    return RawMetadata(
        height=2,
        width=2,
        cfa=CFA("RGGB"),
        black_level=np.full((1, 1, 1), BLACK),
        white_level=np.array([WHITE]),
        **illuminants,
        **mixed,
    )


def _simplex(rng: np.random.Generator, count: int) -> np.ndarray:
    """Uniform weights with sum 1: the gaps between sorted uniform numbers."""
    cuts = np.sort(rng.random(count - 1))
    return np.diff(np.concatenate([[0.0], cuts, [1.0]]))


def _mixture_name(parts: Sequence[Camera], weights: np.ndarray) -> str:
    return " + ".join(f"{w:.3f} {part.name}" for part, w in zip(parts, weights, strict=True))


def _licences(parts: Sequence[Camera]) -> str:
    return ", ".join(sorted({part.licence or "unknown" for part in parts}))


def _levels(frame: RawMetadata, height: int, width: int, linear: bool) -> dict[str, Any]:
    """The fields that turn counts into linear values, for a frame of this size."""
    if linear:
        return {
            "black_level": np.zeros((1, 1, 3)),
            "white_level": np.ones(3),
            "black_level_delta_h": None,
            "black_level_delta_v": None,
            "linearization_table": None,
            "opcode_list1": (),
            "opcode_list2": (),
        }
    delta_h, delta_v = frame.black_level_delta_h, frame.black_level_delta_v
    return {
        "black_level_delta_h": delta_h if delta_h is None else np.resize(delta_h, width),
        "black_level_delta_v": delta_v if delta_v is None else np.resize(delta_v, height),
        "opcode_list1": _fit_opcodes(frame.opcode_list1, frame, (height, width), stored=True),
        "opcode_list2": _fit_opcodes(frame.opcode_list2, frame, (height, width)),
    }


def _fit_opcodes(
    opcodes: Sequence[Opcode], frame: RawMetadata, size: tuple[int, int], stored: bool = False
) -> tuple[Opcode, ...]:
    """The gains and maps of a list on a frame of another size, without borders.

    stored: the list works on the frame with its borders (OpcodeList1), whose corner is not the active area's.
    """
    top, left, bottom, right = frame.area
    old = (bottom - top, right - left)
    corner = (top, left) if stored else (0, 0)
    fitted: list[Opcode] = []
    for opcode in opcodes:
        if isinstance(opcode, FixVignetteRadial):
            fitted.append(opcode)
        elif isinstance(opcode, AreaOpcode) and not isinstance(opcode, LineOpcode):
            t, b = _stretch(opcode.top - corner[0], opcode.bottom - corner[0], opcode.row_pitch, old[0], size[0])
            l, r = _stretch(opcode.left - corner[1], opcode.right - corner[1], opcode.col_pitch, old[1], size[1])  # noqa: E741
            if t < b and l < r:
                fitted.append(replace(opcode, top=t, left=l, bottom=b, right=r))
    return tuple(fitted)


def _stretch(start: int, stop: int, pitch: int, old: int, new: int) -> tuple[int, int]:
    """An interval of `old` lines among `new` ones, on the same phase of its pitch."""
    return max(start // pitch, 0) * new // old * pitch + start % pitch, round(min(stop, old) * new / old)


@cache
def _shipped(path: Path) -> Camera:
    return _from_yaml(path)


def _from_yaml(path: Path) -> Camera:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold keys and values; got {type(values).__name__}")
    known = [*KEYS, *ILLUMINANTS, *MATRICES]
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known keys: {', '.join(known)}")
    values = {"black_level": BLACK, "white_level": WHITE, "cfa": "RGGB", **values}
    name, licence, noise = (values.pop(key, None) for key in ("name", "licence", "noise"))
    try:
        cfa = _cfa(str(values.pop("cfa")))
        black = np.asarray(values.pop("black_level"), dtype=np.float64)  # one number, or one per site in reading order
        black = np.broadcast_to(black, cfa.rows * cfa.cols).reshape(cfa.rows, cfa.cols, 1)
        white = np.atleast_1d(np.asarray(values.pop("white_level"), dtype=np.float64))
        frame = RawMetadata(height=2, width=2, cfa=cfa, black_level=black, white_level=white, **values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if noise is not None and noise.endswith((".yaml", ".yml")):
        noise = str(path.parent / noise)
    return Camera(str(name or path.stem), frame, noise, licence)


def _cfa(letters: str) -> CFA:
    for _, rows, cols in CANONICAL.values():
        if len(letters) == rows * cols:
            return CFA(letters, rows, cols)
    raise ValueError(f"cfa has {len(letters)} letters; expected 4 (Bayer), 16 (Quad-Bayer) or 36 (X-Trans)")
