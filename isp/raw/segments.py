"""The pixels of a TIFF image: strips or tiles, uncompressed or in one of the codecs that DNG 1.7.1 knows.

The size of the image is compared with the bytes that are there before anything is allocated: uncompressed pixels must
be in the file to the byte, compressed ones may not claim more than their codec can give. Codecs are imagecodecs'
(libjpeg-turbo, libdeflate, libjxl), but for lossless JPEG, which has a compiled decoder here; what surrounds them is
TIFF 6.0, DNG 1.7.1 chapter 3 and, for floating-point predictors, TIFF Technical Note 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from isp.raw import lossless_jpeg
from isp.raw.errors import RawFileError, UnsupportedRawError
from isp.raw.tiff import Ifd
from isp.threads import in_threads, processors

UNCOMPRESSED, JPEG, DEFLATE, LOSSY_JPEG, JPEG_XL = 1, 7, 8, 34892, 52546
CODECS = {
    UNCOMPRESSED: "uncompressed", JPEG: "lossless JPEG", DEFLATE: "deflate", LOSSY_JPEG: "lossy JPEG",
    JPEG_XL: "JPEG XL",
}  # fmt: skip
# Predictor: (floating point, distance in pixels). TIFF 6.0 and DNG 1.7.1, "Predictor".
PREDICTORS = {1: None, 2: (False, 1), 34892: (False, 2), 34893: (False, 4), 3: (True, 1), 34894: (True, 2),
              34895: (True, 4)}  # fmt: skip
MOST_PIXELS = 1 << 30
MOST_SEGMENTS = 1 << 16  # strips or tiles
# Bytes of pixels that a byte of each codec may hold. Lossless JPEG spends at least one bit on a sample of two bytes;
# the others could pack a flat frame without end, so that small frames go free and large ones are held to what no
# photograph reaches.
FREE_BYTES = 1 << 26
MOST_EXPANSION = {JPEG: 16, DEFLATE: 100, LOSSY_JPEG: 200, JPEG_XL: 1000}


class Layout(NamedTuple):
    """How the pixels lie in the file."""

    height: int
    width: int
    samples: int
    bits: int
    floating: bool
    compression: int
    predictor: tuple[bool, int] | None
    planar: bool  # each sample's plane by itself
    rows: int  # of a segment: a tile, or a strip as wide as the image
    cols: int
    offsets: list[int]
    counts: list[int]

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels handed out, native byte order."""
        if self.floating:
            return np.dtype(np.float16 if self.bits == 16 else np.float32)
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16 if self.bits <= 16 else np.uint32)

    @property
    def channels(self) -> int:
        """Samples that a segment holds at each pixel."""
        return 1 if self.planar else self.samples

    @property
    def tiled(self) -> bool:
        return self.cols != self.width

    def box(self, index: int) -> tuple[int, int, int, int, int]:
        """(plane, top, left, rows, columns) of a segment's pixels in the image, what hangs over the edge left out."""
        across, down = -(-self.width // self.cols), -(-self.height // self.rows)
        plane, rest = divmod(index, across * down)
        top, left = rest // across * self.rows, rest % across * self.cols
        return plane, top, left, min(self.rows, self.height - top), min(self.cols, self.width - left)

    def packed_bytes(self, rows: int, cols: int) -> int:
        """Bytes of so many uncompressed rows, each of which begins at a whole byte."""
        return rows * -(-cols * self.channels * self.bits // 8)


def read_pixels(ifd: Ifd, height: int, width: int, samples: int) -> np.ndarray:
    """The image of a directory, H W (H W samples where there are several): uint8, uint16, uint32, float16 or float32.

    Raises UnsupportedRawError for a codec or layout that is not read, RawFileError for a file that does not hold what
    it claims.
    """
    layout = _layout(ifd, height, width, samples)
    pixels = _in_memory(ifd, layout)
    if pixels is None:
        pixels = np.empty((height, width, samples), layout.dtype)
        _fill(pixels, layout, ifd)
    if layout.floating and not np.isfinite(pixels).all():
        raise RawFileError(f"{ifd.name} holds {int((~np.isfinite(pixels)).sum())} pixels that are not finite numbers")
    for axis, code in ((0, 50975), (1, 52547)):
        pixels = _interleave(pixels, axis, ifd, code)
    return pixels if samples > 1 else pixels[..., 0]


def _in_memory(ifd: Ifd, layout: Layout) -> np.ndarray | None:
    """The pixels in a file that was read ahead, where they lie there as they are handed out; None elsewhere."""
    memory, dtype = ifd.source.memory, layout.dtype
    if memory is None or layout.compression != UNCOMPRESSED or len(layout.offsets) > 1 or layout.tiled:
        return None
    if layout.bits != 8 * dtype.itemsize or layout.offsets[0] % dtype.itemsize or not _native(ifd):
        return None
    shape = (layout.height, layout.width, layout.samples)
    return np.frombuffer(memory, dtype, math.prod(shape), layout.offsets[0]).reshape(shape)


def _native(ifd: Ifd) -> bool:
    """Whether the file's byte order is the processor's."""
    return np.dtype(ifd.order + "u2").isnative


def _fill(pixels: np.ndarray, layout: Layout, ifd: Ifd) -> None:
    """The pixels, height width samples, from all segments."""
    decode = _DECODERS[layout.compression]
    count = len(layout.offsets)

    def segment(index: int) -> tuple[str, np.ndarray]:
        """What a segment is called, and its place: rows cols channels."""
        plane, top, left, rows, cols = layout.box(index)
        region = pixels[top : top + rows, left : left + cols]
        if layout.planar:
            region = region[..., plane : plane + 1]
        return f"{'tile' if layout.tiled else 'strip'} {index} of {ifd.name}", region

    def place(index: int) -> None:
        what, region = segment(index)
        if decode is _uncompressed and not layout.tiled and region.flags.c_contiguous and layout.bits in (8, 16, 32):
            ifd.source.read_into(layout.offsets[index], region, what)
            if not _native(ifd):
                region.byteswap(inplace=True)
            return
        data = ifd.source.read(layout.offsets[index], layout.counts[index], what)
        rows, cols = region.shape[:2]
        with _blamed(what, layout):
            region[:] = decode(data, layout, ifd, rows, cols)[:rows, :cols]

    def place_two(first: int) -> None:
        """Lossless JPEG, of which the compiled decoder takes two segments together."""
        segments = [segment(index) for index in range(first, min(first + 2, count))]
        images = []
        for index, (what, region) in enumerate(segments, first):
            data = ifd.source.read(layout.offsets[index], layout.counts[index], what)
            with _blamed(what, layout):
                height, width, channels = _jpeg_shape(data, layout, *region.shape[:2])
                images.append(lossless_jpeg.Image(data, _jpeg_tables(ifd), height, width * channels, region))
        lossless_jpeg.decode(*images)
        for (what, region), image in zip(segments, images, strict=True):
            with _blamed(what, layout):
                image.finish(region)

    if layout.compression == JPEG and lossless_jpeg.compiled():
        in_threads(place_two, range(0, count, 2), min(processors(), -(-count // 2)))
    else:
        in_threads(place, range(count), 1 if layout.compression == UNCOMPRESSED else min(processors(), count))


def _layout(ifd: Ifd, height: int, width: int, samples: int) -> Layout:
    """How the pixels lie in the file, checked against its size."""
    if height < 1 or width < 1 or height * width > MOST_PIXELS:
        raise RawFileError(f"{ifd.name} says {width} x {height} pixels; expected 1 to {MOST_PIXELS}")
    bits, floating = _sample_type(ifd, samples)
    compression = ifd.integer(259, UNCOMPRESSED)
    if compression not in CODECS:
        known = ", ".join(f"{name} ({code})" for code, name in CODECS.items())
        raise UnsupportedRawError(f"{ifd.name} has compression {compression}; expected one of {known}")
    predictor = ifd.integer(317, 1)
    if predictor not in PREDICTORS or (PREDICTORS[predictor] or (floating,))[0] != floating:
        raise UnsupportedRawError(f"{ifd.name} has predictor {predictor} on {'float' if floating else 'integer'} data")
    if compression in (JPEG, LOSSY_JPEG, JPEG_XL):
        predictor = 1  # these codecs have prediction of their own, and the tag has no meaning
    elif compression == UNCOMPRESSED and predictor != 1:
        raise UnsupportedRawError(f"{ifd.name} has predictor {predictor} on uncompressed data")
    if bits == 24 and floating and predictor == 1:
        raise UnsupportedRawError("24-bit floating point without a predictor, whose byte order no document states")
    if PREDICTORS[predictor] and not floating and bits not in (8, 16, 32):
        raise UnsupportedRawError(f"{ifd.name} has predictor {predictor} on {bits}-bit data; expected 8, 16 or 32 bits")
    if ifd.integer(266, 1) != 1:
        raise UnsupportedRawError(f"{ifd.name} has FillOrder {ifd.integer(266)}; expected 1")
    if 50974 in ifd and ifd.integers(50974, 2) != [1, 1]:
        raise UnsupportedRawError(f"{ifd.name} has SubTileBlockSize {ifd.integers(50974, 2)}; expected 1, 1")
    planar = ifd.integer(284, 1) == 2 and samples > 1

    if 322 in ifd:
        rows, cols, offset_tag, count_tag = ifd.integer(323), ifd.integer(322), 324, 325
    else:
        rows, cols, offset_tag, count_tag = min(ifd.integer(278, height), height), width, 273, 279
    if not (0 < rows * cols <= MOST_PIXELS and rows > 0):
        raise RawFileError(f"{ifd.name} says segments of {cols} x {rows} pixels")
    segments = -(-height // rows) * -(-width // cols) * (samples if planar else 1)
    if segments > MOST_SEGMENTS:
        raise UnsupportedRawError(
            f"{ifd.name} is cut into {segments} strips or tiles; at most {MOST_SEGMENTS} are read"
        )
    offsets, counts = ifd.integers(offset_tag, segments), ifd.integers(count_tag, segments)
    layout = Layout(
        height, width, samples, bits, floating, compression, PREDICTORS[predictor], planar, rows, cols, offsets, counts
    )

    for index, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        ifd.source.check(offset, count, f"{'tile' if layout.tiled else 'strip'} {index} of {ifd.name}")
    if sum(counts) > ifd.source.size:
        raise RawFileError(f"{ifd.name} claims {sum(counts)} bytes of pixels in a file of {ifd.source.size}")
    if compression == UNCOMPRESSED:
        for index, count in enumerate(counts):
            needed = layout.packed_bytes(rows if layout.tiled else layout.box(index)[3], cols)
            if count < needed:
                raise RawFileError(
                    f"segment {index} of {ifd.name} has {count} bytes; {width} x {height} at {bits} bits needs {needed}"
                )
    else:
        claimed = segments * rows * cols * layout.channels * layout.dtype.itemsize
        most = max(FREE_BYTES, MOST_EXPANSION[compression] * sum(counts))
        if compression == JPEG:
            most = MOST_EXPANSION[compression] * sum(counts)
        if claimed > most:
            raise RawFileError(
                f"{ifd.name} says {width} x {height} pixels, {claimed} bytes, in {sum(counts)} bytes of "
                f"{CODECS[compression]}, which hold at most {most}"
            )
    return layout


def _sample_type(ifd: Ifd, samples: int) -> tuple[int, bool]:
    """(bits, floating point) of each sample."""
    bits = set(ifd.integers(258, 1, samples))
    kinds = set(ifd.integers(339, 1, samples)) if 339 in ifd else {1}
    if len(bits) != 1 or len(kinds) != 1:
        raise UnsupportedRawError(f"{ifd.name} has samples of unlike types: {bits} bits, formats {kinds}")
    depth, kind = bits.pop(), kinds.pop()
    if kind not in (1, 3) or (depth not in (16, 24, 32) if kind == 3 else not 8 <= depth <= 32):
        raise UnsupportedRawError(
            f"{ifd.name} has {depth}-bit samples of format {kind}; expected 8 to 32-bit unsigned integers (1) or "
            "16, 24 or 32-bit floating point (3)"
        )
    return depth, kind == 3


@contextmanager
def _blamed(what: str, layout: Layout) -> Iterator[None]:
    """Errors in one line that begins with the segment."""
    try:
        yield
    except RawFileError as error:
        raise type(error)(f"{what}: {error}") from error
    except Exception as error:  # every codec has exceptions of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RawFileError(f"{what} is damaged: {CODECS[layout.compression]} decoder: {reason}") from error


def _uncompressed(data: bytes, layout: Layout, ifd: Ifd, rows: int, cols: int) -> np.ndarray:
    return _unpack(data, layout, ifd, layout.rows if layout.tiled else rows)


def _deflate(data: bytes, layout: Layout, ifd: Ifd, rows: int, cols: int) -> np.ndarray:
    import imagecodecs

    most = layout.packed_bytes(layout.rows, layout.cols)
    raw = bytes(imagecodecs.deflate_decode(data, out=most))
    rows = layout.rows if layout.tiled else rows
    if len(raw) < layout.packed_bytes(rows, layout.cols):
        raise RawFileError(f"has {len(raw)} bytes of pixels; expected {layout.packed_bytes(rows, layout.cols)}")
    if layout.predictor and layout.floating:
        return _undo_float_predictor(raw, layout, rows)
    pixels = _unpack(raw, layout, ifd, rows)
    if layout.predictor:
        _undo_differences(pixels, layout.predictor[1])
    return pixels


def _unpack(data: bytes, layout: Layout, ifd: Ifd, rows: int) -> np.ndarray:
    """Rows of samples, rows cols channels, from their bytes. Where samples are not whole bytes they follow each other
    from the highest bit down, in files of either byte order (DNG 1.7.1, "BitsPerSample")."""
    shape = (rows, layout.cols, layout.channels)
    data = data[: layout.packed_bytes(rows, layout.cols)]
    if layout.bits in (8, 16, 32):
        stored = np.frombuffer(data, layout.dtype.newbyteorder(ifd.order))  # type: ignore[arg-type]
        return stored.astype(layout.dtype).reshape(shape)
    import imagecodecs

    run = layout.cols * layout.channels
    return imagecodecs.packints_decode(data, layout.dtype, layout.bits, runlen=run).reshape(shape)


def _undo_float_predictor(data: bytes, layout: Layout, rows: int) -> np.ndarray:
    """Floating-point rows from their byte planes: in each row first all the highest bytes, then all the next, and every
    byte as the difference to the one `distance` pixels before it."""
    import imagecodecs

    assert layout.predictor is not None
    size, run = layout.bits // 8, layout.cols * layout.channels
    planes = np.array(np.frombuffer(data, np.uint8)[: rows * run * size]).reshape(rows, run * size)
    _undo_differences(planes, layout.predictor[1] * layout.channels)
    numbers = np.ascontiguousarray(planes.reshape(rows, size, run).transpose(0, 2, 1))  # rows run bytes, highest first
    if size == 3:
        pixels = imagecodecs.float24_decode(numbers.tobytes(), byteorder=">")
    else:
        pixels = numbers.view(f">f{size}").astype(layout.dtype)
    return pixels.reshape(rows, layout.cols, layout.channels)


def _undo_differences(values: np.ndarray, step: int) -> None:
    """Add to each column, in place and modulo the type's range, the one `step` columns before it."""
    for start in range(step):
        phase = values[:, start::step]
        np.add.accumulate(phase, axis=1, dtype=values.dtype, out=phase)


def _jpeg(data: bytes, layout: Layout, ifd: Ifd, rows: int, cols: int) -> np.ndarray:
    import imagecodecs

    shape = _jpeg_shape(data, layout, rows, cols)
    # Lossless samples are no colours to be converted; in lossy ones libjpeg undoes the YCbCr that the markers state.
    colour = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(_jpeg_frame(data)[3]) if layout.compression == JPEG else None
    pixels = imagecodecs.jpeg8_decode(data, tables=_jpeg_tables(ifd), colorspace=colour, outcolorspace=colour)
    return pixels.astype(layout.dtype, copy=False).reshape(shape)


def _jpeg_shape(data: bytes, layout: Layout, rows: int, cols: int) -> tuple[int, int, int]:
    """The shape that a JPEG's samples have as a segment.

    Lossless JPEG may spread the samples over any width, height and components, so that its predictor finds neighbours
    of the same colour (DNG 1.7.1, chapter 3): only their number must agree.
    """
    process, height, width, components = _jpeg_frame(data)
    lossless = layout.compression == JPEG
    if process not in ((3,) if lossless else (0, 1, 2)):
        raise UnsupportedRawError(f"JPEG process SOF{process} where {CODECS[layout.compression]} was expected")
    shape = _segment_shape(layout, rows, cols, height * width * components)
    if not lossless and (height, width, components) != shape:
        raise RawFileError(f"JPEG of {height} x {width} x {components}; expected {shape[0]} x {shape[1]} x {shape[2]}")
    # libjpeg goes on with grey where its data end; an end marker cannot stand inside the data, and is soon found from
    # behind
    if data.rfind(b"\xff\xd9") < 0:
        raise RawFileError("JPEG data end before the end marker")
    return shape


def _jpeg_tables(ifd: Ifd) -> bytes | None:
    return ifd.data(347, 65536) if 347 in ifd else None


def _jpeg_frame(data: bytes) -> tuple[int, int, int, int]:
    """(process n of SOFn, height, width, components) as the frame header of a JPEG states them (T.81, B.2.2)."""
    position = 2
    while data[:2] == b"\xff\xd8" and position + 9 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[position + at : position + at + 2], "big") for at in (5, 7))
            return marker - 0xC0, height, width, data[position + 9]
        # fill bytes may stand before a marker; anything else carries its own length
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise RawFileError("no JPEG frame header")


def _jpeg_xl(data: bytes, layout: Layout, ifd: Ifd, rows: int, cols: int) -> np.ndarray:
    import imagecodecs

    threads = processors() if len(layout.offsets) == 1 else 1
    shapes = dict.fromkeys([(layout.rows, layout.cols), (rows, layout.cols), (rows, cols)])
    for last, shape in enumerate(shapes, 1 - len(shapes)):
        # given a place for the result, the decoder compares the sizes before it decodes
        pixels = np.empty(shape if layout.channels == 1 else (*shape, layout.channels), layout.dtype)
        try:
            imagecodecs.jpegxl_decode(data, keeporientation=True, numthreads=threads, out=pixels)
        except ValueError:
            if last == 0:
                raise
            continue
        break
    return pixels.reshape(*pixels.shape[:2], layout.channels)


def _segment_shape(layout: Layout, rows: int, cols: int, count: int) -> tuple[int, int, int]:
    """The shape that a segment of `count` samples has: whole, or cut at the image's edge as some writers do."""
    for height, width in ((layout.rows, layout.cols), (rows, layout.cols), (rows, cols)):
        if height * width * layout.channels == count:
            return height, width, layout.channels
    raise RawFileError(f"holds {count} samples; expected {layout.rows * layout.cols * layout.channels}")


def _interleave(pixels: np.ndarray, axis: int, ifd: Ifd, code: int) -> np.ndarray:
    """Lines put back in order where the file stores N fields one after the other: lines 0, N, 2N ..., then 1, N + 1 ...
    (RowInterleaveFactor, ColumnInterleaveFactor)."""
    factor = ifd.integer(code, 1)
    size = pixels.shape[axis]
    if not 1 <= factor <= size:
        raise RawFileError(f"{ifd.origin(code)} is {factor}; expected 1 to {size}")
    if factor == 1:
        return pixels
    stored = np.concatenate([np.arange(field, size, factor) for field in range(factor)])
    return np.take(pixels, np.argsort(stored), axis)


_DECODERS: dict[int, Callable[[bytes, Layout, Ifd, int, int], np.ndarray]] = {
    UNCOMPRESSED: _uncompressed,
    JPEG: _jpeg,
    DEFLATE: _deflate,
    LOSSY_JPEG: _jpeg,
    JPEG_XL: _jpeg_xl,
}
