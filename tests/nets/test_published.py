"""Every network against the figures that its paper or report prints, and the tables of docs/networks.md."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from isp.nets import published
from isp.nets.published import ROWS, Row, measure
from tools import models


def once(count: Callable[..., tuple[int, int]]) -> Callable[..., tuple[int, int]]:
    """A count takes up to two seconds; the tests here look at the same ones."""
    done: dict[str, tuple[int, int]] = {}

    def counted(
        network: str, arguments: dict[str, Any], shape: tuple[int, int, int], attention: bool = True
    ) -> tuple[int, int]:
        key = repr((network, arguments, shape, attention))
        if key not in done:
            done[key] = count(network, arguments, shape, attention)
        return done[key]

    return counted


@pytest.fixture(autouse=True, scope="module")
def counts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        counted = once(published.count)
        for module in (published, models):
            patch.setattr(module, "count", counted)
        yield


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.network}-{row.system}".replace(" ", "-"))
def test_parameters_and_macs(row: Row):
    parameters, macs = measure(row)
    assert parameters == row.parameters
    if row.published_parameters is not None:
        assert parameters == pytest.approx(row.published_parameters, rel=0.01)
    if row.published_macs is not None:
        assert macs == pytest.approx(row.published_macs, rel=row.macs_within)


@pytest.mark.slow
def test_the_document_is_what_the_code_makes() -> None:
    text = models.DOCUMENT.read_text("utf-8")
    assert models.written(text) == text, "python -m tools.models --table writes it anew"
