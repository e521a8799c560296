"""Noise profiles: what a sensor's noise is at an ISO. YAML files under data/noise, or a user's own; NumPy only."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from isp.locate import shipped_names, yaml_path


@dataclass(frozen=True)
class TableRow:
    """Calibrated figures at one ISO: one number for all planes, 3 (R, G, B) or one per site in reading order."""

    iso: float
    shot: tuple[float, ...]
    read: tuple[float, ...]
    row: float = 0.0  # variance of the offsets of whole rows, a part of read

    def __post_init__(self) -> None:
        object.__setattr__(self, "shot", _numbers(self.shot, "shot"))
        object.__setattr__(self, "read", _numbers(self.read, "read"))
        object.__setattr__(self, "iso", _number(self.iso, "iso"))
        object.__setattr__(self, "row", _number(self.row, "row"))
        if not self.iso > 0:
            raise ValueError(f"iso is {self.iso!r}; expected a positive number")


@dataclass(frozen=True)
class EldLaw:
    """Parameters of isp.noise.eld for one camera; a law (slope, bias, sd) is ln s = slope ln K + bias + N(0, sd)."""

    gain_range: tuple[float, float]  # K, DN per electron
    tukey_scale: tuple[float, float, float]  # scale of the read noise, DN
    row_std: tuple[float, float, float]  # DN
    tukey_lambda: tuple[float, ...] = ()  # shape of the read noise, in calibrated settings of rising gain ...
    tukey_lambda_range: tuple[float, float] = (0.0, 0.0)  # ... or its range, where no settings are known
    colour_bias: tuple[tuple[float, float, float, float], ...] = ()  # DN, per setting: sites in reading order of RGGB
    step: float = 1.0  # quantisation, DN

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, size in (("gain_range", 2), ("tukey_scale", 3), ("row_std", 3), ("tukey_lambda_range", 2)):
            put(self, name, _numbers(getattr(self, name), name, size))
        put(self, "tukey_lambda", _numbers(self.tukey_lambda, "tukey_lambda"))
        put(self, "step", _number(self.step, "step"))
        put(self, "colour_bias", tuple(_numbers(row, "colour_bias", 4) for row in self.colour_bias))
        if not 0 < self.gain_range[0] < self.gain_range[1]:
            raise ValueError(f"gain_range is {self.gain_range}; expected two rising positive numbers")


@dataclass(frozen=True)
class NoiseProfile:
    """One sensor's noise over ISO; linear units: variance = shot * x + read with black 0 and white 1.

    Either a table, interpolated between its rows along straight lines of ln shot and ln read over ln ISO (linearly
    where a figure is not positive), or a closed form: K = slope ISO + offset (`gain`), with
    ln sigma = slope ln K + bias (`log_read`) or sigma^2 = c2 ISO^2 + c1 ISO + c0 (`read_polynomial`), K and sigma in
    DN. A profile with neither holds only an ELD law.
    """

    name: str
    sensor: str
    source: str
    licence: str
    scale: float  # DN between black and white
    bits: int
    iso_range: tuple[float, float] | None = None  # calibrated; outside it at_iso warns
    note: str = ""
    table: tuple[TableRow, ...] = ()
    switch_iso: float | None = None  # dual-gain sensors: rows below and rows from this ISO on are interpolated apart
    gain: tuple[float, float] | None = None
    log_read: tuple[float, float] | None = None
    read_polynomial: tuple[float, float, float] | None = None
    eld: EldLaw | None = None
    cameras: tuple[str, ...] = ()  # whose raws it holds for: make and model, or other names that their files give

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name, size in (("iso_range", 2), ("gain", 2), ("log_read", 2), ("read_polynomial", 3)):
            if getattr(self, name) is not None:
                put(self, name, _numbers(getattr(self, name), name, size))
        put(self, "scale", _number(self.scale, "scale"))
        put(self, "cameras", tuple(map(str, self.cameras)))
        if not isinstance(self.table, Sequence):
            raise ValueError(f"table should be a list of rows; got {type(self.table).__name__}")
        rows = tuple(row if isinstance(row, TableRow) else _build(TableRow, row, "table") for row in self.table)
        put(self, "table", tuple(sorted(rows, key=lambda row: row.iso)))
        if self.eld is not None and not isinstance(self.eld, EldLaw):
            put(self, "eld", _build(EldLaw, self.eld, "eld"))
        if not self.scale > 0:
            raise ValueError(f"scale is {self.scale!r}; expected the DN between black and white")
        closed = self.gain is not None and (self.log_read is None) != (self.read_polynomial is None)
        partly = any(value is not None for value in (self.gain, self.log_read, self.read_polynomial))
        if (self.table and partly) or (partly and not closed):
            raise ValueError(
                f"profile {self.name!r} needs one law over ISO: a table, or gain with log_read or read_polynomial"
            )
        if not (self.table or closed or self.eld):
            raise ValueError(f"profile {self.name!r} holds no law: neither a table, nor a closed form, nor eld")
        if (self.table or closed) and self.iso_range is None:
            raise ValueError(f"profile {self.name!r} needs iso_range, the ISOs that it was calibrated for")

    def at_iso(self, iso: float) -> tuple[np.ndarray, np.ndarray]:
        """(shot, read) at an ISO, float64, linear; 4 numbers each, one per site of a Bayer block in reading order, or
        3 (R, G, B) where the table has 3: per_site() arranges those.

        Warns outside iso_range, where a table goes on along its last line (a lone row with slopes 1 for shot and 2 for
        read in ln ISO: amplification of everything). Raises ValueError for an ISO that is not positive, and for a
        profile that knows K but not the ISO that goes with it.
        """
        if not iso > 0:
            raise ValueError(f"ISO is {iso!r}; expected a positive number")
        if self.iso_range is None:
            raise ValueError(f"noise profile {self.name!r} states no law over ISO; sample it with isp.noise.sample_eld")
        low, high = self.iso_range
        if not low <= iso <= high:
            warnings.warn(
                f"noise profile {self.name!r} is calibrated for ISO {low:g} to {high:g}; ISO {iso:g} is extrapolated",
                stacklevel=2,
            )
        if self.table:
            return self._interpolated(iso)
        assert self.gain is not None
        k = self.gain[0] * iso + self.gain[1]
        if self.log_read is not None:
            variance = np.exp(2 * (self.log_read[0] * np.log(k) + self.log_read[1]))
        else:
            assert self.read_polynomial is not None
            variance = np.polyval(self.read_polynomial, iso)
        return np.full(4, k / self.scale), np.full(4, variance / self.scale**2)

    def _interpolated(self, iso: float) -> tuple[np.ndarray, np.ndarray]:
        switch = self.switch_iso if self.switch_iso is not None else 0.0
        rows = [row for row in self.table if (row.iso < switch) == (iso < switch)] or list(self.table)
        if len(rows) == 1:
            ratio = iso / rows[0].iso
            return _planes(rows[0].shot) * ratio, _planes(rows[0].read) * ratio**2
        i = int(np.clip(np.searchsorted([row.iso for row in rows], iso), 1, len(rows) - 1))
        lower, upper = rows[i - 1], rows[i]
        log_t = np.log(iso / lower.iso) / np.log(upper.iso / lower.iso)
        linear_t = (iso - lower.iso) / (upper.iso - lower.iso)

        def between(a: tuple[float, ...], b: tuple[float, ...]) -> np.ndarray:
            p, q = np.broadcast_arrays(_planes(a), _planes(b))
            straight = p + linear_t * (q - p)
            positive = (p > 0) & (q > 0)
            return np.where(
                positive,
                np.exp(np.log(np.where(positive, p, 1)) * (1 - log_t) + np.log(np.where(positive, q, 1)) * log_t),
                straight,
            )

        return between(lower.shot, upper.shot), between(lower.read, upper.read)

    @classmethod
    def load(cls, path: str | Path) -> NoiseProfile:
        """The profile in a YAML file. Raises ValueError that names the file for a key or a value that does not fit."""
        import yaml

        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            return _build(cls, values, "a noise profile")
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the profile as YAML that load() reads back."""
        import yaml

        from isp.files import whole_file

        with whole_file(path, overwrite) as part:
            part.write_text(yaml.safe_dump(self.as_dict(), sort_keys=False, width=110), encoding="utf-8")

    def as_dict(self) -> dict[str, Any]:
        """What load() takes: the fields that differ from their defaults, as plain lists and numbers."""
        return _plain(self)


