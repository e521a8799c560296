"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from isp.files import whole_file


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
