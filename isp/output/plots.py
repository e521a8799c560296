"""Curves of reports, by matplotlib, and what a page says where that is not installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isp.output.page import Html, figure, paragraph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "os^vDP*X"  # so that lines are told apart without colour
SIZE = (8.0, 4.2)  # inches


def new_figure(size: tuple[float, float] = SIZE) -> Figure | None:
    """An empty figure that no window shows; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return Figure(figsize=size)


def shown(fig: Figure | None, caption: str) -> Html:
    """The figure as a part of a page, or a line that says what it would show and how to get it."""
    if fig is None:
        return paragraph(f"{caption}: the figure needs matplotlib, pip install 'isp[plots]'.")
    return figure(fig, caption)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    caption: str,
    *,
    log_y: bool = False,
) -> Html:
    """Lines over one pair of axes, each with its name: (x, y) points in the order that they are joined."""
    fig = new_figure()
    if fig is not None:
        axes = fig.subplots()
        for number, (name, (x, y)) in enumerate(lines.items()):
            marker = MARKERS[number % len(MARKERS)] if len(x) <= 40 else None
            axes.plot(x, y, marker=marker, markersize=4, linewidth=1.2, label=name)
        axes.set(xlabel=x_label, ylabel=y_label)
        if log_y:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        if lines:
            axes.legend(fontsize="small")
    return shown(fig, caption)
