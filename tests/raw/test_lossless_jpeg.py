"""Lossless JPEG: the encoder against two decoders written by others; the decoder against libjpeg-turbo's encoder and
decoder and, for what these do not write, an encoder here that follows T.81 bit by bit."""

import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

import isp.raw
from isp.raw import lossless_jpeg
from isp.raw.lossless_jpeg import Image, encode_lossless_jpeg

needs_decoder = pytest.mark.skipif(not lossless_jpeg.compiled(), reason="no compiler")

KINDS = {
    "noise": lambda rng, shape, most: rng.integers(0, most + 1, shape),
    "flat at the top": lambda rng, shape, most: np.full(shape, most),
    "extremes": lambda rng, shape, most: rng.integers(0, 2, shape) * most,
    "steps of half the range": lambda rng, shape, most: rng.integers(0, 2, shape) * (most // 2 + 1),
    "ramp": lambda rng, shape, most: np.arange(np.prod(shape)).reshape(shape) % (most + 1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("components", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 48)])
def test_decoders_give_the_samples_back(
    kind: str, dtype: type, components: int, size: tuple[int, int], rng: np.random.Generator
) -> None:
    samples = KINDS[kind](rng, (*size, components), np.iinfo(dtype).max).astype(dtype)
    data = encode_lossless_jpeg(samples)
    for decode in (imagecodecs.ljpeg_decode, imagecodecs.jpegsof3_decode):
        assert np.array_equal(np.asarray(decode(data)).reshape(samples.shape), samples), decode.__name__


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_one_sample_by_hand() -> None:
    """T.81: 8-bit 131 is predicted as 128, difference 3, category 2, extra bits 11; the only code is one bit, 0."""
    data = encode_lossless_jpeg(np.array([[[131]]], np.uint8))
    assert data.endswith(bytes([0b01111111]) + b"\xff\xd9")  # 0, 11, and ones up to the byte


def test_skewed_counts_keep_codes_within_16_bits(rng: np.random.Generator) -> None:
    """Counts like Fibonacci's would make a plain Huffman code deeper than JPEG allows."""
    magnitudes = [1 << category >> 1 for category in range(17)]
    counts = [1, 1]
    while len(counts) < 17:
        counts.append(counts[-1] + counts[-2])
    steps = np.repeat(magnitudes, counts)
    rng.shuffle(steps)
    samples = np.cumsum(steps).astype(np.uint16).reshape(1, -1, 1)
    assert np.array_equal(imagecodecs.ljpeg_decode(encode_lossless_jpeg(samples)).ravel(), samples.ravel())


def test_photographic_rows_shrink(rng: np.random.Generator) -> None:
    """A smooth 14-bit mosaic with noise of sigma 8 DN costs about log2(8 sqrt(2) sqrt(2 pi e)) = 5.5 bits a sample."""
    signal = 8000 + 400 * np.sin(np.arange(256) / 400)[None, :] * np.cos(np.arange(256) / 500)[:, None]
    counts = np.round(signal + rng.normal(0, 8, signal.shape)).astype(np.uint16)
    bits = 8 * len(encode_lossless_jpeg(counts.reshape(256, 128, 2))) / counts.size
    assert 5.5 < bits < 6.2


# --- the decoder ---

# Codes of each length, 1 to 16 bits: as many as there are categories, the code of all ones free.
EVEN = [0, 0, 0, 0, 17] + [0] * 11
DEEP = [0, 3] + [1] * 14
PAST = 9  # samples on each side of a decoded region, which nothing may be written to


def write(
    samples: np.ndarray,
    predictor: int = 1,
    precision: int = 16,
    point: int = 0,
    restart_rows: int = 0,
    counts: Sequence[list[int]] = (EVEN,),
    tables_apart: bool = False,
) -> bytes | tuple[bytes, bytes]:
    """A lossless JPEG of samples H W components, by T.81 annex H, as it reads.

    counts: a Huffman table, or one for each component. tables_apart: a JPEG of nothing but tables, and one without.
    """
    height, width, components = samples.shape
    x = samples.astype(int) >> point
    rng = np.random.default_rng(height + width)
    codes, dht = [], b""
    for number, lengths in enumerate(counts):
        order = rng.permutation(17).tolist()
        dht += segment(0xC4, bytes([number, *lengths, *order]))
        code, table = 0, {}
        for length, count in enumerate(lengths, 1):
            code <<= 1
            for _ in range(count):
                table[order[len(table)]] = f"{code:0{length}b}"
                code += 1
        codes.append(table)
    intervals, bits = [], ""
    for i, j, c in np.ndindex(x.shape):
        first = i % restart_rows == 0 if restart_rows else i == 0
        if first and i and j == c == 0:
            intervals.append(bits)
            bits = ""
        a, b = x[i, j - 1, c] if j else 0, x[i - 1, j, c] if i else 0
        corner = x[i - 1, j - 1, c] if i and j else 0
        if first:
            guess = a if j else 1 << (precision - point - 1)
        elif not j:
            guess = b
        else:
            guess = [a, b, corner, a + b - corner, a + ((b - corner) >> 1), b + ((a - corner) >> 1), (a + b) >> 1][
                predictor - 1
            ]
        difference = (x[i, j, c] - guess) % 65536
        difference -= 65536 * (difference > 32768)
        category = 16 if difference == 32768 else int(abs(difference)).bit_length()
        bits += codes[c % len(codes)][category]
        if 0 < category < 16:
            bits += f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}"
    body = b""
    for number, interval in enumerate([*intervals, bits]):
        padded = interval + "1" * (-len(interval) % 8)
        packed = bytes(int(padded[k : k + 8], 2) for k in range(0, len(padded), 8)).replace(b"\xff", b"\xff\0")
        body += packed + (bytes([0xFF, 0xD0 + number % 8]) if number < len(intervals) else b"")
    names = range(1, components + 1)
    frame = bytes([precision, *height.to_bytes(2, "big"), *width.to_bytes(2, "big"), components])
    frame += b"".join(bytes([name, 0x11, 0]) for name in names)
    scan = bytes([components, *(b for c, name in enumerate(names) for b in (name, c % len(codes) << 4))])
    head = segment(0xDD, (restart_rows * width).to_bytes(2, "big")) if restart_rows else b""
    head += segment(0xC3, frame) + segment(0xDA, scan + bytes([predictor, 0, point]))
    if tables_apart:
        return b"\xff\xd8" + head + body + b"\xff\xd9", b"\xff\xd8" + dht + b"\xff\xd9"
    return b"\xff\xd8" + dht + head + body + b"\xff\xd9"


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def decoded(data: bytes, shape: tuple[int, ...], tables: bytes | None = None) -> np.ndarray:
    """The samples as an array of this shape, decoded alone and as the second of two, both inside a larger array."""
    height, across = shape[0], int(np.prod(shape[1:]))
    results = []
    for together in (False, True):
        whole = np.full((height + 2 * PAST, across + 2 * PAST, 1), 0xABCD, np.uint16)
        region = whole[PAST:-PAST, PAST:-PAST]
        image = Image(data, tables, height, across, region)
        lossless_jpeg.decode(*([other_image(), image] if together else [image]))
        image.finish(region)
        results.append(region.reshape(shape).copy())
        region[:] = 0xABCD
        assert (whole == 0xABCD).all()
    assert np.array_equal(*results)
    return results[0]