def profile_names() -> list[str]:
    """Names of the profiles that ship with the library."""
    return shipped_names("noise")


def load_profile(name: str | Path) -> NoiseProfile:
    """A shipped profile by its name ("imx686"), or a user's own by the path of its YAML file."""
    return NoiseProfile.load(yaml_path(name, "noise", "noise profile"))


def camera_profile(*names: str | None) -> NoiseProfile | None:
    """The shipped profile that knows a law over ISO for a camera, by any of its names; None where there is none.

    names: as files give them ("NIKON D850"); case, spaces and punctuation do not count.
    """
    wanted = {_key(name) for name in names if name}
    for profile in map(_shipped, profile_names()):
        if profile.iso_range is not None and wanted & set(map(_key, profile.cameras)):
            return profile
    return None


@cache
def _shipped(name: str) -> NoiseProfile:
    return load_profile(name)


def _key(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _planes(values: tuple[float, ...]) -> np.ndarray:
    array = np.array(values, dtype=np.float64)
    return np.full(4, array[0]) if array.size == 1 else array


def _numbers(value: object, name: str, size: int | None = None) -> tuple[Any, ...]:
    items = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = [_number(item, name) for item in items]
    if size is not None and len(numbers) != size:
        raise ValueError(f"{name} holds {len(numbers)} numbers; expected {size}")
    return tuple(numbers)


def _number(value: object, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # YAML 1.1 reads 1e-3, without a point, as a string
    except (TypeError, ValueError):
        number = np.nan
    if isinstance(value, bool) or not np.isfinite(number):
        raise ValueError(f"{name} holds {value!r}; expected a number")
    return number


def _build(cls: type, values: object, where: str) -> Any:
    """An instance of a dataclass from a mapping with exactly its keys."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} should be a mapping of keys to values; got {type(values).__name__}")
    known = [field.name for field in fields(cls)]
    if unknown := sorted(str(key) for key in values if key not in known):
        raise ValueError(f"unknown key {unknown[0]!r} in {where}; known keys: {', '.join(known)}")
    return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if getattr(value, f.name) != f.default}
    return value.item() if isinstance(value, np.generic) else value
