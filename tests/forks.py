"""Commands in processes of their own, forked off one that has imported what they need: most of a short run is that."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["isp.datasets.store", "isp.datasets.preview", "isp.train.engine", "isp.train.loops", "isp.train.teaching", "tqdm"]
)


def begin(
    main: Callable[[Sequence[str]], int], *arguments: str | Path | int, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """The process of a command, of one thread. Where the modules above cannot be imported, it does so itself."""
    process = FORKS.Process(target=_run, args=(main, [str(a) for a in arguments], dict(environment or {})))
    process.start()
    return process


def _run(main: Callable[[Sequence[str]], int], arguments: list[str], environment: dict[str, str]) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(main(arguments))
