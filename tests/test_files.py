"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest
from disks import files_up_to

from isp.files import remove_unfinished, reserve, whole_file


def test_file_appears_under_its_name_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "picture.dng"
    with whole_file(path) as temporary:
        assert temporary.suffix == ".dng"
        temporary.write_bytes(b"abc")
        assert not path.exists()
    assert path.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode, "readable as other new files are"


def test_failure_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write_to_full_disk() -> None:
        with whole_file(path, overwrite=True) as temporary:
            temporary.write_bytes(b"ne")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_to_full_disk()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_disk_is_waited_for_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr("isp.files.os.fsync", synced.append)
    with whole_file(tmp_path / "picture.png", sync=False) as temporary:
        temporary.write_bytes(b"abc")
    assert not synced
    with whole_file(tmp_path / "checkpoint.pt") as temporary:
        temporary.write_bytes(b"abc")
    assert len(synced) == 1


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("linked", [False, True])
def test_old_file_is_replaced_where_names_can_be_swapped_and_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool, linked: bool
) -> None:
    if not able:
        monkeypatch.setattr("isp.files._swap", lambda *_: False)
    path, other = tmp_path / "a.png", tmp_path / "other"
    (other if linked else path).write_bytes(b"old")
    if linked:
        path.symlink_to(other)
    with whole_file(path, overwrite=True, sync=False) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert set(tmp_path.iterdir()) == ({path, other} if linked else {path})
    assert not linked or other.read_bytes() == b"old"


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError), whole_file(tmp_path / "a", overwrite=True, sync=False) as temporary:
        temporary.write_bytes(b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("named", [False, True])
def test_an_error_of_the_system_names_the_file(tmp_path: Path, named: bool) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(PermissionError) as failure, whole_file(path) as temporary:
        raise OSError(errno.EACCES, "of no matter", *([str(temporary)] if named else []))
    assert (failure.value.filename, failure.value.strerror) == (str(path), os.strerror(errno.EACCES))


def test_an_error_of_a_library_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(OSError, match=rf"^{path}: encoder error at a\.bin$"), whole_file(path) as temporary:
        raise OSError(f"encoder error at {temporary}")


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="profile"), whole_file(tmp_path / "a.bin"):
        (tmp_path / "profile").read_bytes()


def test_existing_file_is_refused_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match=r"a\.bin exists; pass overwrite=True"), whole_file(path):
        pass
    with whole_file(path, overwrite=True) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"

    def write_while_another_does() -> None:
        with whole_file(path) as temporary:
            temporary.write_bytes(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        write_while_another_does()
    assert path.read_bytes() == b"theirs"


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"), whole_file(tmp_path / "nowhere/a"):
        pass


def test_what_a_killed_process_leaves_can_be_told_and_removed(tmp_path: Path) -> None:
    left = tmp_path / "a.left"
    kept = {tmp_path / name for name in (f"a.{os.getpid()}-00ff.png", f".a.{os.getpid()}0-00ff.png", ".hidden")}
    for path in kept:
        path.touch()
    with whole_file(tmp_path / "a.png") as temporary:
        os.link(temporary, left)
        remove_unfinished(tmp_path, [os.getpid() + 1])
        assert temporary.exists()
        remove_unfinished(tmp_path, [os.getpid() + 1, os.getpid()])
        assert not temporary.exists()
        left.rename(temporary)
    assert set(tmp_path.iterdir()) == {*kept, tmp_path / "a.png"}


def test_room_is_set_aside_before_anything_is_written(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as file:
        reserve(file, 10_000_000)
        status = os.fstat(file.fileno())
        if status.st_blocks == 0:
            pytest.skip("this system or disk sets no room aside")
        assert status.st_blocks * 512 >= status.st_size == 10_000_000
    assert not any((tmp_path / "a").read_bytes())


def test_no_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system sets no room aside")
    with (
        open(tmp_path / "a", "wb") as file,
        files_up_to(20000),
        pytest.raises(OSError, match=r"^\[Errno 27\] File too large$"),
    ):
        reserve(file, 10_000_000)
    assert not (tmp_path / "a").stat().st_size
