"""A file that is read while NumPy is still being imported, which leaves all processors but one idle."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from isp.threads import processors

MOST_BYTES = 1 << 28


class _Reading(Thread):
    """The whole file, as it is now, into memory of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.state: tuple[int, ...] | None = None
        self.memory: mmap.mmap | None = None

    def run(self) -> None:
        with suppress(OSError, ValueError), open(self.path, "rb", buffering=0) as file:
            state = _state(file)
            if 0 < state[0] <= MOST_BYTES:
                memory = _memory(state[0])
                if file.readinto(memory) == state[0] and _state(file) == state:
                    self.state, self.memory = state, memory


def _memory(size: int) -> mmap.mmap:
    """Of this process alone. Not in large pages, which take a third of the time where there are some and, where a
    virtual machine has none at hand, ten times as long."""
    private = (mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,) if hasattr(mmap, "MAP_PRIVATE") else ()
    return mmap.mmap(-1, size, *private)


_begun: list[_Reading] = []  # one at most


def begin(path: Path) -> None:
    """Start to read a DNG, where there is a processor to do it; other files are read by LibRaw."""
    with suppress(OSError):  # which is told when the file is read
        if processors() > 1 and path.suffix.lower() == ".dng" and path.is_file():
            _begun[:] = [_Reading(path)]
            _begun[0].start()


def taken(path: Path, file: BinaryIO) -> mmap.mmap | None:
    """The bytes of an opened file, if they were read ahead and it is still the same; once."""
    if not _begun or _begun[0].path != path:
        return None
    reading = _begun.pop()
    reading.join()
    return reading.memory if reading.state == _state(file) else None


def _state(file: BinaryIO) -> tuple[int, ...]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns, state.st_ino, state.st_dev
