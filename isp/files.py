"""Files that appear whole or not at all, and what stands beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: str | Path, overwrite: bool = False, sync: bool = True) -> Iterator[Path]:
    """The path of an empty file beside `path`, which takes its place when the block ends without an exception.

    After an exception (a full disk, say) that file is removed and `path` is as it was. The suffix is kept, so that
    writers that go by it work. sync: wait for the disk, so that even a loss of power leaves the old file or the new
    one; without, it may leave an empty one, which does for what can be made again.
    Raises FileExistsError where `path` exists and overwrite is False, FileNotFoundError where its folder does not exist.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    temporary = path.with_name(f".{path.stem}.{os.urandom(4).hex()}{path.suffix}")
    open(temporary, "xb").close()
    try:
        yield temporary
        if sync:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
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