def other_image() -> Image:
    """A sound one, to be decoded together with another."""
    samples = np.arange(48, dtype=np.uint16).reshape(4, 6, 2)
    return Image(encode_lossless_jpeg(samples), None, 4, 12, np.empty((4, 12, 1), np.uint16))


def libjpeg(data: bytes, components: int) -> np.ndarray:
    colour = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(components)
    return imagecodecs.jpeg8_decode(data, colorspace=colour, outcolorspace=colour)


@needs_decoder
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("components", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (64, 48)])
def test_what_is_encoded_is_decoded(
    kind: str, dtype: type, components: int, size: tuple[int, int], rng: np.random.Generator
) -> None:
    samples = KINDS[kind](rng, (*size, components), np.iinfo(dtype).max).astype(dtype)
    assert np.array_equal(decoded(encode_lossless_jpeg(samples), samples.shape), samples)


@needs_decoder
@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_libjpegs_images_are_decoded(predictor: int, components: int, rng: np.random.Generator) -> None:
    for precision in (2, 7, 8, 9, 12, 13, 14, 16):
        most = 2**precision - 1
        y, x = np.mgrid[:23, :31]
        smooth = most * (0.5 + 0.4 * np.sin(x / 9) * np.cos(y / 7))[..., None] + rng.normal(
            0, 0.01 * most, (23, 31, components)
        )
        for samples in (smooth.clip(0, most), *(kind(rng, smooth.shape, most) for kind in KINDS.values())):
            samples = np.round(samples).astype(np.uint8 if precision <= 8 else np.uint16)
            data = imagecodecs.jpeg8_encode(
                samples[..., 0] if components == 1 else samples,
                lossless=True,
                predictor=predictor,
                bitspersample=precision,
                colorspace={1: "GRAY", 3: "RGB", 4: "CMYK"}.get(components),
            )
            assert np.array_equal(decoded(data, samples.shape), samples)
            assert np.array_equal(libjpeg(data, components).reshape(samples.shape), samples)


