"""A quicker start for a process of our own: a third of what Python and NumPy import on the way is left for later.

Python's own modules that are put off here are imported by others at their top, for functions that a render never
calls. NumPy's docstrings, signatures and type aliases are read by people and by type checkers. Where a version looks
for something else in such a module while it is imported, the module is loaded there and then: slower, never wrong. What
it does find, it keeps: argparse speaks English in such a process.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


def _quoted(path: bytes) -> str:
    """urllib.parse.quote_from_bytes, for pathlib, which keeps it."""
    if isinstance(there := sys.modules.get("urllib.parse"), _StandIn):
        _withdraw(there)
    quoted: str = import_module("urllib.parse").quote_from_bytes(path)
    return quoted


# module: what Python and NumPy look up in it while they are imported, and do without
_PUT_OFF: dict[str, dict[str, Any]] = {
    "ast": {},
    "bz2": {},
    "gettext": {"gettext": str, "ngettext": lambda one, more, number: one if number == 1 else more},
    "inspect": {"cleandoc": str, "signature": lambda _: None},
    "ipaddress": {},
    "lzma": {},
    "pickle": {},
    "platform": {},
    "textwrap": {},
    "urllib.parse": {"quote_from_bytes": _quoted},
    "numpy._core._add_newdocs": {},
    "numpy._core._add_newdocs_scalars": {},
    "numpy._typing": {"NDArray": list},  # in the annotations of a few tuples
}


class _StandIn(ModuleType):
    """In the place of a module, which it loads when something else is looked up in it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _withdraw(self)
        return getattr(import_module(self.__name__), name)


_stand_ins = [_StandIn(name) for name in _PUT_OFF]


def begin() -> None:
    """Put the modules off, and the search for garbage, of which imports make none."""
    gc.disable()
    for module in _stand_ins:
        vars(module).update(_PUT_OFF[module.__name__])
        sys.modules.setdefault(module.__name__, module)


def finish() -> None:
    """Import NumPy; whoever imports one of the modules from now on gets it."""
    import numpy  # noqa: F401

    for module in _stand_ins:
        _withdraw(module)
    gc.freeze()
    gc.enable()


def _withdraw(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
    for name in _PUT_OFF[module.__name__]:
        vars(module).pop(name, None)
