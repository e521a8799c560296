"""Mosaics without a header, `.raw` and `.npy`, with a YAML beside them that says what they are.

    # sensor.raw.yaml, for a sensor.raw of 12-bit counts in 16-bit words
    width: 4056
    height: 3040
    bits: 12
    cfa: BGGR
    black_level: 256
    as_shot_neutral: [0.45, 1.0, 0.62]
    color_matrix1: [0.6, -0.2, -0.1, -0.3, 1.2, 0.1, 0.0, 0.2, 0.5]  # XYZ to camera, row by row
    calibration_illuminant1: 21                                      # EXIF LightSource: D65

Besides the keys of LAYOUT, any field of RawMetadata may stand there by its name, except the opcode lists.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from isp.raw.cfa import CFA
from isp.raw.errors import RawFileError
from isp.raw.fields import Fields
from isp.raw.image import RawImage
from isp.raw.metadata import MATRICES, RawMetadata
from isp.raw.segments import MOST_PIXELS

LAYOUT = {
    "bits": "significant bits of a count, 8 to 16 (default 16); WhiteLevel is 2^bits - 1 unless stated",
    "packing": "how counts of 9 to 15 bits lie: words (16 bits each, the default), mipi (CSI-2 RAW10 and RAW12), "
    "msb or lsb (one after the other from the highest or lowest bit of each byte)",
    "byte_order": "of words: little (default) or big",
    "offset": "bytes before the first count (default 0)",
    "stride": "bytes from row to row (default: as many as a row has)",
}
FIELDS = {f.name: str(f.type) for f in dataclasses.fields(RawMetadata) if not f.name.startswith(("opcode", "origins"))}
MOST_YAML_BYTES = 1 << 18
MOST_YAML_DEPTH = 8


def find_sidecar(path: Path) -> Path | None:
    """`x.raw.yaml`, else `x.yaml`; None where there is neither."""
    for candidate in (path.with_name(path.name + ".yaml"), path.with_suffix(".yaml")):
        if candidate.is_file():
            return candidate
    return None


def read_headerless(path: Path) -> RawImage:
    """The mosaic of a `.raw` or `.npy` file, as its YAML says it is. Raises RawFileError where the two disagree."""
    sidecar = find_sidecar(path)
    if sidecar is None:
        raise RawFileError(f"needs {path.name}.yaml or {path.stem}.yaml beside it, which says what the mosaic is")
    layout, values = _load(sidecar)
    try:
        if path.suffix.lower() == ".npy":
            if unused := sorted(set(layout) - {"bits"}):
                raise RawFileError(f"{sidecar.name}: {unused[0]} is for .raw files; a .npy states its own")
            mosaic = _read_npy(path)
            for name, stated in (("height", mosaic.shape[0]), ("width", mosaic.shape[1])):
                if values.setdefault(name, stated) != stated:
                    raise RawFileError(f"{sidecar.name} says {name} {values[name]}; the array has {stated}")
            values.setdefault("samples", mosaic.shape[2] if mosaic.ndim == 3 else 1)
        else:
            mosaic = _read_counts(path, sidecar.name, layout, values)
        meta = _metadata(sidecar.name, values, layout.get("bits"), mosaic)
        return RawImage(mosaic, meta, path)
    except RawFileError:
        raise
    except (OSError, ValueError) as error:
        raise RawFileError(" ".join(str(error).split())) from error


def _load(sidecar: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(layout keys, metadata fields) of a YAML, checked by name and converted to their types."""
    size = sidecar.stat().st_size
    if size > MOST_YAML_BYTES:
        raise RawFileError(f"{sidecar.name} has {size} bytes; expected at most {MOST_YAML_BYTES}")
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, where PyYAML was built with it
    try:
        text = sidecar.read_text(encoding="utf-8")
        # Deep nesting overflows PyYAML's stack, and an alias can make a short file stand for billions of numbers;
        # events come one by one, so that neither gets as far as being loaded.
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_YAML_DEPTH:
                raise RawFileError(f"{sidecar.name}: lists in lists {depth} deep; expected at most {MOST_YAML_DEPTH}")
            if isinstance(event, yaml.AliasEvent):
                raise RawFileError(f"{sidecar.name}: aliases (*name) are not read")
        loaded = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, RawFileError):
            raise
        raise RawFileError(f"{sidecar.name} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise RawFileError(f"{sidecar.name} should hold keys and values; got {type(loaded).__name__}")
    known = [*LAYOUT, *FIELDS]
    if unknown := sorted(str(key) for key in loaded if key not in known):
        raise RawFileError(f"{sidecar.name}: unknown key {unknown[0]!r}; known keys: {', '.join(sorted(known))}")
    layout, values = {}, {}
    for name, value in loaded.items():
        try:
            if name in LAYOUT:
                layout[name] = str(value) if name in ("packing", "byte_order") else _integer(value)
            else:
                values[name] = _convert(FIELDS[name], value)
        except (TypeError, ValueError, OverflowError) as error:
            raise RawFileError(f"{sidecar.name}: {name}: {' '.join(str(error).split())}") from error
    return layout, values


def _convert(kind: str, value: Any) -> Any:
    """A YAML value as the type that RawMetadata annotates."""
    kind = kind.removesuffix(" | None")
    if kind == "int":
        return _integer(value)
    if kind == "float":
        return _number(value)
    if kind == "np.ndarray":
        return _array(value)
    if kind.startswith("tuple["):
        parts = kind[len("tuple[") : -1].split(", ")
        if not isinstance(value, list) or len(value) != len(parts):
            raise ValueError(f"expected a list of {len(parts)} numbers, got {value!r}")
        return tuple(_convert(part, item) for part, item in zip(parts, value, strict=True))
    return str(value)  # text, and the letters of the CFA


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {value!r}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):  # YAML takes 1e-3 for a string
        raise ValueError(f"expected a number, got {value!r}")
    return float(value)


