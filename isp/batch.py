"""Rendering many raw files, one after the other or in several processes; a file that fails does not stop the others."""

from __future__ import annotations

import _signal as signal  # without the enumerations of signal, which take half a millisecond to make
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from isp.dataclass import dataclass
from isp.files import record_path, remove_unfinished
from isp.jobs import Job, resolve_options
from isp.output import depth, open_rows, save, takes_rows
from isp.threads import processors

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from torch import Tensor

    from isp.options import RenderOptions
    from isp.parameters import RenderParameters
    from isp.raw import RawImage
    from isp.report import StageReport


@dataclass(frozen=True)
class Outcome:
    """What became of a job: error is one line, and None where the picture is written."""

    job: Job
    error: str | None = None
    warnings: tuple[str, ...] = ()
    traceback: str = ""


def render_file(job: Job) -> None:
    """Read, render, save: the picture of one raw file, its record, its stages and its report where the job asks for
    them."""
    for _ in _steps(job, alone=True):
        pass


def _steps(job: Job, alone: bool) -> Iterator[None]:
    """render_file in three steps, with a pause after reading and one after rendering. alone: no other picture is waited
    for, so that those who render may write too."""
    started = time.perf_counter()
    _refuse_existing(job)
    options, origins = resolve_options(job)
    import isp.raw
    from isp.parameters import settled

    raw = isp.raw.read(job.source)
    started += yield from _pause()
    meta = raw.meta
    options, reason = settled(meta, options)
    if reason is not None:
        origins["model"] = f"{origins.get('model', 'default')}: {reason}"
    report = None
    if job.report is not None:
        from isp.report import StageReport

        report = StageReport(raw, options, job.report_region)
    obstacle = "stages are watched" if job.dump_stages or report is not None else None
    fast, obstacle = (None, obstacle) if obstacle else _fast(job, raw, options)
    written: dict[str, Any] = {"meta": meta, "space": options.space, "bits": job.bits, "overwrite": job.overwrite}
    picture: Any = None
    if fast is not None:
        from isp.fast import picture_size

        bits, size = depth(job.target, job.bits)[0], picture_size(meta)
        if alone and takes_rows(job.target, job.bits):
            job.target.parent.mkdir(parents=True, exist_ok=True)
            with open_rows(job.target, *size, **written) as write_rows:
                parameters = fast.develop(raw, options, write_rows, bits, job.threads)
        else:
            picture = np.empty((*size, 3), f"uint{bits}")
            parameters = fast.develop(raw, options, picture, bits, job.threads)
    else:
        picture, parameters = _develop(job, raw, options, report)
    del raw  # its memory, before the next frame takes as much
    started += yield from _pause()
    if picture is not None:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        save(job.target, picture, linear=options.linear, quality=job.quality, **written)
    if report is not None and job.report is not None:
        from isp.output.page import write_page

        job.report.parent.mkdir(parents=True, exist_ok=True)
        write_page(job.report, report.page(parameters, origins), job.overwrite)
    if job.record:
        from isp.record import write_record

        write_record(
            job.target,
            job.source,
            options,
            origins,
            parameters,
            device=job.device,
            threads=_threads(job, fast is not None),
            renderer="isp.fast" if fast is not None else f"isp.pipeline: {obstacle}",
            seconds=time.perf_counter() - started,
            overwrite=job.overwrite,
        )


def _pause() -> Generator[None, None, float]:
    """Let other files have their turn; returns how many seconds they took."""
    before = time.perf_counter()
    yield
    return time.perf_counter() - before


def _fast(job: Job, raw: RawImage, options: RenderOptions) -> tuple[ModuleType | None, str | None]:
    """The module that renders this without PyTorch, or None and why there is none."""
    if job.device != "cpu":
        return None, f"device {job.device}"
    fast = import_module("isp.fast" if options.model is None else "isp.fast.network")
    obstacle = fast.obstacle(raw, options, depth(job.target, job.bits)[0])
    return (fast, None) if obstacle is None else (None, obstacle)


