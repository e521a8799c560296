"""Files that appear whole or not at all, and what stands beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp


@contextmanager
def whole_file(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """The path of an empty file beside `path`, which takes its place when the block ends without an exception.

    After an exception (a full disk, say) that file is removed and `path` is as it was. The suffix is kept, so that
    writers that go by it work. Raises FileExistsError where `path` exists and overwrite is False, FileNotFoundError
    where its folder does not exist.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    handle, name = mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # some file systems report a full disk only here
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        _refuse_existing(path, overwrite)  # somebody may have written it meanwhile
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")


def record_path(target: Path) -> Path:
    """The record's place beside the picture: `a.png.json`."""
    return target.with_name(target.name + ".json")
