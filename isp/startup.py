"""A quicker start for a process of our own: a third of what Python and NumPy import on the way is left for later.

Python's own modules that are put off here are imported by others at their top, for functions that a render never
calls. NumPy's docstrings, signatures and type aliases are read by people and by type checkers. Where a version looks
for something else in such a module while it is imported, the module is loaded there and then: slower, never wrong. What
it does find, it keeps: argparse speaks English in such a process. Of `typing`, NumPy and this package use little more
than named tuples, which are quick to put together; everybody else gets Python's module.

NumPy's compiled part, 35 MB with its BLAS, is linked by another processor meanwhile.
"""

from __future__ import annotations

import _signal
import ctypes
import gc
import os
import sys
from _thread import start_new_thread
from collections import namedtuple
from contextlib import suppress
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from types import ModuleType

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from typing import Any


def _quoted(path: bytes) -> str:
    """urllib.parse.quote_from_bytes, for pathlib, which keeps it."""
    quoted: str = _load("urllib.parse").quote_from_bytes(path)
    return quoted


def _terminal_size() -> os.terminal_size:
    """shutil.get_terminal_size, for argparse, which asks for the columns at every option."""
    columns = os.environ.get("COLUMNS", "")
    size = os.terminal_size((int(columns) if columns.isdecimal() else 0, 24))
    if not size.columns:
        with suppress(AttributeError, OSError, ValueError):  # no standard output, or no terminal
            size = os.get_terminal_size(sys.__stdout__.fileno())  # type: ignore[union-attr]
    return size if size.columns else os.terminal_size((80, 24))


def _annotations(of: type) -> dict[str, Any]:
    """inspect.get_annotations of a class, for dataclasses of Python 3.12 and 3.13, in which it stays."""
    return dict(vars(of).get("__annotations__", {}))


class _NamedTuples(type):
    """What makes a class of typing.NamedTuple, without compiling the annotations of its fields."""

    def __new__(cls, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(cls, name, bases, space)
        kinds = space.pop("__annotations__")
        defaults = [space.pop(field) for field in kinds if field in space]
        made = namedtuple(name, kinds, defaults=defaults, module=space.pop("__module__"))  # type: ignore[misc]
        for attribute, value in space.items():
            setattr(made, attribute, value)
        made.__annotations__ = made.__new__.__annotations__ = kinds
        return made


class _NamedTuple(metaclass=_NamedTuples):
    pass


class ClassVar:
    """typing's, which dataclasses knows by this name, or as it is."""

    def __class_getitem__(cls, item: Any) -> type[ClassVar]:
        return cls


class _Protocol:
    def __class_getitem__(cls, item: Any) -> type[_Protocol]:
        return cls


# module: what Python and NumPy look up in it while they are imported, and do without
_PUT_OFF: dict[str, dict[str, Any]] = {
    "ast": {},
    "bz2": {},
    "copy": {},
    "gettext": {"gettext": str, "ngettext": lambda one, more, number: one if number == 1 else more},
    "inspect": {"cleandoc": str, "signature": lambda _: None, "get_annotations": _annotations},
    "ipaddress": {},
    "lzma": {},
    "ntpath": {},
    "pickle": {},
    "platform": {},
    "shutil": {"get_terminal_size": _terminal_size},
    "textwrap": {},
    "urllib.parse": {"quote_from_bytes": _quoted},
    "weakref": {},
    "numpy._core._add_newdocs": {},
    "numpy._core._add_newdocs_scalars": {},
    "numpy._typing": {"NDArray": list},  # in the annotations of a few tuples
}
with suppress(ImportError):
    from _datetime import datetime_CAPI

    _PUT_OFF["datetime"] = {"datetime_CAPI": datetime_CAPI}  # NumPy wants the compiled half
# Who asks: what typing is to them. What this package asks for besides, or does with these beyond annotations and plain
# named tuples, needs Python's.
_TYPES: dict[str, dict[str, Any]] = {
    "isp": {
        **{"TYPE_CHECKING": False, "Any": object, "BinaryIO": object, "NamedTuple": _NamedTuple, "Protocol": _Protocol},
        **{"ClassVar": ClassVar, "TypeVar": lambda *_, **__: object},
    },
    "numpy": {"TYPE_CHECKING": False, "Any": object, "NamedTuple": _NamedTuple},  # while it is imported
    "dataclasses": {"ClassVar": ClassVar, "_GenericAlias": None},  # which it looks for among annotations
}


class _StandIn(ModuleType):
    """In the place of a module, which it loads when something else is looked up in it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__all__", "__file__"):
            raise AttributeError(name)
        return getattr(_load(self.__name__), name)


class _Typing(_StandIn):
    """In the place of typing, until somebody else asks for it or for something else."""

    def __getattr__(self, name: str) -> Any:
        names = sys._getframe(1).f_globals
        asks = (names.get("__package__") or names.get("__name__", "")).partition(".")[0]
        if name in (known := _TYPES.get(asks, {})) and sys.modules.get("typing") is self:
            return known[name]
        return super().__getattr__(name)


_stand_ins = [_StandIn(name) for name in _PUT_OFF]


def begin() -> None:
    """Put the modules off; start to link NumPy. An interrupt ends the process without a word until `finish`, for there
    is nothing to tell yet."""
    _open_streams()
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for matrices as small as they are here
    os.environ.setdefault("OPENBLAS_MAIN_FREE", "1")  # NumPy would set it while OpenBLAS looks
    _link_ahead("numpy", "_core", "_multiarray_umath")
    for module in _stand_ins:
        vars(module).update(_PUT_OFF[module.__name__])
        sys.modules.setdefault(module.__name__, module)
    if sys.version_info < (3, 14):  # where a class keeps its annotations elsewhere
        sys.modules.setdefault("typing", typing := _Typing("typing"))
        typing.__spec__ = ModuleSpec("typing", None)


def finish() -> None:
    """Import NumPy; whoever imports one of the modules from now on gets it, and garbage is looked for."""
    import numpy  # noqa: F401

    for module in _stand_ins:
        _withdraw(module)
    _TYPES.pop("numpy", None)
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    gc.freeze()
    gc.enable()


def _open_streams() -> None:
    """Standard streams that were closed lead nowhere, so that no picture gets their place and with it what C prints."""
    while (place := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(place, True)
    os.close(place)
    for name, place in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(place, "w", closefd=False))  # noqa: SIM115


def _link_ahead(package: str, *module: str) -> None:
    """Have the system's linker load a compiled module, which Python then finds linked, in a thread without the GIL."""
    found = PathFinder.find_spec(package)
    if found is None or not found.submodule_search_locations or not hasattr(os, "RTLD_NOW"):
        return
    # compiled and wanted soon: the linker takes one after the other
    import _contextvars  # noqa: F401
    import math  # noqa: F401
    import mmap  # noqa: F401

    path = os.path.join(found.submodule_search_locations[0], *module) + EXTENSION_SUFFIXES[0]
    start_new_thread(ctypes.CDLL(None).dlopen, (os.fsencode(path), os.RTLD_NOW))


def _load(name: str) -> ModuleType:
    there = sys.modules.get(name)
    if isinstance(there, _StandIn):
        _withdraw(there)
    return import_module(name)


def _withdraw(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
    for name, value in _PUT_OFF.get(module.__name__, {}).items():
        if value is not _annotations:
            vars(module).pop(name, None)