@needs_decoder
@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("precision", [2, 8, 11, 16])
@pytest.mark.parametrize("point", [0, 1])
@pytest.mark.parametrize("restart_rows", [0, 1, 2])
def test_t81_as_it_reads(
    predictor: int, precision: int, point: int, restart_rows: int, rng: np.random.Generator
) -> None:
    """Restarts, the point transform, codes of 16 bits, tables of each component; 19 rows pass restart marker 7."""
    for components, counts in ((1, [DEEP]), (2, [EVEN, DEEP]), (3, [DEEP, EVEN, DEEP]), (4, [DEEP, DEEP, EVEN, EVEN])):
        kind = rng.choice(list(KINDS))
        samples = KINDS[kind](rng, (19, 5, components), 2**precision - 1) >> point << point
        data = write(samples, predictor, precision, point, restart_rows, counts)
        assert np.array_equal(decoded(data, samples.shape), samples)
        assert np.array_equal(libjpeg(data, components).reshape(samples.shape), samples)


@needs_decoder
@pytest.mark.parametrize("counts", [EVEN, DEEP])
@pytest.mark.parametrize("components", [1, 2])
def test_all_categories(counts: list[int], components: int) -> None:
    """Differences of 0 to 16 bits, of both signs, least and largest, and 32768, which has category 16 and no bits."""
    sizes = [0, *(s * v for n in range(1, 16) for v in (1 << (n - 1), (1 << n) - 1) for s in (1, -1)), 32768]
    order = np.random.default_rng(2).permutation(len(sizes) * 4) % len(sizes)
    samples = (32768 + np.cumsum(np.array(sizes)[order])) % 65536
    samples = np.repeat(samples, components).reshape(2, -1, components)
    assert np.array_equal(decoded(write(samples, counts=[counts]), samples.shape), samples)


@needs_decoder
def test_one_pixel_by_hand() -> None:
    """The file of test_one_sample_by_hand, without the encoder: code 0 is category 2, its bits 11 are 3, 128 + 3."""
    dht = segment(0xC4, bytes([0, 1, *[0] * 15, 2]))
    head = dht + segment(0xC3, bytes([8, 0, 1, 0, 1, 1, 0, 0x11, 0])) + segment(0xDA, bytes([1, 0, 0, 1, 0, 0]))
    assert decoded(b"\xff\xd8" + head + b"\x7f\xff\xd9", (1, 1)) == 131


