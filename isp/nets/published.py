"""What papers and reports state about their networks, and the configurations that reproduce it.

The table of docs/networks.md and the tests are both made from ROWS. MACs are multiply-accumulates, counted by
torch.utils.flop_counter (which counts two operations each) on the meta device; they are those of convolutions and
matrix products, as the reports count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from isp.nets import NETWORKS


class Row(NamedTuple):
    system: str  # as its report names it
    network: str  # a name in NETWORKS
    arguments: dict[str, Any]
    parameters: int  # of this configuration, exactly
    published_parameters: float | None  # as printed, in units; None: not stated
    published_macs: float | None  # as printed, converted to MACs
    shape: tuple[int, int, int]  # planes, height and width of the input that published_macs is for
    source: str  # where it is printed, and the convention of its FLOPs
    macs_within: float = 0.03


ROWS: tuple[Row, ...] = ()


def count(network: str, arguments: dict[str, Any], shape: tuple[int, int, int]) -> tuple[int, int]:
    """Parameters, and MACs for one input of this shape (planes, height, width)."""
    with torch.device("meta"):
        module = NETWORKS[network](**arguments).eval()
        x = torch.empty(1, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2
