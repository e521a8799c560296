"""Colour filter arrays as data: the letters of one period, row by row."""

from __future__ import annotations

from functools import cache

import numpy as np

from isp.dataclass import dataclass

LETTERS = "RGB"  # channel 0, 1, 2 everywhere in this library
# One period of each kind in its canonical phase; every cyclic shift of it is the same kind.
CANONICAL = {
    "bayer": ("RGGB", 2, 2),
    "quad-bayer": ("".join(("RRGG", "RRGG", "GGBB", "GGBB")), 4, 4),
    "x-trans": ("".join(("GBGGRG", "RGRBGB", "GBGGRG", "GRGGBG", "BGBRGR", "GRGGBG")), 6, 6),
}


@dataclass(frozen=True)
class CFA:
    """One period of a colour filter array, read row by row from the top left of the active area.

    pattern: letters R, G and B, rows * cols of them; `CFA("GRBG")` is a Bayer array.
    Raises ValueError by name for an array that no demosaic here can treat.
    """

    pattern: str
    rows: int = 2
    cols: int = 2

    def __post_init__(self) -> None:
        if len(self.pattern) != self.rows * self.cols:
            raise ValueError(f"CFA {self.pattern!r} needs {self.rows}x{self.cols} letters, got {len(self.pattern)}")
        if self._match() is None:
            raise ValueError(
                f"CFA {self.pattern!r} ({self.rows}x{self.cols}) is not supported; "
                "expected a phase of Bayer 2x2, Quad-Bayer 4x4 or X-Trans 6x6"
            )

    def _match(self) -> tuple[str, tuple[int, int]] | None:
        return _matched(self.pattern, self.rows, self.cols)

    @property
    def kind(self) -> str:
        """'bayer', 'quad-bayer' or 'x-trans'."""
        match = self._match()
        assert match is not None
        return match[0]

    @property
    def channels(self) -> np.ndarray:
        """rows cols, int64: 0 red, 1 green, 2 blue."""
        return np.array([LETTERS.index(letter) for letter in self.pattern]).reshape(self.rows, self.cols)

    def shifted(self, down: int, right: int) -> CFA:
        """The array seen from a top left corner `down` rows lower and `right` columns further right."""
        letters = np.roll(np.array(list(self.pattern)).reshape(self.rows, self.cols), (-down, -right), (0, 1))
        return CFA("".join(letters.ravel()), self.rows, self.cols)

    def channel_map(self, height: int, width: int) -> np.ndarray:
        """height width, int64: the channel that each site of a mosaic of this size measures."""
        tiles = (-(-height // self.rows), -(-width // self.cols))
        return np.tile(self.channels, tiles)[:height, :width]

    def __str__(self) -> str:
        return self.pattern if self.kind == "bayer" else f"{self.kind} {self.pattern}"


@cache
def _matched(pattern: str, rows: int, cols: int) -> tuple[str, tuple[int, int]] | None:
    """The kind of an array, and its first site's place in the canonical one; None for an array of no kind."""
    mine = np.array(list(pattern)).reshape(rows, cols)
    for kind, (letters, *size) in CANONICAL.items():
        if size != [rows, cols]:
            continue
        canonical = np.array(list(letters)).reshape(rows, cols)
        for candidate in (canonical, canonical.T):  # a rotated sensor transposes X-Trans
            for dy in range(rows):
                for dx in range(cols):
                    if np.array_equal(np.roll(candidate, (-dy, -dx), (0, 1)), mine):
                        return kind, (dy, dx)
    return None
