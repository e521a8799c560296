"""ICC profiles of the output spaces, so that every viewer shows a picture in the colours that it was written for.

Source: ICC.1:2010 (profile version 4.3): header 7.2, tag table 7.3, three-component matrix-based profiles 8.3.3,
parametricCurveType 10.18, multiLocalizedUnicodeType 10.15. Version 4, because its parametric curves are the output
encodings exactly; version 2 would need tables. The same space always gives the same bytes.
"""

from __future__ import annotations

import struct
from functools import cache

import numpy as np

from isp.digest import md5
from isp.primaries import CURVES, SPACES, Curve, bradford, rgb_to_xyz, xy_to_xyz

D50 = np.array([63190, 65536, 54061]) / 65536  # XYZ of the connection space's white, as the header holds it
NAMES = {"srgb": "sRGB", "display-p3": "Display P3", "rec2020": "Rec. 2020", "prophoto": "ProPhoto RGB"}


@cache
def profile(space: str, linear: bool = False) -> bytes | None:
    """The ICC profile of a space, display-encoded or linear; None for camera RGB, which no profile describes."""
    if space == "camera":
        return None
    primaries, white, transfer = SPACES[space]
    adaptation = bradford(xy_to_xyz(white), D50)
    matrix = np.rint(adaptation @ rgb_to_xyz(primaries, white) * 65536) / 65536
    matrix[:, 1] += D50 - matrix.sum(1)  # the three together are the white, to the last bit
    curve = _curve(None if linear else CURVES[transfer])
    tags = {
        b"desc": _text(f"{NAMES[space]}{' linear' if linear else ''}"),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adaptation),
        b"rXYZ": _xyz(matrix[:, 0]),
        b"gXYZ": _xyz(matrix[:, 1]),
        b"bXYZ": _xyz(matrix[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    return _assemble(tags)


def _assemble(tags: dict[bytes, bytes]) -> bytes:
    """Header, tag table and tags; equal tags are stored once."""
    start = 128 + 4 + 12 * len(tags)
    table, data, places = struct.pack(">I", len(tags)), b"", {}
    for signature, tag in tags.items():
        if tag not in places:
            places[tag] = start + len(data)
            data += tag + b"\0" * (-len(tag) % 4)
        table += struct.pack(">4sII", signature, places[tag], len(tag))
    size = start + len(data)
    date = struct.pack(">6H", 2025, 1, 1, 0, 0, 0)  # fixed, so that the same space gives the same bytes
    header = struct.pack(">I4xI4s4s4s", size, 0x04300000, b"mntr", b"RGB ", b"XYZ ") + date + b"acsp"
    header = header.ljust(68, b"\0") + _fixed(D50)
    unsigned = header.ljust(128, b"\0") + table + data  # its identity is still zero
    identity = md5(unsigned, usedforsecurity=False).digest()  # ICC.1:2010, 7.2.18
    return unsigned[:84] + identity + unsigned[100:]


def _fixed(values: np.ndarray | tuple[float, ...]) -> bytes:
    """s15Fixed16 numbers, row by row."""
    return np.rint(np.asarray(values) * 65536).astype(">i4").tobytes()


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _curve(curve: Curve | None) -> bytes:
    """The way from encoded to linear values. Function types of table 65: 0 is a power, here 1; 3 has a linear toe,
    linear = (a v + b) ** gamma from v = d on and c v below."""
    if curve is None:
        return b"para\0\0\0\0" + struct.pack(">Hxx", 0) + _fixed((1.0,))
    slope, knee, scale, exponent, offset = curve
    return (
        b"para\0\0\0\0"
        + struct.pack(">Hxx", 3)
        + _fixed((1 / exponent, 1 / scale, offset / scale, 1 / slope, slope * knee))
    )


def _text(text: str) -> bytes:
    encoded = struct.pack(f">{len(text)}H", *text.encode("ascii"))  # UTF-16, of which Python imports the codec
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def chromaticities(space: str) -> tuple[float, ...]:
    """x and y of red, green, blue and white, as an EXR file holds them."""
    primaries, white, _ = SPACES[space]
    return tuple(value for xy in (*primaries, white) for value in xy)