def _array(value: Any) -> np.ndarray:
    def numbers(part: Any) -> Any:
        return [numbers(item) for item in part] if isinstance(part, list) else _number(part)

    return np.array(numbers(value), dtype=np.float64)


def _metadata(sidecar: str, values: dict[str, Any], bits: int | None, mosaic: np.ndarray) -> RawMetadata:
    samples = values["samples"]
    if samples == 1:
        if "cfa" not in values:
            raise RawFileError(f"{sidecar} does not say cfa; expected letters as RGGB, or none for a monochrome sensor")
        letters = values.pop("cfa").upper()
    if samples == 1 and letters != "NONE":
        side = math.isqrt(len(letters))
        rows, cols = (side, side) if side * side == len(letters) else (1, len(letters))
        values["cfa"] = CFA(letters, rows, cols)
    if "black_level" in values:
        values["black_level"] = _black_level(values["black_level"], values.get("cfa"), samples)
    if "white_level" in values:
        values["white_level"] = np.broadcast_to(values["white_level"], samples)
    else:
        depth = bits or mosaic.dtype.itemsize * 8
        values["white_level"] = np.full(samples, 1.0 if mosaic.dtype.kind == "f" else 2.0**depth - 1)
    values.setdefault("black_level", np.zeros((1, 1, samples)))
    for name in MATRICES:
        if name in values and values[name].size == 9:
            values[name] = values[name].reshape(3, 3)
    fields = Fields()
    for name, value in values.items():
        fields.put(name, value, "sidecar")
    meta = fields.metadata()
    if not (meta.white_level > meta.black_level.max((0, 1))).all():
        raise RawFileError(f"{sidecar}: white_level is not above black_level")
    return meta


def _black_level(value: np.ndarray, cfa: CFA | None, samples: int) -> np.ndarray:
    """rows cols samples, from one number, one per plane, one per CFA position in reading order, or rows of columns."""
    if value.ndim == 0:
        return np.full((1, 1, samples), float(value))
    if value.ndim == 1 and samples > 1 and value.size == samples:
        return value.reshape(1, 1, samples)
    if value.ndim == 1 and cfa is not None and value.size == cfa.rows * cfa.cols:
        return value.reshape(cfa.rows, cfa.cols, 1)
    if value.ndim == 2 and samples == 1:
        return value[..., None]
    return value


