"""PNG (ISO/IEC 15948), compressed in bands by as many threads as there are processors.

One filter (Average: for photographs files are as small as with Paeth, which takes ten times its work) and run lengths
with Huffman codes: noise has no repeats to find, so that the usual search makes files of the same size in three to ten
times the time. isp/fast/deflate.c does it in less than half the time of zlib, which does it where there is no compiler.
Bands end on whole bytes (a full flush), so that together they are one stream of deflate (RFC 1950 and 1951), as in
pigz.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from isp.threads import processors

BAND = 1 << 19  # bytes of pixels in a band; ends of bands add a hundredth of a per cent
PRIME = 65521  # of the checksum Adler-32


def png_parts(pixels: np.ndarray, described: bytes) -> Iterator[bytes]:
    """The file piece by piece. pixels: uint8 or uint16, H W 3. described: chunks that stand before the pixels."""
    from concurrent.futures import ThreadPoolExecutor

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, pixels.itemsize * 8, 2, 0, 0, 0)  # 2: RGB
    yield b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + described
    rows = max(BAND // (width * channels * pixels.itemsize), 1)
    starts = range(0, height, rows)
    low, high = 1, 0  # Adler-32 of what has been written
    with ThreadPoolExecutor(processors()) as pool:
        packed = pool.map(lambda top: _pack(pixels, top, min(top + rows, height)), starts)
        for top, (data, checksum, size) in zip(starts, packed, strict=True):
            high = (high + (checksum >> 16) + size * (low - 1)) % PRIME
            low = (low + (checksum & 0xFFFF) - 1) % PRIME
            end = struct.pack(">HH", high, low) if top + rows >= height else b""
            yield chunk(b"IDAT", (b"" if top else b"\x78\x01") + data + end)
    yield chunk(b"IEND", b"")


def _pack(pixels: np.ndarray, top: int, bottom: int) -> tuple[bytes, int, int]:
    """Rows of the picture as deflate data, and the checksum and the size of what they hold."""
    height, width, channels = pixels.shape
    step = channels * pixels.itemsize  # bytes of a pixel
    band = pixels[max(top - 1, 0) : bottom]  # with the row above, which the filter looks at
    stored = band.astype(band.dtype.newbyteorder(">"), copy=False).view(np.uint8).reshape(len(band), width * step)
    rows, above = stored[-(bottom - top) :], stored[: bottom - top]
    if top == 0:
        above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    lines = np.empty((bottom - top, 1 + width * step), np.uint8)
    lines[:, 0] = 3  # the filter Average: each byte less the mean of those to its left and above, rounded down
    codes = lines[:, 1:]
    np.subtract(rows[:, :step], above[:, :step] >> 1, out=codes[:, :step])
    left, over = rows[:, :-step], above[:, step:]
    np.subtract(rows[:, step:], (left & over) + ((left ^ over) >> 1), out=codes[:, step:])  # a mean without a carry
    return deflate(lines, bottom == height), zlib.adler32(lines.data), lines.size


def deflate(data: np.ndarray, last: bool) -> bytes:
    """Bytes, at least one, as deflate data: the end of a stream, or a part of one that others may follow."""
    from isp.fast.library import library

    compiled = library()
    if isinstance(compiled, ctypes.CDLL):
        room = np.empty(2 * data.size + 512 * (data.size // (1 << 17) + 2), np.uint8)  # what isp_deflate asks for
        return room[: compiled.isp_deflate(data.ctypes.data, data.size, last, room.ctypes.data)].tobytes()
    runs = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return runs.compress(data.data) + runs.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)


def chunk(name: bytes, data: bytes) -> bytes:
    """PNG, 5.3: length, name, data, CRC."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
