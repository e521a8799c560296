"""Work shared among threads: all of it is done, once; the earliest failure is raised after all have left off."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from isp.threads import in_threads, processors


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_item_once(threads: int) -> None:
    done: list[int] = []
    in_threads(done.append, range(100), threads)
    assert sorted(done) == list(range(100))
    in_threads(done.append, (), threads)
    assert len(done) == 100


def test_as_many_at_once() -> None:
    together = threading.Barrier(3)
    in_threads(lambda _: together.wait(10), range(6), 3)
    assert processors() >= 1


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_earliest_failure(threads: int) -> None:
    started: list[int] = []

    def work(item: int) -> None:
        started.append(item)
        if item >= 5:
            time.sleep(0.05 if item == 5 else 0)  # so that later ones fail sooner
            raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match=r"item 5$"):
        in_threads(work, range(1000), threads)
    assert max(started) < 5 + threads, "no item is begun after a failure"


def test_what_takes_long_is_told_to_leave_off() -> None:
    stopped = threading.Event()

    def fail(item: int) -> None:
        if item:
            raise ValueError("no")
        assert stopped.wait(10)

    def interrupt(item: int) -> None:
        if item:
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(10)

    for work, expected in ((fail, ValueError), (interrupt, KeyboardInterrupt)):
        stopped.clear()
        with pytest.raises(expected):
            in_threads(work, (0, 1), 2, stopped.set)


def test_an_interrupt_waits_for_what_is_begun() -> None:
    begun, running = threading.Event(), set()

    def work(item: int) -> None:
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(10)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        running.add(item)
        begun.set()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)  # once more, while the first one waits
        time.sleep(0.1)
        running.discard(item)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            in_threads(work, range(8), 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert begun.is_set()
    assert not running
