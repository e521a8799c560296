"""Exposure in stops."""

from __future__ import annotations

from torch import Tensor


def expose(x: Tensor, ev: float | Tensor) -> Tensor:
    """x times 2 ** ev, any shape; ev in stops, a tensor gets its gradient. expose(x, -ev) undoes it."""
    return x * 2.0**ev