@needs_decoder
def test_a_long_row_passes_the_window(rng: np.random.Generator) -> None:
    """65535 pixels of 4 components and many stuffed bytes: a row of up to a megabyte."""
    samples = rng.integers(0, 65536, (3, 65535, 4)).astype(np.uint16)
    assert np.array_equal(decoded(encode_lossless_jpeg(samples), samples.shape), samples)


@needs_decoder
def test_many_stuffed_bytes() -> None:
    """Rises by 32767 are 15 ones behind their code; and fill bytes stand before the markers."""
    samples = (np.arange(50) * 32767 % 65536)[None, :, None].repeat(40, 0).repeat(2, 2)
    data = write(samples, counts=[DEEP], restart_rows=7)
    assert isinstance(data, bytes)
    assert data.count(b"\xff\0") > len(data) / 5
    assert np.array_equal(decoded(data, samples.shape), samples)
    for marker in (b"\xff\xd0", b"\xff\xd1", b"\xff\xd9", b"\xff\xc3"):
        data = data.replace(marker, b"\xff" * 5 + marker)
    assert np.array_equal(decoded(data, samples.shape), samples)


@needs_decoder
def test_tables_apart(rng: np.random.Generator) -> None:
    samples = rng.integers(0, 65536, (6, 7, 2))
    data, tables = write(samples, counts=[EVEN, DEEP], tables_apart=True)
    assert np.array_equal(decoded(data, samples.shape, tables), samples)
    with pytest.raises(ValueError, match="a Huffman table that is not there"):
        decoded(data, samples.shape)


