"""Compiling the kernel: whatever goes wrong is a reason, never a broken render."""

import ctypes
import os
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from isp.fast.exports import cached, find_export
from isp.fast.library import FLAGS, UnavailableError, _on_path, library
from isp.locate import find_model

HERE = library()  # with the flags that it is shipped with


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """An empty cache, and a compiler that leaves off its optimisation, which takes most of its time."""
    monkeypatch.setenv("ISP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", f"{os.environ.get('CC') or 'cc'} -O0")
    library.cache_clear()
    yield
    library.cache_clear()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def reason() -> str:
    found = library()
    assert isinstance(found, UnavailableError), found
    return str(found)


def test_where_there_is_a_compiler_there_is_a_kernel() -> None:
    """Other tests skip where there is none."""
    if isinstance(HERE, UnavailableError) and "no C compiler" in str(HERE):
        pytest.skip(str(HERE))
    assert isinstance(HERE, ctypes.CDLL), HERE


@pytest.mark.parametrize("path", [None, "", ":", "nowhere:{here}", "{here}:/usr/bin", "/usr/bin"])
@pytest.mark.parametrize("program", ["some", "folder", "plain", "./some", "{here}/some", "nothing"])
def test_programs_are_found_as_shutil_finds_them(
    path: str | None, program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "some", "true")
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").touch(0o600)
    monkeypatch.chdir(tmp_path)
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path.format(here=tmp_path))
    program = program.format(here=tmp_path)
    assert _on_path(program) == shutil.which(program)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O1")
    assert reason() == "no C compiler: no-such-compiler is not on the path"


def test_a_compiler_behind_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands before the flags is the compiler; flags of CC come after ours, and count."""
    said = script(tmp_path / "ccache", f'echo "$@" > {tmp_path}/words; exec "$@"')
    monkeypatch.setenv("CC", f"{said} cc -O0")
    assert isinstance(library(), ctypes.CDLL)
    words = (tmp_path / "words").read_text().split()
    assert words[:2] == ["cc", FLAGS[0]]
    assert words.index("-O0") > words.index("-O3")


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "cc", "echo 'kernel.c:1: error: what' >&2; echo more >&2; exit 1"))
    assert reason().endswith("kernel.c:1: error: what")
    assert not list((tmp_path / "cache").iterdir())


def test_a_compiler_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file is left by nobody, and taken for the kernel by nobody."""
    half = 'while [ "$1" != -o ]; do shift; done; echo half > "$2"; kill -9 $$'
    monkeypatch.setenv("CC", script(tmp_path / "cc", half))
    assert "exit code -9" in reason()
    assert not list((tmp_path / "cache").iterdir())


def test_a_compiler_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["isp.fast.library"], "MOST_SECONDS", 0.1)
    monkeypatch.setenv("CC", script(tmp_path / "cc", "exec sleep 10"))
    assert "took more than 0.1 s to compile" in reason()


def test_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = 'while [ "$1" != -o ]; do shift; done; echo garbage > "$2"'
    monkeypatch.setenv("CC", script(tmp_path / "cc", garbage))
    assert "cannot be loaded" in reason()


def test_a_folder_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there would run as us."""
    monkeypatch.setenv("CC", script(tmp_path / "cc", "exit 1"))
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    assert "may be written by them; try chmod go-w, or another ISP_CACHE" in reason()


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "cc", "exit 1"))
    (tmp_path / "cache").write_text("a file")
    assert "File exists" in reason()


def test_a_command_that_no_shell_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", 'cc "')
    assert reason() == 'CC is cc ": no closing quotation'


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """And without an entry in the system's list of users, as in a container."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ISP_CACHE")
    monkeypatch.setattr(Path, "home", nowhere)
    assert reason() == "~: this user has none; ISP_CACHE may name a folder"
    assert find_export(find_model("flat"), "float32") is not None
    with pytest.raises(FileNotFoundError, match="ISP_CACHE"):
        cached(find_model("flat"))


def test_compiled_once(tmp_path: Path) -> None:
    first = library()
    if isinstance(first, UnavailableError):
        pytest.skip(str(first))
    (made,) = (tmp_path / "cache").iterdir()
    assert stat.S_IMODE(os.stat(tmp_path / "cache").st_mode) == 0o700
    before = made.stat().st_mtime_ns
    library.cache_clear()
    assert isinstance(library(), ctypes.CDLL)
    assert made.stat().st_mtime_ns == before


def test_threads_wait_for_one_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[object] = []
    real = subprocess.run

    def counted(*arguments: object, **more: object) -> object:
        runs.append(arguments)
        return real(*arguments, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", counted)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: library(), range(6)))
    if isinstance(found[0], UnavailableError):
        pytest.skip(str(found[0]))
    assert len(runs) == 1
    assert all(isinstance(one, ctypes.CDLL) for one in found)


def test_whatever_the_umask(tmp_path: Path) -> None:
    """Where files of ours are our group's to write, as on Ubuntu and Fedora, the kernel is ours alone to write."""
    before = os.umask(0o002)
    try:
        found = library()
    finally:
        os.umask(before)
    if isinstance(found, UnavailableError) and "no C compiler" in str(found):
        pytest.skip(str(found))
    assert isinstance(found, ctypes.CDLL)


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", script(tmp_path / "cc", "exit 1"))
    (tmp_path / "cache").mkdir(mode=0o700)
    old, new = (tmp_path / "cache" / f".kernel-{name}.so" for name in ("old", "new"))
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    reason()
    assert not old.exists()
    assert new.exists()
