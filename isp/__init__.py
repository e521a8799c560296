"""A differentiable camera pipeline: raw files to pictures, to the DNG specification, and back.

    import isp

    raw = isp.read("photo.dng")              # RawImage: counts (NumPy) and what the file says
    picture = isp.render(raw)                # tensor 1 3 H W, sRGB-encoded
    isp.save("photo.png", picture, meta=raw.meta)

Importing `isp` is light: PyTorch and the rest are imported where they are used.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.2.0"
TYPE_CHECKING = False  # as typing's, which takes longer to import than the rest of this
if TYPE_CHECKING:
    from typing import Any

    from isp.nets.load import load_model as load_model
    from isp.options import RenderOptions as RenderOptions
    from isp.output import save as save
    from isp.pipeline import render as render
    from isp.pipeline import unprocess as unprocess
    from isp.raw import RawImage as RawImage
    from isp.raw import RawMetadata as RawMetadata
    from isp.raw import read as read

# name: the module that holds it, imported at first use
_HOMES = {
    "RawImage": "isp.raw",
    "RawMetadata": "isp.raw",
    "RenderOptions": "isp.options",
    "load_model": "isp.nets.load",
    "read": "isp.raw",
    "render": "isp.pipeline",
    "save": "isp.output",
    "unprocess": "isp.pipeline",
}
__all__ = [
    "RawImage",
    "RawMetadata",
    "RenderOptions",
    "__version__",
    "load_model",
    "read",
    "render",
    "save",
    "unprocess",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'isp' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