def _read_npy(path: Path) -> np.ndarray:
    """H W or H W 3. The header's shape is compared with the file's size before anything is allocated."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise RawFileError(f"is a .npy of version {version}; expected 1.0 or 2.0")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        start = file.tell()
    if dtype.kind not in "uf":
        raise RawFileError(f"holds {dtype}; expected unsigned integer or floating-point counts")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
        raise RawFileError(f"holds an array of shape {shape}; expected H W, or H W 3 for linear RGB")
    found = path.stat().st_size - start
    if math.prod(shape) * dtype.itemsize != found:
        raise RawFileError(f"shape {shape} of {dtype} needs {math.prod(shape) * dtype.itemsize} bytes; found {found}")
    mosaic = np.load(path, allow_pickle=False)
    mosaic = np.ascontiguousarray(mosaic.astype(mosaic.dtype.newbyteorder("="), copy=False))
    if mosaic.dtype.kind == "f" and not np.isfinite(mosaic).all():
        raise RawFileError("holds values that are not finite numbers")
    return mosaic


def _read_counts(path: Path, sidecar: str, layout: dict[str, Any], values: dict[str, Any]) -> np.ndarray:
    """H W, or H W 3 where the YAML says samples: 3; uint8 for 8 bits, else uint16."""
    if missing := [name for name in ("width", "height") if name not in values]:
        raise RawFileError(f"{sidecar} does not say {missing[0]}")
    height, width, samples = values["height"], values["width"], values.setdefault("samples", 1)
    bits, packing = layout.get("bits", 16), layout.get("packing", "words")
    order = {"little": "<", "big": ">"}.get(layout.get("byte_order", "little"))
    offset = layout.get("offset", 0)
    if not (0 < height * width <= MOST_PIXELS and height > 0 and samples in (1, 3)):
        raise RawFileError(f"{sidecar} says {width} x {height} pixels of {samples} sample(s)")
    if order is None:
        raise RawFileError(f"{sidecar} says byte_order {layout['byte_order']!r}; expected little or big")
    if packing not in ("words", "mipi", "msb", "lsb") or not 8 <= bits <= 16:
        raise RawFileError(
            f"{sidecar} says {bits} bits, packing {packing!r}; expected 8 to 16, words, mipi, msb or lsb"
        )
    if packing == "mipi" and bits not in (8, 10, 12, 16):
        raise RawFileError(f"{sidecar} says {bits} bits, packing mipi; expected 10 or 12")

    run = width * samples  # counts in a row
    word = packing == "words" or bits in (8, 16)
    group = {10: 4, 12: 2}[bits] if packing == "mipi" and not word else 1  # counts that share low bits
    row_bytes = run * (1 if bits == 8 else 2) if word else -(-run // group) * group * bits // 8
    if not word and group == 1:
        row_bytes = -(-run * bits // 8)
    stride = layout.get("stride", row_bytes)
    expected, found = offset + (height - 1) * stride + row_bytes, path.stat().st_size
    if offset < 0 or stride < row_bytes:
        raise RawFileError(f"{sidecar} says offset {offset}, stride {stride}; rows have {row_bytes} bytes")
    if found not in (expected, expected + stride - row_bytes):
        raise RawFileError(f"has {found} bytes; {sidecar} describes {expected} ({width} x {height}, {bits} bits)")

    with open(path, "rb") as file:
        file.seek(offset)
        data = np.fromfile(file, np.uint8)
    rows = np.lib.stride_tricks.as_strided(data, (height, row_bytes), (stride, 1), writeable=False)
    if word:
        stored = np.dtype("u1" if bits == 8 else f"{order}u2")
        counts = np.ascontiguousarray(rows).view(stored).astype(stored.newbyteorder("="))
    elif packing == "mipi":
        counts = _unpack_mipi(rows, bits)[:, :run]
    else:
        counts = _unpack_bits(rows, bits, run, "big" if packing == "msb" else "little")
    if counts.max() >> bits:
        raise RawFileError(f"holds a count of {counts.max()}; {sidecar} says {bits} bits")
    return counts.reshape(height, width) if samples == 1 else counts.reshape(height, width, samples)


def _unpack_mipi(rows: np.ndarray, bits: int) -> np.ndarray:
    """RAW10 and RAW12 of MIPI CSI-2: the high 8 bits of 4 (2) counts in a byte each, then a byte of their low bits, the
    first count's lowest."""
    low, count = bits - 8, 8 // (bits - 8)
    groups = rows.reshape(len(rows), -1, count + 1).astype(np.uint16)
    shifts = low * np.arange(count, dtype=np.uint16)
    rest = (groups[..., count:] >> shifts) & ((1 << low) - 1)
    return ((groups[..., :count] << low) | rest).reshape(len(rows), -1)


def _unpack_bits(rows: np.ndarray, bits: int, run: int, order: str) -> np.ndarray:
    """Counts that follow each other bit by bit, each row from a whole byte: from the highest bit of each byte down
    ("big", as in TIFF), or from the lowest up ("little", as in GenICam)."""
    counts = np.empty((len(rows), run), np.uint16)
    weights = 1 << np.arange(bits, dtype=np.uint16)
    for row, packed in zip(counts, rows, strict=True):
        single = np.unpackbits(packed, count=run * bits, bitorder="big" if order == "big" else "little")
        row[:] = single.reshape(run, bits) @ (weights[::-1] if order == "big" else weights)
    return counts
