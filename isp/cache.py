"""Where files are kept that can be made again: exported networks, and what is compiled of them and of the kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def cache_folder() -> Path:
    """$ISP_CACHE, or else ~/.cache/isp; it may not exist yet. OSError for a user of whom no home is known."""
    if given := os.environ.get("ISP_CACHE"):
        return Path(given)
    try:
        return Path.home() / ".cache" / "isp"
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "this user has none; ISP_CACHE may name a folder", "~") from error


def own_folder(name: str = "") -> Path:
    """The cache folder, or one in it, made where it is not there, for what runs as us once it is loaded.

    OSError where it cannot be made, and where others may write to it.
    """
    folder = cache_folder()
    for path in (folder, folder / name):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_shared(path)
    return folder / name


def refuse_shared(path: Path) -> None:
    """Raise PermissionError for what another user owns or may write to."""
    if not hasattr(os, "getuid"):
        return
    state = path.stat()
    if state.st_uid != os.getuid() or state.st_mode & 0o022:
        reason = "belongs to others or may be written by them; try chmod go-w, or another ISP_CACHE"
        raise PermissionError(errno.EPERM, reason, str(path))
