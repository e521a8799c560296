"""Files that appear whole or not at all, and what stands beside them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux: paths from the working folder, both names stay
_AT_ONCE = Lock()  # without pwrite a file has one position for all threads


@contextmanager
def whole_file(path: str | Path, overwrite: bool = False, sync: bool = True) -> Iterator[Path]:
    """The path of an empty file beside `path`, which takes its place when the block ends without an exception.

    After an exception (a full disk, say) that file is removed and `path` is as it was. The suffix is kept, so that
    writers that go by it work. sync: wait for the disk, so that even a loss of power leaves the old file or the new
    one; without, it may leave an empty one, which does for what can be made again.
    Raises FileExistsError where `path` exists and overwrite is False, FileNotFoundError where its folder does not
    exist. An OSError of the block names `path`.
    """
    path = Path(path)
    _refuse_existing(path, overwrite)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{os.urandom(2).hex()}{path.suffix}")
    try:
        open(temporary, "xb").close()
        yield temporary
        if sync:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        _refuse_existing(path, overwrite)  # somebody may have written it meanwhile
        if not sync and _swap(temporary, path):
            with suppress(OSError):
                temporary.unlink()  # the old file
        else:
            temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and str(error.filename or temporary) == str(temporary):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        if type(error) is OSError and error.errno is None:  # of a library
            raise OSError(f"{path}: {str(error).replace(str(temporary), path.name)}") from error
        raise


def _swap(one: Path, other: Path) -> bool:
    """Let two files take each other's names, in one step, and tell whether this system and this disk can.

    To rename one onto the other is one step too, but before it ext4 looks for the new file's place on the disk, which
    takes 20 ms for a picture of 12 megapixels; here it does so later, as for any other file.
    """
    if not other.is_file():
        return False
    renameat2 = _of_linux("renameat2")
    if renameat2 is None:
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _of_linux(name: str) -> Any:
    """A function of the C library that is Linux's alone; None elsewhere. ctypes.get_errno tells why it failed."""
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError, TypeError):
        return None


def demand_room(path: Path) -> None:
    """Raise what the disk says where it takes no more: for libraries that tell that they failed, but not why."""
    with open(path, "ab") as file:
        file.write(bytes(1 << 20))


def reserve(file: BinaryIO, size: int) -> None:
    """Have the disk set so many bytes aside for a new file, where system and disk can: one that is full says so before
    the work, and what is written goes a third faster. Raises OSError where there is no room."""
    fallocate = _of_linux("fallocate")
    if fallocate is None:
        return
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
    if fallocate(file.fileno(), 0, 0, size) and (error := ctypes.get_errno()) in (EDQUOT, EFBIG, ENOSPC):
        raise OSError(error, os.strerror(error))


def write_at(file: BinaryIO, data: memoryview, offset: int) -> None:
    """Write bytes at an offset of a file of which nothing is waiting to be written; threads may do so together."""
    if not hasattr(os, "pwrite"):
        with _AT_ONCE:
            file.seek(offset)
            file.write(data)
            file.flush()
        return
    while data:
        written = os.pwrite(file.fileno(), data, offset)
        data, offset = data[written:], offset + written


def remove_unfinished(folder: Path, processes: Iterable[int | None]) -> None:
    """Remove from a folder what processes that were killed, by their ids, have left of files that are not whole."""
    for process in processes:
        for path in folder.glob(f".*.{process}-{4 * '[0-9a-f]'}*"):
            path.unlink(missing_ok=True)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True to replace it")


def record_path(target: Path) -> Path:
    """The record's place beside the picture: `a.png.json`."""
    return target.with_name(target.name + ".json")
