"""Raw files as arrays and what they say about themselves: NumPy only, PyTorch is never imported here."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isp.raw.cfa import CFA as CFA
from isp.raw.errors import RawFileError as RawFileError
from isp.raw.errors import UnsupportedRawError as UnsupportedRawError
from isp.raw.image import RawImage as RawImage
from isp.raw.metadata import RawMetadata as RawMetadata

if TYPE_CHECKING:
    from isp.raw.dng_writer import write_dng as write_dng

__all__ = ["CFA", "RawFileError", "RawImage", "RawMetadata", "UnsupportedRawError", "read", "write_dng"]


def read(path: str | Path) -> RawImage:
    """The raw frame in a file and what the file says about it.

    A file is known by its content: a TIFF with DNGVersion is a DNG; everything else goes to LibRaw (NEF, CR2, CR3,
    ARW, RAF, ORF, RW2, PEF ...). Mosaics without a header, `.npy` and `.raw`, need a YAML of that name beside them,
    `x.raw.yaml` or `x.yaml`: see isp.raw.headerless.

    Raises UnsupportedRawError for a raw of a kind that is not rendered and RawFileError for everything else that
    cannot be read, in one line that begins with the path. What is wrong with a tag that a picture can do without is a
    UserWarning.
    """
    path = Path(path)
    try:
        raw, notes = _read(path)
    except RawFileError as error:
        raise type(error)(f"{path}: {error}") from error
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return raw


def _read(path: Path) -> tuple[RawImage, list[str]]:
    from dataclasses import replace

    from isp import ahead
    from isp.raw.tiff import Source, open_source, read_ifds

    with open_source(path) as file:
        if path.suffix.lower() in (".npy", ".raw"):
            from isp.raw.headerless import find_sidecar, read_headerless

            if path.suffix.lower() == ".npy" or find_sidecar(path):
                return read_headerless(path), []
        source = Source(file, ahead.taken(path, file))
        if source.size == 0:
            raise RawFileError("the file is empty")
        head = source.read(0, min(4, source.size), "header")
        if head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            from isp.raw.dng import is_dng, read_dng

            ifds = read_ifds(source)
            if is_dng(ifds):
                raw, notes = read_dng(source, ifds)
                return replace(raw, path=path), notes
            if 271 not in ifds[0]:  # every camera signs its files, and LibRaw would take any grey TIFF for a mosaic
                raise RawFileError("is a TIFF without DNGVersion or a camera's Make; expected a raw file")
    from isp.raw.vendor import read_vendor

    try:
        return read_vendor(path)
    except RawFileError as error:
        if path.suffix.lower() == ".raw":
            raise type(error)(f"{error}; a mosaic without a header needs {path.name}.yaml beside it") from error
        raise


def __getattr__(name: str) -> Any:
    if name == "write_dng":
        return import_module("isp.raw.dng_writer").write_dng
    raise AttributeError(f"module 'isp.raw' has no attribute {name!r}")
