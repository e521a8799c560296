"""Lossless JPEG (ITU-T T.81, process 14), as DNG stores mosaics: the encoder, and the way to the compiled decoder.

Every raw developer reads predictor 1; some refuse the others (darktable does), which is why this encoder exists
beside those of general libraries, and writes no other. The decoder, isp/fast/ljpeg.c, reads all of them; where there is
no compiler, isp.raw.segments decodes by imagecodecs.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_int64, c_void_p
from functools import cache

import numpy as np

CATEGORIES = 17  # SSSS of T.81 table H.2: bits that a difference needs, 0 to 16


class Image(ctypes.Structure):
    """One JPEG to be decoded: `coded` of ljpeg.c."""

    _fields_ = (
        ("data", c_char_p),
        ("tables", c_char_p),
        *((name, c_int64) for name in ("bytes", "table_bytes", "down", "across", "rows", "cols")),
        ("corner", c_void_p),
        ("stride", c_int64),
        ("wrong", c_char_p),
    )

    def __init__(self, data: bytes, tables: bytes | None, down: int, across: int, region: np.ndarray) -> None:
        """The samples make `down` lines of `across`, of which as much as it holds goes to region, rows cols channels.

        tables: Huffman tables in a JPEG stream of their own, which are in force when `data` begins.
        """
        rows, cols, channels = region.shape
        whole = region.dtype == np.uint16 and region.strides[1:] == (2 * channels, 2)
        self.out = region if whole else np.empty(region.shape, np.uint16)
        super().__init__(
            data, tables, len(data), len(tables or b""), down, across, rows, cols * channels,
            self.out.ctypes.data, self.out.strides[0] // 2,
        )  # fmt: skip

    def finish(self, region: np.ndarray) -> None:
        """What is left to do after decode(). Raises ValueError where the image is damaged."""
        if self.wrong:
            raise ValueError(self.wrong.decode())
        if self.out is not region:
            region[:] = self.out


@cache
def _library() -> ctypes.CDLL | None:
    from isp.fast.library import library

    loaded = library()
    if not isinstance(loaded, ctypes.CDLL):
        return None
    loaded.isp_lossless_jpeg.argtypes = [c_void_p, c_void_p]
    loaded.isp_lossless_jpeg.restype = None
    return loaded


def compiled() -> bool:
    """Whether there is a decoder; the first call on a machine compiles it."""
    return _library() is not None


def decode(one: Image, two: Image | None = None) -> None:
    """Decode an image or two: where two are alike, they take little longer than one."""
    library = _library()
    assert library is not None
    library.isp_lossless_jpeg(ctypes.byref(one), ctypes.byref(two) if two else None)


def encode_lossless_jpeg(samples: np.ndarray) -> bytes:
    """One lossless JPEG image of samples, H W components (1 to 4), uint8 or uint16; precision is all bits of the type.

    Predictor 1: each sample is predicted by its left neighbour in the same component, the first of a row by the one
    above it, the very first by half of the range. One optimal Huffman table for the image.
    """
    height, width, components = samples.shape
    precision = samples.dtype.itemsize * 8
    values = samples.astype(np.int64)
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << (precision - 1)
    # differences are modulo 2^16 (T.81 H.1.2.1), here in -32767 .. 32768
    difference = (32767 - ((32767 - (values - predicted)) & 0xFFFF)).ravel()
    category = np.frexp(np.abs(difference).astype(np.float64))[1].astype(np.int64)  # bits of the magnitude
    category[difference == 32768] = 16  # a category of one value, without further bits

    lengths, codes = _huffman_table(np.bincount(category, minlength=CATEGORIES))
    extra_bits = np.where(category == 16, 0, category)
    extra = np.where(difference >= 0, difference, difference - 1) & ((1 << extra_bits) - 1)  # T.81 F.1.2.1
    body = _pack_bits((codes[category] << extra_bits) | extra, lengths[category] + extra_bits)

    order = sorted((c for c in range(CATEGORIES) if lengths[c]), key=lambda c: (lengths[c], c))
    counts = np.bincount(lengths[order], minlength=17)[1:]
    identifiers = range(components)
    table = bytes([0x00, *counts, *order])
    frame = bytes([precision, *height.to_bytes(2, "big"), *width.to_bytes(2, "big"), components])
    frame += b"".join(bytes([i, 0x11, 0]) for i in identifiers)
    scan = bytes([components, *(b for i in identifiers for b in (i, 0x00)), 1, 0, 0])  # 1: the predictor
    return (
        b"\xff\xd8"
        + _segment(0xC4, table)
        + _segment(0xC3, frame)
        + _segment(0xDA, scan)
        + body.replace(b"\xff", b"\xff\x00")
        + b"\xff\xd9"
    )


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _huffman_table(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Code length in bits (0: unused) and code of each category: at most 16 bits, never all ones (T.81 annex C)."""
    # A code of depth d needs a total of at least the Fibonacci number F(d + 2) times the rarest count: with no used
    # count under 1/1024 of the total the depth stays under 16.
    weights = np.where(counts > 0, np.maximum(counts, counts.sum() // 1024 + 1), 0)
    # The last entry, rarer than all others, takes the code of all ones, which T.81 forbids.
    nodes = [(int(weight), i, [i]) for i, weight in enumerate(weights) if weight] + [(0, CATEGORIES, [CATEGORIES])]
    lengths = np.zeros(CATEGORIES + 1, np.int64)
    while len(nodes) > 1:
        first, second, *nodes = sorted(nodes)
        members = first[2] + second[2]
        lengths[members] += 1
        nodes.append((first[0] + second[0], second[1], members))
    codes = np.zeros(CATEGORIES + 1, np.int64)
    code = previous = 0
    for i in sorted(np.flatnonzero(lengths), key=lambda i: (lengths[i], i)):
        code <<= int(lengths[i]) - previous
        previous = int(lengths[i])
        codes[i] = code
        code += 1
    return lengths[:CATEGORIES], codes[:CATEGORIES]


def _pack_bits(values: np.ndarray, lengths: np.ndarray) -> bytes:
    """The lowest `lengths` bits (at most 31) of each value, one after the other, the last byte filled with ones."""
    ends = np.cumsum(lengths)
    padding = -int(ends[-1]) % 8
    values = np.append(values, (1 << padding) - 1)
    starts = np.append(ends - lengths, ends[-1])
    lengths = np.append(lengths, padding)
    # Each value lies in a window of 64 bits that starts at a multiple of 32; the halves of all windows are added,
    # which is exact in float64 because no two values share a bit.
    word, offset = starts >> 5, starts & 31
    window = values.astype(np.uint64) << (64 - offset - lengths).astype(np.uint64)
    size = int(word[-1]) + 2
    words = np.bincount(word, (window >> np.uint64(32)).astype(np.float64), size)
    words += np.bincount(word + 1, (window & np.uint64(0xFFFFFFFF)).astype(np.float64), size)
    return words.astype(">u4").tobytes()[: (int(ends[-1]) + padding) // 8]