def _develop(
    job: Job, raw: RawImage, options: RenderOptions, report: StageReport | None
) -> tuple[Tensor, RenderParameters]:
    """The picture and its parameters, with each stage shown to what the job asks for."""
    import torch

    from isp.pipeline import develop

    if job.threads:
        torch.set_num_threads(job.threads)
    counts = raw.tensor(job.device)
    dump = _Dump(job.dump_stages, job.source.stem, job.overwrite) if job.dump_stages else None
    watchers = [watcher for watcher in (dump, report) if watcher is not None]
    if report is not None:
        report("counts", counts)

    def watch(name: str, x: Tensor) -> None:
        for watcher in watchers:
            watcher(name, x)

    return develop(counts, raw.meta, options, watch=watch if watchers else None, progress=job.progress)


def _threads(job: Job, fast: bool) -> int:
    """How many threads render the picture."""
    if job.threads is not None:
        return job.threads
    if fast:
        return processors()
    import torch

    return torch.get_num_threads()


def _refuse_existing(job: Job) -> None:
    """Before the work, not after it."""
    if job.overwrite:
        return
    paths = [job.target, *([record_path(job.target)] if job.record else []), *([job.report] if job.report else [])]
    if job.dump_stages is not None:
        paths += _dumped(job.dump_stages, job.source.stem)
    for path in paths:
        if path.exists():
            raise FileExistsError(f"{path} exists; -Y overwrites it")


def _dumped(folder: Path, stem: str) -> list[Path]:
    """The stages of an earlier render of this name."""
    import glob

    return sorted(folder.glob(f"{glob.escape(stem)}.[0-9][0-9]-*.exr"))


class _Dump:
    """Writes each stage's result, as it is, to `folder/stem.03-demosaic.exr`: a mosaic as one channel. Overwriting
    removes all stages of an earlier render: with other options it may have had others."""

    def __init__(self, folder: Path, stem: str, overwrite: bool) -> None:
        self.folder, self.stem, self.overwrite, self.number = folder, stem, overwrite, 0
        folder.mkdir(parents=True, exist_ok=True)
        for path in _dumped(folder, stem) if overwrite else ():
            path.unlink()

    def __call__(self, name: str, x: Tensor) -> None:
        self.number += 1
        path = self.folder / f"{self.stem}.{self.number:02d}-{name}.exr"
        save(path, x, linear=True, space="camera", overwrite=self.overwrite)


class _Attempt:
    """A job on its way, step by step, each in whatever thread; a failure and the warnings are kept for its outcome."""

    def __init__(self, job: Job, noted: dict[int, list[str]], alone: bool) -> None:
        self.job, self.steps, self.noted = job, _steps(job, alone), noted
        self.error: str | None = None
        self.traceback = ""
        self.notes: list[str] = []

    def step(self) -> None:
        """The next step; none after a failure."""
        self.noted[threading.get_ident()] = self.notes
        warnings.simplefilter("always")  # again: a `catch_warnings` that overlaps with one elsewhere leaves its filters
        try:
            next(self.steps, None)
        except Exception as failure:  # whatever it is, the other files go on
            import traceback

            self.error, self.traceback = _explain(failure, self.job), traceback.format_exc()

    def finish(self) -> Outcome:
        """The last step, and what became of the job."""
        self.step()
        notes = dict.fromkeys(_line(note, self.job) for note in self.notes)
        return Outcome(self.job, self.error, tuple(notes), self.traceback)


