"""Colour filter arrays: every phase is known, shifts agree with rolls, others are refused by name."""

import numpy as np
import pytest

from isp.raw.cfa import CANONICAL, CFA


@pytest.mark.parametrize(("kind", "phases"), [("bayer", 4), ("quad-bayer", 16), ("x-trans", 18)])
def test_every_phase_keeps_its_kind(kind: str, phases: int) -> None:
    """X-Trans repeats itself after half a period diagonally, so that 36 shifts are 18 different arrays."""
    cfa = CFA(*CANONICAL[kind])
    seen = {cfa.shifted(dy, dx).pattern for dy in range(cfa.rows) for dx in range(cfa.cols)}
    assert len(seen) == phases
    assert {CFA(pattern, cfa.rows, cfa.cols).kind for pattern in seen} == {kind}


def test_x_trans_has_its_published_counts() -> None:
    """20 green, 8 red, 8 blue, and every row and column holds all three colours (Fujifilm's description)."""
    cfa = CFA(*CANONICAL["x-trans"])
    assert [cfa.pattern.count(letter) for letter in "RGB"] == [8, 20, 8]
    for line in [*cfa.channels, *cfa.channels.T]:
        assert set(line) == {0, 1, 2}


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (3, 5), (-1, -2), (7, -4)])
@pytest.mark.parametrize("kind", CANONICAL)
def test_a_shift_is_a_crop_of_the_map(kind: str, shift: tuple[int, int]) -> None:
    cfa = CFA(*CANONICAL[kind])
    big = cfa.channel_map(40, 40)
    down, right = shift[0] % 12, shift[1] % 12
    assert np.array_equal(cfa.shifted(*shift).channel_map(20, 20), big[down : down + 20, right : right + 20])


@pytest.mark.parametrize(
    ("pattern", "rows", "cols", "message"),
    [
        ("RGBW", 2, 2, "'RGBW' .* not supported"),
        ("RGBG", 2, 2, "not supported"),
        ("RGGBR", 2, 2, "needs 2x2 letters, got 5"),
        ("R" * 36, 6, 6, "expected a phase of Bayer 2x2, Quad-Bayer 4x4 or X-Trans 6x6"),
    ],
)
def test_other_arrays_are_refused_by_name(pattern: str, rows: int, cols: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CFA(pattern, rows, cols)
