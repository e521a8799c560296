"""Work shared among threads: for compiled code, which lets the others run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread, get_ident
from typing import TypeVar

Item = TypeVar("Item")


def processors() -> int:
    """How many of them this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    work: Callable[[Item], object], items: Sequence[Item], threads: int, stop: Callable[[], object] | None = None
) -> None:
    """Call work on every item, in so many threads, of which this is one: each takes the next item when it is free.

    An exception ends it, and when all threads have left off, the one of the earliest item is raised. stop: for work
    that takes long, is called then to make it leave off too; this thread does none of that, so that it hears of Ctrl-C.
    concurrent.futures would do, but takes 4 ms to import, as long as the kernel takes for a megapixel.
    """
    if threads == 1:
        for item in items:
            work(item)
        return
    waiting = enumerate(items)
    failures: dict[int, Exception] = {}
    busy: set[int] = set()  # threads that may be at an item

    def serve() -> None:
        busy.add(get_ident())
        for number, item in waiting:
            try:
                work(item)
            except Exception as failure:
                failures[number] = failure
                if stop is not None:
                    stop()
            if failures:
                break
        busy.remove(get_ident())

    helpers = [Thread(target=serve) for _ in range(threads if stop is not None else threads - 1)]
    try:
        for helper in helpers:
            helper.start()
        if stop is None:
            serve()
        for helper in helpers:
            helper.join()
    except BaseException:  # Ctrl-C: what they work on may be freed as soon as this is left
        for _ in waiting:
            pass
        if stop is not None:
            stop()
        while busy - {get_ident()}:  # join() would not wait again (https://github.com/python/cpython/issues/90882)
            with suppress(KeyboardInterrupt):
                time.sleep(0.001)
        raise
    if failures:
        raise failures.pop(min(failures))  # not kept here too: a cycle would keep the frame's memory