@contextmanager
def _noted() -> Iterator[dict[int, list[str]]]:
    """Where warnings go, by the thread that they come from; those of a thread that is not in it, with those of this
    one, which has started it to render."""
    here = threading.get_ident()
    noted: dict[int, list[str]] = {here: []}

    def note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            noted.get(threading.get_ident(), noted[here]).append(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = note
        yield noted


def try_render(job: Job) -> Outcome:
    """render_file, whose warnings and failure are put into the outcome."""
    with _noted() as noted:
        attempt = _Attempt(job, noted, alone=True)
        attempt.step()
        attempt.step()
        return attempt.finish()


def _explain(failure: Exception, job: Job) -> str:
    if isinstance(failure, MemoryError):
        return "not enough memory"
    if isinstance(failure, OSError) and failure.strerror:
        return _line(f"{failure.strerror}: {job.target if failure.filename is None else failure.filename}", job)
    if isinstance(failure, (ValueError, OSError)):
        return _line(str(failure), job)
    return _line(f"{type(failure).__name__}: {failure}", job)


def _line(text: str, job: Job) -> str:
    """The text as one line, without the name of the file, which stands before it already."""
    return " ".join(text.removeprefix(f"{job.source}: ").split())


def run(jobs: Sequence[Job], workers: int = 1) -> Iterator[Outcome]:
    """The outcomes as they come, in this process or in several. Ctrl-C and SIGTERM leave no half-written files."""
    with _signal_handler(signal.SIGTERM, _exit_on_signal):
        if workers > 1:
            yield from _run_in_processes(jobs, workers)
        elif len(jobs) > 1:
            yield from _run_in_turn(jobs)
        else:
            yield from map(try_render, jobs)


def _run_in_turn(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """While a frame is rendered, one thread reads the next and one writes the picture before it: at most three are in
    memory. Whatever ends this waits for both, so that nothing is left half written."""
    from concurrent.futures import ThreadPoolExecutor

    reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    with _noted() as noted:
        attempts = [_Attempt(job, noted, alone=False) for job in jobs]
        try:
            ahead, behind = reader.submit(attempts[0].step), None
            for attempt, following in zip(attempts, [*attempts[1:], None], strict=True):
                ahead.result()
                if following is not None:
                    ahead = reader.submit(following.step)
                attempt.step()
                if behind is not None:
                    yield behind.result()
                behind = writer.submit(attempt.finish)
            if behind is not None:
                yield behind.result()
        finally:
            with _signal_handler(signal.SIGINT, signal.SIG_IGN):
                reader.shutdown()
                writer.shutdown()


def _run_in_processes(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """An interrupt kills the workers, which in the middle of an import or of compiled code would take seconds to listen
    to anything less. Their half-written files are removed here, also those of a worker that somebody else killed."""
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import active_children, get_context

    others = set(active_children())
    executor = ProcessPoolExecutor(workers, get_context("spawn"))
    children: set[BaseProcess] = set()
    try:
        with _signal_handler(signal.SIGINT, signal.SIG_IGN):  # inherited: Ctrl-C is for the parent alone to handle
            futures = {executor.submit(try_render, job): job for job in jobs}
            children.update(set(active_children()) - others)
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                yield Outcome(futures[future], "a worker process died, for want of memory perhaps; try fewer --workers")
    except BaseException:
        children.update(set(active_children()) - others)
        for child in children:
            child.kill()
        raise
    finally:
        with _signal_handler(signal.SIGINT, signal.SIG_IGN):
            executor.shutdown(cancel_futures=True)
            for folder in {folder for job in jobs for folder in _folders(job)}:
                remove_unfinished(folder, [child.pid for child in children])


def _folders(job: Job) -> list[Path]:
    """Where a job writes."""
    files = [job.target, *([job.report] if job.report else [])]
    return [path.parent for path in files] + ([job.dump_stages] if job.dump_stages else [])


@contextmanager
def _signal_handler(number: int, handler: Any) -> Iterator[None]:
    """Handle a signal in this way for a while; only the main thread may, elsewhere it stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _exit_on_signal(number: int, _: Any) -> None:
    """End so that `finally` and `except` blocks clean up, which the default handler does not."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
