"""The compiled kernel: built by the system's C compiler when it is first asked for, kept in the cache folder.

A file there belongs to one source, one set of flags, one compiler and one kind of processor. CC in the environment may
name another compiler, and flags for it: CC="cc -mno-amx-int8" does without AMX. It is written beside its place and
renamed, so that it is whole or absent; and a folder that others may write to is refused, for what lies there would run
as us.
"""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

from isp.cache import own_folder, refuse_shared
from isp.digest import md5
from isp.files import whole_file

SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("kernel.c", "pairs.c", "ljpeg.c", "deflate.c", "integers.c")
)
# Without errno and traps loops with roots and comparisons turn into vectors; infinities and NaN keep their meaning.
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
WIDEST = ("-mprefer-vector-width=512",)  # of x86: compilers otherwise stop at half of what AVX-512 offers
MACHINE = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
MOST_SECONDS = 120  # of compiling, which takes some three
_ONE = Lock()  # thread compiles, and the others wait for what it makes


class UnavailableError(Exception):
    """Why there is no kernel, in one line."""


@cache
def library() -> ctypes.CDLL | UnavailableError:
    """The kernel, or why there is none: compiled at the first call on this machine, loaded at the first in a process.
    Threads may run its functions at once."""
    with _ONE:
        try:
            return _load(_built())
        except UnavailableError as reason:
            return reason


def _load(path: Path) -> ctypes.CDLL:
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"{path} cannot be loaded: {' '.join(str(error).split())}") from error
    for function in (loaded.isp_render, loaded.isp_display, loaded.isp_surroundings):
        function.restype = ctypes.c_int
    loaded.isp_deflate.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_void_p]
    loaded.isp_deflate.restype = loaded.isp_inputs_memory.restype = ctypes.c_int64
    return loaded


def _built() -> Path:
    compiler = _words(os.environ.get("CC") or "cc")
    program = _on_path(compiler[0]) if compiler else None
    if program is None:
        raise UnavailableError(f"no C compiler: {compiler[0] if compiler else 'cc'} is not on the path")
    ours = [*FLAGS, *(WIDEST if MACHINE in ("x86_64", "AMD64") else ())]
    first = next((i for i, word in enumerate(compiler) if i and word.startswith("-")), len(compiler))
    flags = [*compiler[1:first], *ours, *compiler[first:]]  # of two that contradict each other the last one counts
    try:
        path = own_folder() / f"kernel-{_key(Path(program), flags)}.so"
        if not path.is_file():
            _compile([program, *flags], path)
        refuse_shared(path)
    except OSError as error:
        raise UnavailableError(f"{error.filename or path}: {error.strerror or error}") from error
    return path


def _words(command: str) -> list[str]:
    if command.isalnum():
        return [command]
    import shlex

    try:
        return shlex.split(command)
    except ValueError as error:
        raise UnavailableError(f"CC is {command}: {str(error).lower()}") from error


def _on_path(program: str) -> str | None:
    """shutil.which, without all that it imports to pack archives."""
    if os.name == "nt":
        import shutil

        return shutil.which(program)
    path = os.environ.get("PATH", os.defpath)
    folders = [""] if os.path.dirname(program) else path.split(os.pathsep) if path else []
    places = [os.path.join(folder, program) for folder in folders]
    return next((place for place in places if os.path.isfile(place) and os.access(place, os.X_OK)), None)


def _compile(command: list[str], path: Path) -> None:
    import subprocess

    for part in path.parent.glob(".kernel-*"):  # of processes that were killed
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > 2 * MOST_SECONDS:
                part.unlink()
    with whole_file(path, overwrite=True) as part:
        try:
            done = subprocess.run(
                [*command, "-o", str(part), *map(str, SOURCES), "-lm"],
                capture_output=True,
                text=True,
                timeout=MOST_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"{command[0]} took more than {MOST_SECONDS} s to compile {SOURCES[0].parent}"
            ) from error
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UnavailableError(f"{command[0]} cannot compile {SOURCES[0].parent}: {lines[0]}")
        part.chmod(0o700)  # whatever the umask: what others may write is not loaded


def _key(program: Path, flags: list[str]) -> str:
    """Of all that the compiled code depends on. The compiler's size and date stand for its version, which only a
    process of its own would tell."""
    real = program.resolve()
    state = real.stat()
    folder = SOURCES[0].parent
    sources = b"".join((folder / name).read_bytes() for name in sorted(os.listdir(folder)) if name.endswith(".c"))
    digest = md5(sources, usedforsecurity=False)
    names = [source.name for source in SOURCES]
    digest.update(f"{names} {flags} {real} {state.st_size} {state.st_mtime_ns} {MACHINE} {_processor()}".encode())
    return str(digest.hexdigest()[:24])


def _processor() -> str:
    """What the processor can do, as Linux lists it (once per core; the first will do); its name elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        import platform

        return platform.processor()
