"""LinearizationTable: from stored values to counts that are linear in light, and back.

DNG 1.7.1, chapter 5, "Linearization": a value past the table's end takes its last entry.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from isp.raw.metadata import RawMetadata


def linearise(x: Tensor, meta: RawMetadata) -> Tensor:
    """Linear counts: x through LinearizationTable; x itself where the file has none.

    x: B C H W, stored values (DN). Exact at integers; between them the table is joined by straight lines, so that the
    result has a gradient. Below 0 and past the end it holds the table's first and last entry.
    """
    if meta.linearization_table is None:
        return x
    return through_table(x, meta.linearization_table)


def delinearise(x: Tensor, meta: RawMetadata) -> Tensor:
    """Stored values, not rounded, whose linearise is x: B C H W, counts (DN).

    Where the table is flat, the smallest such value. Raises ValueError for a table that falls: it has no inverse.
    """
    if meta.linearization_table is None:
        return x
    return back_through_table(x, meta.linearization_table, "linearization_table")


def through_table(x: Tensor, table: np.ndarray) -> Tensor:
    """The piecewise linear curve through (i, table[i]), at x; constant outside. Any shape."""
    values = torch.tensor(table, dtype=x.dtype, device=x.device)
    last = len(values) - 1
    if last == 0:
        return x * 0 + values[0]
    position = x.clamp(0, last)
    low = position.int().clamp(max=last - 1)
    index = low.flatten()  # index_select on int32 takes half the time of values[low]
    start = values.index_select(0, index).view_as(x)
    slope = values.diff().index_select(0, index).view_as(x)
    return torch.addcmul(start, slope, position - low)


def back_through_table(y: Tensor, table: np.ndarray, name: str) -> Tensor:
    """The smallest x with through_table(x, table) = y; the ends of the table where there is none. Any shape.

    Raises ValueError, by the name, for a table that falls somewhere or is constant.
    """
    steps = np.diff(table)
    if np.any(steps < 0) or not np.any(steps > 0):
        raise ValueError(f"{name} has no inverse: it should rise, and it falls somewhere or is constant")
    values = torch.tensor(table, dtype=y.dtype, device=y.device)
    above = torch.searchsorted(values, y.detach().contiguous())
    low = (above - 1).clamp(0, len(values) - 2)
    start = values[low]
    step = values[low + 1] - start
    fraction = (y - start) / torch.where(step > 0, step, torch.ones_like(step))
    return low + torch.where(step > 0, fraction.clamp(0, 1), torch.zeros_like(fraction))