@needs_decoder
@pytest.mark.parametrize("shape", [(8, 16, 2), (16, 16, 1), (4, 16, 4), (32, 8, 1), (1, 256, 1), (16, 4, 4)])
@pytest.mark.parametrize("predictor", [1, 6])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("cut", [(0, 0), (3, 0), (0, 5), (15, 7)])
def test_samples_in_lines_of_another_width(
    shape: tuple[int, int, int], predictor: int, channels: int, cut: tuple[int, int], rng: np.random.Generator
) -> None:
    """A tile 16 wide, whatever the frame's shape; what hangs over the image's edge is left out."""
    samples = rng.integers(0, 4096, (16, 16 // channels, channels)).astype(np.uint16)
    data = write(samples.reshape(shape), predictor, precision=12)
    rows, cols = 16 - cut[0], 16 // channels - cut[1]
    for dtype in (np.uint16, np.uint32, np.uint8):
        whole = np.full((rows, cols + 3, channels), 77, dtype)
        region = whole[:, :cols]
        image = Image(data, None, 16, 16, region)
        lossless_jpeg.decode(image)
        image.finish(region)
        assert np.array_equal(region, samples[:rows, :cols].astype(dtype))
        assert (whole[:, cols:] == 77).all()


@needs_decoder
def test_two_that_are_unlike(rng: np.random.Generator) -> None:
    """Of other heights, widths, components and predictors, and one that is damaged in the middle."""
    kinds = [((9, 8, 2), 1), ((5, 8, 2), 1), ((9, 7, 2), 1), ((9, 8, 1), 1), ((9, 8, 2), 4), ((3, 8, 3), 1)]
    pictures = [rng.integers(0, 65536, shape) for shape, _ in kinds]
    files = [write(x, predictor) for x, (_, predictor) in zip(pictures, kinds, strict=True)]
    pictures.append(pictures[0])
    files.append(files[0][: len(files[0]) // 2])
    for a in range(len(files)):
        for b in range(len(files)):
            regions = [np.zeros((pictures[k].shape[0], pictures[k][0].size, 1), np.uint16) for k in (a, b)]
            images = [
                Image(files[k], None, *region.shape[:2], region) for k, region in zip((a, b), regions, strict=True)
            ]
            lossless_jpeg.decode(*images)
            for k, image, region in zip((a, b), images, regions, strict=True):
                if k == len(files) - 1:
                    with pytest.raises(ValueError, match="the data end before the last row"):
                        image.finish(region)
                else:
                    image.finish(region)
                    assert np.array_equal(region.ravel(), pictures[k].ravel())


@needs_decoder
def test_real_mosaics(shared: Path) -> None:
    """Of real raws, whole, as libjpeg-turbo codes them, in the halves of rows that predictors are made for."""
    for number, path in enumerate(sorted((shared / "data" / "raw").glob("*.dng"))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mosaic = isp.raw.read(path).mosaic
        mosaic = mosaic[:, : mosaic.shape[1] // 2 * 2].astype(np.uint16)
        samples = mosaic.reshape(len(mosaic), -1, 2)
        data = imagecodecs.jpeg8_encode(samples, lossless=True, predictor=number % 7 + 1, bitspersample=16)
        assert np.array_equal(decoded(data, mosaic.shape), mosaic), path
        assert np.array_equal(decoded(encode_lossless_jpeg(samples), mosaic.shape), mosaic), path


@needs_decoder
def test_reading_needs_no_imagecodecs() -> None:
    """Nor PyTorch: both cost more time to import than the frame to decode."""
    sample = Path(__file__).parents[2] / "data" / "samples" / "still_life.dng"
    code = f"import isp, sys; isp.read({str(sample)!r}); print(sorted({{'imagecodecs', 'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- damage ---


def small(restart_rows: int = 2) -> tuple[np.ndarray, bytes]:
    samples = np.random.default_rng(3).integers(0, 65536, (5, 6, 2))
    data = write(samples, 4 if restart_rows else 1, restart_rows=restart_rows, counts=[EVEN, DEEP])
    assert isinstance(data, bytes)
    return samples, data


def outcome(data: bytes, shape: tuple[int, ...], tables: bytes | None = None) -> np.ndarray | str:
    try:
        return decoded(data, shape, tables)
    except ValueError as error:
        return str(error)


@needs_decoder
@pytest.mark.parametrize("restart_rows", [0, 2])
def test_cut_at_every_byte(restart_rows: int) -> None:
    samples, data = small(restart_rows)
    last = len(data) - 3  # of the samples
    for length in range(len(data)):
        result = outcome(data[:length], samples.shape)
        if length > last:
            assert np.array_equal(result, samples)
        else:
            assert isinstance(result, str), length
            assert "\n" not in result
        ended = outcome(data[:length] + b"\xff\xd9", samples.shape)
        assert isinstance(ended, str) or np.array_equal(ended, samples)


@needs_decoder
@pytest.mark.parametrize("restart_rows", [0, 2])
def test_every_byte_changed(restart_rows: int) -> None:
    samples, data = small(restart_rows)
    wrong = set()
    for at in range(len(data)):
        for value in (0, 1, 2, 0x0F, 0x11, 0x7F, 0x80, 0xD0, 0xD9, 0xFE, 0xFF, data[at] ^ 1, data[at] ^ 0x40):
            result = outcome(data[:at] + bytes([value]) + data[at + 1 :], samples.shape)
            if isinstance(result, str):
                wrong.add(result)
    assert len(wrong) > 15, wrong  # each of these parts is reached


def header(**changes: bytes) -> bytes:
    """A file of one sample, of which parts are replaced: by segments of another kind or content."""
    parts = {
        "start": b"\xff\xd8",
        "dht": segment(0xC4, bytes([0, 1, *[0] * 15, 2])),
        "frame": segment(0xC3, bytes([8, 0, 1, 0, 1, 1, 0, 0x11, 0])),
        "scan": segment(0xDA, bytes([1, 0, 0, 1, 0, 0])),
        "body": b"\x7f\xff\xd9",
    }
    return b"".join((parts | changes).values())


SPECKS: dict[str, bytes] = {
    "no JPEG": header(start=b"\xff\xd9"),
    "no marker where one should be": header(dht=b"\0\0\0\0"),
    "the data end before the scan": header(scan=b"", body=b"\xff\xd9"),
    "a marker segment beyond the end": header(dht=b"\xff\xe0\xff\xff"),
    "a Huffman table that is cut off": header(dht=segment(0xC4, bytes([0, 1, *[0] * 15]))),
    "a Huffman table that is not there": header(dht=segment(0xC4, bytes([1, 1, *[0] * 15, 2]))),
    "a Huffman table that is no code of differences": header(dht=segment(0xC4, bytes([0, 3, *[0] * 15, 1, 2, 3]))),
    "a restart interval that is cut off": header(dht=segment(0xDD, b"\0")),
    "two frame headers": header(dht=segment(0xC3, bytes([8, 0, 1, 0, 1, 1, 0, 0x11, 0]))),
    "a frame header that is cut off": header(frame=segment(0xC3, bytes([8, 0, 1, 0, 1, 2, 0, 0x11, 0]))),
    "samples of less than 2 or more than 16 bits": header(frame=segment(0xC3, bytes([17, 0, 1, 0, 1, 1, 0, 17, 0]))),
    "no component, or more than 4": header(frame=segment(0xC3, bytes([8, 0, 1, 0, 1, 5, *[0, 17, 0] * 5]))),
    "components that are subsampled": header(frame=segment(0xC3, bytes([8, 0, 1, 0, 1, 2, 0, 17, 0, 1, 0x21, 0]))),
    "another process than SOF3": header(frame=segment(0xC7, bytes([8, 0, 1, 0, 1, 1, 0, 0x11, 0]))),
    "a scan without a frame": header(frame=b""),
    "a scan header that is cut off": header(scan=segment(0xDA, bytes([1, 0, 0]))),
    "a scan of some of the components": header(frame=segment(0xC3, bytes([8, 0, 1, 0, 1, 2, 0, 17, 0, 1, 17, 0]))),
    "components in another order than the frame's": header(scan=segment(0xDA, bytes([1, 9, 0, 1, 0, 0]))),
    "a predictor that is none of 1 to 7": header(scan=segment(0xDA, bytes([1, 0, 0, 0, 0, 0]))),
    "a point transform of all bits": header(scan=segment(0xDA, bytes([1, 0, 0, 1, 0, 8]))),
    "another number of samples": header(frame=segment(0xC3, bytes([8, 0, 1, 0, 2, 1, 0, 0x11, 0]))),
    "the data end before the last row": header(body=b"\xff\xd9"),
    "a code that is in no table": header(body=b"\xff\0\xff\xd9"),
}


@needs_decoder
@pytest.mark.parametrize("message", SPECKS)
def test_what_is_wrong_is_said(message: str) -> None:
    assert decoded(header(), (1, 1)) == 131
    assert outcome(SPECKS[message], (1, 1)) == message


@needs_decoder
def test_restarts_are_where_they_should_be() -> None:
    samples, data = small(2)
    assert np.array_equal(decoded(data, samples.shape), samples)
    for damaged in (data.replace(b"\xff\xd1", b"\xff\xd2"), data.replace(b"\xff\xd0", b"")):
        assert isinstance(outcome(damaged, samples.shape), str)
    within = segment(0xDD, (9).to_bytes(2, "big"))
    at = data.index(b"\xff\xdd")
    assert outcome(data[:at] + within + data[at + 6 :], samples.shape) == "restarts within a row"


@needs_decoder
def test_a_scan_among_the_tables() -> None:
    assert outcome(header(), (1, 1), tables=header()) == "a scan among the tables"
    for length in range(40):
        outcome(header(), (1, 1), tables=header()[:length])
