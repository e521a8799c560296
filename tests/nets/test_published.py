"""Every network against the figures that its paper or report prints."""

import pytest

from isp.nets.published import ROWS, Row, measure


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.network}-{row.system}".replace(" ", "-"))
def test_parameters_and_macs(row: Row):
    parameters, macs = measure(row)
    assert parameters == row.parameters
    if row.published_parameters is not None:
        assert parameters == pytest.approx(row.published_parameters, rel=0.01)
    if row.published_macs is not None:
        assert macs == pytest.approx(row.published_macs, rel=row.macs_within)
