"""Many files in one process: one is read ahead, one written behind, and each has its own warnings and failure."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dng_factory import make_dng

import isp.batch
import isp.fast
import isp.raw
from isp.batch import run
from isp.jobs import Job


def jobs(folder: Path, count: int, **more: Any) -> list[Job]:
    mosaic = np.full((8, 8), 1000, np.uint16)
    sources = [make_dng(folder / f"{i}.dng", mosaic, white_level=4095, **more) for i in range(count)]
    return [Job(source, source.with_suffix(".tif"), {"demosaic": "msg"}) for source in sources]


def test_one_ahead_and_one_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    todo = jobs(tmp_path, 5)
    number = {job.source: i for i, job in enumerate(todo)} | {job.target: i for i, job in enumerate(todo)}
    read, rendered, saved = ([threading.Event() for _ in todo] for _ in range(3))
    real = isp.raw.read, isp.batch._fast, isp.batch.save

    def watched_read(path: Path) -> isp.raw.RawImage:
        i = number[path]
        assert i < 2 or rendered[i - 2].is_set(), "at most one frame is read ahead"
        raw = real[0](path)
        read[i].set()
        return raw

    def watched_render(job: Job, *arguments: Any) -> Any:
        i = number[job.source]
        assert threading.current_thread() is threading.main_thread()
        assert i + 1 == len(todo) or read[i + 1].wait(10), "the next frame is read meanwhile"
        assert i < 1 or saved[i - 1].wait(10), "the picture before is written meanwhile"
        rendered[i].set()
        return real[1](job, *arguments)

    def watched_save(path: Path, *arguments: Any, **more: Any) -> None:
        i = number[path]
        assert i + 1 == len(todo) or not rendered[i + 1].is_set()
        real[2](path, *arguments, **more)
        saved[i].set()

    monkeypatch.setattr(isp.raw, "read", watched_read)
    monkeypatch.setattr(isp.batch, "_fast", watched_render)
    monkeypatch.setattr(isp.batch, "save", watched_save)
    outcomes = list(run(todo))
    assert [outcome.error for outcome in outcomes] == [None] * 5
    assert [outcome.job for outcome in outcomes] == todo
    assert all(job.target.is_file() for job in todo)


def test_a_picture_alone_is_written_by_those_who_render_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def saved(*_: Any, **__: Any) -> None:
        raise AssertionError("the picture was made whole")

    monkeypatch.setattr(isp.batch, "save", saved)
    (job,) = jobs(tmp_path, 1)
    assert [outcome.error for outcome in run([job])] == [None]
    assert job.target.is_file()
    two = [Job(job.source, tmp_path / f"{name}.tif", job.given) for name in "ab"]
    errors = [outcome.error for outcome in run(two)]
    assert errors == ["AssertionError: the picture was made whole"] * 2, "in a batch it is written behind the next one"


def test_each_has_its_own_warnings_and_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of reading, of rendering, and of a thread that rendering starts."""
    todo = jobs(tmp_path, 4, baseline_exposure=99.0)  # which is no exposure, and ignored
    todo[1].source.write_bytes(b"II*\0")
    todo[2].target.mkdir()
    real = isp.fast.develop

    def warned(raw: isp.raw.RawImage, *arguments: Any) -> Any:
        warnings.warn(f"rendering {raw.path}", stacklevel=1)
        helper = threading.Thread(target=lambda: warnings.warn(f"helping {raw.path}", stacklevel=1))
        helper.start()
        helper.join()
        return real(raw, *arguments)

    monkeypatch.setattr(isp.fast, "develop", warned)
    outcomes = list(run([Job(job.source, job.target, job.given, overwrite=True) for job in todo]))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]
    assert outcomes[1].warnings == ()
    assert "Is a directory" in str(outcomes[2].error)
    for i in (0, 2, 3):
        ignored, *others = outcomes[i].warnings
        assert "BaselineExposure is 99 stops" in ignored
        assert others == [f"rendering {todo[i].source}", f"helping {todo[i].source}"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_killed_worker_leaves_nothing_half_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (3000, 2000)).astype(np.uint16)
    source = make_dng(tmp_path / "a.dng", noise, white_level=4095)
    job = Job(source, tmp_path / "out" / "a.png", {"demosaic": "bilinear"}, bits=16)
    killed: list[Path] = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            killed.extend((tmp_path / "out").glob(".a.*"))
            time.sleep(0.001)
        os.kill(int(killed[0].name.split(".")[2].split("-")[0]), signal.SIGKILL)

    helper = threading.Thread(target=kill)
    helper.start()
    outcomes = list(run([job], workers=2))
    helper.join()
    assert [outcome.error for outcome in outcomes] == [
        "a worker process died, for want of memory perhaps; try fewer --workers"
    ]
    assert list((tmp_path / "out").iterdir()) == []
