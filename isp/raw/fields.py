"""RawMetadata's fields as they are gathered from a file: values, where each came from, and what had to be ignored."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from isp.raw.errors import CutFileError, RawFileError
from isp.raw.metadata import RawMetadata
from isp.raw.tiff import Ifd

DATE = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")


class Fields:
    """values: what RawMetadata is made of; origins: where each came from; notes: one line for each tag that is wrong
    and that a picture can do without, which the reader gives out as warnings."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.notes: list[str] = []

    def put(self, name: str, value: Any, origin: str) -> None:
        self.values[name] = value
        self.origins[name] = origin

    def take(
        self,
        name: str,
        code: int,
        ifds: Iterable[Ifd | None],
        read: Callable[[Ifd, int], Any],
        *,
        essential: bool = False,
    ) -> None:
        """Set a field from the tag `code` of the first directory that has it, with read(directory, code), whose None
        stands for nothing stated. A tag that is wrong raises RawFileError where essential, and where the file ends
        before it; elsewhere it leaves the default and a note."""
        for ifd in ifds:
            if ifd is not None and code in ifd:
                try:
                    value = read(ifd, code)
                except RawFileError as error:
                    if essential or isinstance(error, CutFileError):
                        raise
                    self.notes.append(f"{error}; it is ignored")
                    return
                if value is not None:
                    self.put(name, value, ifd.origin(code))
                return

    def metadata(self) -> RawMetadata:
        """RawMetadata with an origin for every field. Raises RawFileError for values that contradict each other."""
        names = [f.name for f in dataclasses.fields(RawMetadata) if f.name != "origins"]
        origins = {name: self.origins.get(name, "default") for name in names}
        try:
            return RawMetadata(**self.values, origins=origins)
        except ValueError as error:
            raise RawFileError(str(error)) from error


def positive(ifd: Ifd, code: int, least: int, most: int | None = None) -> np.ndarray:
    """The tag's numbers, all of them above 0."""
    values = ifd.finite(code, least, most)
    if not (values > 0).all():
        raise RawFileError(f"{ifd.origin(code)} is {_short(values)}; expected positive numbers")
    return values


def take_exif(fields: Fields, main: Ifd, exif: Ifd | None) -> None:
    """The fields that a picture carries on: from IFD0, and the EXIF directory before it where both have one."""
    for name, code in (("make", 271), ("model", 272), ("software", 305), ("artist", 315), ("copyright", 33432)):
        fields.take(name, code, [main], Ifd.text)
    fields.take("lens_model", 42036, [exif, main], Ifd.text)
    for code in (306, 36867):  # DateTimeOriginal takes the place of DateTime, which an editor may have set
        fields.take("date_time", code, [exif, main], _date)
    for name, code in (("exposure_time", 33434), ("f_number", 33437), ("focal_length", 37386)):
        fields.take(name, code, [exif, main], _measure)
    fields.take("iso", 34855, [exif, main], lambda ifd, code: float(ifd.integers(code, 1, 2)[0]) or None)
    if fields.values.get("iso") == 65535:  # all that the tag holds; EXIF 2.32 puts larger ones in ISOSpeed
        fields.take("iso", 34867, [exif, main], lambda ifd, code: float(ifd.integer(code)) or None)


def _date(ifd: Ifd, code: int) -> str | None:
    text = ifd.text(code)
    return text if text and DATE.fullmatch(text) else None


def _measure(ifd: Ifd, code: int) -> float | None:
    """A positive number; None where a camera that does not know it wrote 0 or 0/0."""
    value = float(ifd.numbers(code, 1)[0])
    return value if np.isfinite(value) and value > 0 else None


def _short(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values[:4]) + (" ..." if values.size > 4 else "")
