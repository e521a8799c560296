"""The processes that train together: one, or those that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.distributed as dist


class Group(NamedTuple):
    """The processes that train together, and this one's place among them."""

    rank: int
    of: int
    device: torch.device


@contextmanager
def processes(device: str = "auto") -> Iterator[Group]:
    """This process alone or, under torchrun, all of them: NCCL on CUDA, else gloo.

    Meanwhile numbers below 1e-38 count as 0: momenta of units at rest decay into them, and a processor takes a hundred
    times as long with them (pyramid's step, after 2000 of them: 0.28 s in place of 0.1).
    """
    of, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    place = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if place.type == "cuda":
        torch.cuda.set_device(place)
        torch.backends.cudnn.benchmark = True
    before = (torch.full((1,), 1e-38) * 0.01).item() == 0
    torch.set_flush_denormal(True)  # for this thread and those that it starts
    try:
        if of == 1:
            yield Group(0, 1, place)
            return
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
        try:
            yield Group(dist.get_rank(), of, place)
            dist.barrier()  # none leaves while another still talks
        finally:
            dist.destroy_process_group()
    finally:
        torch.set_flush_denormal(before)
