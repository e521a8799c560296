"""What a raw file says about its mosaic. Fields are the DNG tags in snake_case (DNG 1.7.1, chapter 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from isp.dataclass import dataclass
from isp.raw.cfa import CFA

if TYPE_CHECKING:
    from isp.raw.opcodes import Opcode

MATRICES = tuple(f"{name}{i}" for name in ("color_matrix", "camera_calibration", "forward_matrix") for i in (1, 2, 3))
# Orientation tag (TIFF 6.0, tag 274): transpose first, then flip rows (upside down), then flip columns (mirror).
ORIENTATIONS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True, eq=False)
class RawMetadata:
    """Everything the stages need, from the file alone. Arrays are float64 and read-only.

    height, width: of the stored mosaic, masked borders included. None means that the file does not say; the fields
    with a default hold the specification's default. `origins` tells for each field where it came from: a tag
    ("IFD0 tag 50721"), "LibRaw", "sidecar" or "default".
    """

    height: int
    width: int
    samples: int = 1  # planes stored at each pixel: 1, or 3 for a linear DNG
    cfa: CFA | None = None  # from the top left of the active area; None for monochrome and linear files

    # geometry
    active_area: tuple[int, int, int, int] | None = None  # top, left, bottom, right in the stored mosaic; None: all
    default_crop_origin: tuple[float, float] = (0.0, 0.0)  # x, y in the active area
    default_crop_size: tuple[float, float] | None = None  # width, height; None: all of the active area
    default_scale: tuple[float, float] = (1.0, 1.0)  # horizontal, vertical; other than 1 for non-square pixels
    orientation: int = 1

    # levels, in DN
    linearization_table: np.ndarray | None = None  # N
    black_level: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 1)))  # rows cols samples, one repeat
    black_level_delta_h: np.ndarray | None = None  # one per column of the active area
    black_level_delta_v: np.ndarray | None = None  # one per row of the active area
    white_level: np.ndarray = field(default_factory=lambda: np.array([65535.0]))  # samples

    opcode_list1: tuple[Opcode, ...] = ()  # on the stored counts
    opcode_list2: tuple[Opcode, ...] = ()  # on the linear mosaic
    opcode_list3: tuple[Opcode, ...] = ()  # on the demosaicked camera RGB

    # colour. Matrices are 3x3; ColorMatrix is XYZ to camera, ForwardMatrix white-balanced camera to XYZ D50.
    calibration_illuminant1: int = 0  # EXIF LightSource
    calibration_illuminant2: int | None = None
    calibration_illuminant3: int | None = None
    illuminant_xy1: tuple[float, float] | None = None  # from IlluminantData, where the illuminant is 255 ("other")
    illuminant_xy2: tuple[float, float] | None = None
    illuminant_xy3: tuple[float, float] | None = None
    color_matrix1: np.ndarray | None = None
    color_matrix2: np.ndarray | None = None
    color_matrix3: np.ndarray | None = None
    camera_calibration1: np.ndarray | None = None
    camera_calibration2: np.ndarray | None = None
    camera_calibration3: np.ndarray | None = None
    forward_matrix1: np.ndarray | None = None
    forward_matrix2: np.ndarray | None = None
    forward_matrix3: np.ndarray | None = None
    analog_balance: np.ndarray = field(default_factory=lambda: np.ones(3))
    as_shot_neutral: np.ndarray | None = None  # camera RGB of a neutral, largest entry usually 1
    as_shot_white_xy: tuple[float, float] | None = None
    baseline_exposure: float = 0.0  # stops, BaselineExposureOffset included

    # camera profile
    profile_hue_sat_map1: np.ndarray | None = None  # hue sat value 3: hue shift (degrees), sat scale, value scale
    profile_hue_sat_map2: np.ndarray | None = None
    profile_hue_sat_map3: np.ndarray | None = None
    profile_hue_sat_map_encoding: int = 0  # 0 linear, 1 sRGB
    profile_look_table: np.ndarray | None = None  # hue sat value 3
    profile_look_table_encoding: int = 0
    profile_tone_curve: np.ndarray | None = None  # N 2: input, output, both 0..1
    profile_name: str | None = None

    noise_profile: np.ndarray | None = None  # planes 2: S, O of std = sqrt(S x + O), x normalised (black 0, white 1)

    # what the picture carries on as EXIF
    make: str | None = None
    model: str | None = None
    unique_camera_model: str | None = None
    lens_model: str | None = None
    software: str | None = None
    artist: str | None = None
    copyright: str | None = None
    date_time: str | None = None  # "YYYY:MM:DD HH:MM:SS", DateTimeOriginal where present
    iso: float | None = None
    exposure_time: float | None = None  # seconds
    f_number: float | None = None
    focal_length: float | None = None  # mm

    origins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type in ("np.ndarray", "np.ndarray | None") and value is not None:
                array = np.array(value, dtype=np.float64)
                if not np.all(np.isfinite(array)):
                    raise ValueError(f"{f.name} holds values that are not finite numbers")
                array.flags.writeable = False
                object.__setattr__(self, f.name, array)
        object.__setattr__(self, "origins", MappingProxyType(dict(self.origins)))
        self._check()

    def _check(self) -> None:
        def expect(ok: bool, name: str, what: str) -> None:
            if not ok:
                value = getattr(self, name)
                shown = f"shape {value.shape}" if isinstance(value, np.ndarray) and value.size > 9 else f"{value!r}"
                raise ValueError(f"{name} should be {what}; got {shown}".replace("\n", " "))

        expect(self.height > 0 and self.width > 0, "height", f"positive, with width (here {self.width})")
        expect(self.samples in (1, 3), "samples", "1 (mosaic, monochrome) or 3 (linear RGB)")
        expect(self.cfa is None or self.samples == 1, "cfa", "None where every pixel holds 3 samples")
        expect(self.orientation in ORIENTATIONS, "orientation", "1 to 8")
        top, left, bottom, right = self.area
        expect(
            0 <= top < bottom <= self.height and 0 <= left < right <= self.width,
            "active_area",
            f"top, left, bottom, right inside {self.height} x {self.width} (rows x columns)",
        )
        expect(
            self.black_level.ndim == 3 and self.black_level.shape[2] == self.samples and self.black_level.size > 0,
            "black_level",
            f"rows cols {self.samples}",
        )
        expect(self.white_level.shape == (self.samples,), "white_level", f"{self.samples} number(s)")
        for name, size in (("black_level_delta_h", right - left), ("black_level_delta_v", bottom - top)):
            value = getattr(self, name)
            expect(value is None or value.shape == (size,), name, f"{size} numbers, the active area's size")
        for name in MATRICES:
            value = getattr(self, name)
            expect(value is None or value.shape == (3, 3), name, "a 3x3 matrix")
        expect(self.analog_balance.shape == (3,), "analog_balance", "3 numbers")
        neutral = self.as_shot_neutral
        expect(
            neutral is None or (neutral.shape == (3,) and bool((neutral > 0).all())),
            "as_shot_neutral",
            "3 positive numbers",
        )
        x, y = self.default_crop_origin
        w, h = self.default_crop_size or (right - left, bottom - top)
        expect(
            x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= right - left and y + h <= bottom - top,
            "default_crop_size",
            f"width, height that with origin {self.default_crop_origin} fit the active area "
            f"{right - left} x {bottom - top} (columns x rows)",
        )
        for name in ("profile_hue_sat_map1", "profile_hue_sat_map2", "profile_hue_sat_map3", "profile_look_table"):
            value = getattr(self, name)
            expect(value is None or (value.ndim == 4 and value.shape[3] == 3), name, "hue sat value 3")
        curve = self.profile_tone_curve
        expect(
            curve is None or (curve.ndim == 2 and curve.shape[1] == 2 and len(curve) > 1),
            "profile_tone_curve",
            "at least 2 points (input, output)",
        )
        profile = self.noise_profile
        expect(profile is None or (profile.ndim == 2 and profile.shape[1] == 2), "noise_profile", "planes 2")

    @property
    def kind(self) -> str:
        """'bayer', 'quad-bayer', 'x-trans', 'monochrome' or 'linear'."""
        if self.cfa is not None:
            return self.cfa.kind
        return "linear" if self.samples == 3 else "monochrome"

    @property
    def area(self) -> tuple[int, int, int, int]:
        """ActiveArea as top, left, bottom, right; the whole mosaic where the file has none."""
        return self.active_area or (0, 0, self.height, self.width)

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """DefaultCrop as top, left, bottom, right in the active area, rounded to whole pixels."""
        top, left, bottom, right = self.area
        x, y = self.default_crop_origin
        width, height = self.default_crop_size or (right - left - x, bottom - top - y)
        t, l = round(y), round(x)  # noqa: E741
        return t, l, min(t + max(round(height), 1), bottom - top), min(l + max(round(width), 1), right - left)

    def as_dict(self) -> dict[str, Any]:
        """The fields that the file states, by name: for records and for printing."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "origins"}

    def __eq__(self, other: object) -> bool:
        """Same content; where it came from (`origins`) does not count."""
        if not isinstance(other, RawMetadata):
            return NotImplemented
        mine, theirs = self.as_dict(), other.as_dict()
        return all(
            np.array_equal(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else bool(a is b or a == b)
            for a, b in ((mine[name], theirs[name]) for name in mine)
            if isinstance(a, np.ndarray) == isinstance(b, np.ndarray)
        ) and all(isinstance(mine[n], np.ndarray) == isinstance(theirs[n], np.ndarray) for n in mine)

    __hash__ = None  # type: ignore[assignment]
