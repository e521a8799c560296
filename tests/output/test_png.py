"""PNGs in bands, read by libpng and by Pillow; their deflate data, read by zlib."""

import sys
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from isp.fast.library import UnavailableError, library
from isp.output import png


@pytest.fixture(params=["compiled", "zlib"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "zlib":
        monkeypatch.setattr(sys.modules["isp.fast.library"], "library", lambda: UnavailableError("none here"))
    elif isinstance(reason := library(), UnavailableError):
        pytest.skip(str(reason))
    return request.param


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (40, 33), (41, 64)])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("band", [1, 1000, 1 << 19])
def test_every_sample_comes_back(size: tuple[int, int], bits: int, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of one row, of some rows with a rest, and one of all; values that wrap round in the filter."""
    monkeypatch.setattr(png, "BAND", band)
    rng = np.random.default_rng(bits)
    pixels = rng.integers(0, 2**bits, (*size, 3)).astype(f"uint{bits}")
    pixels[size[0] // 2 :] = 2**bits - 1
    data = b"".join(png.png_parts(pixels, png.chunk(b"tEXt", b"Comment\0none")))
    assert np.array_equal(imagecodecs.png_decode(data), pixels)
    with Image.open(BytesIO(data)) as image:
        image.verify()  # every chunk's checksum
    if bits == 8:
        with Image.open(BytesIO(data)) as image:  # and the checksum of the whole stream
            assert np.array_equal(np.asarray(image), pixels)
            assert image.text == {"Comment": "none"}


def test_photographs_take_no_more_than_from_libpng() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:300, 0:400]
    smooth = 120 + 80 * np.sin(x / 40) * np.cos(y / 30)
    pixels = np.clip(smooth[..., None] + 3 * rng.standard_normal((300, 400, 3)), 0, 255).astype(np.uint8)
    most = len(imagecodecs.png_encode(pixels, level=6, filter=imagecodecs.PNG.FILTER.PAETH))
    assert sum(map(len, png.png_parts(pixels, b""))) < 1.01 * most


def counted(counts: list[int]) -> np.ndarray:
    """Byte i so many times, in random order."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


def fibonacci(n: int) -> list[int]:
    """Counts whose Huffman code is as long as codes get."""
    counts = [1, 1]
    while len(counts) < n:
        counts.append(counts[-1] + counts[-2])
    return counts


RNG = np.random.default_rng(1)
BLOCK = 1 << 17
DATA = {
    "a byte": np.array([7]),
    "two kinds": RNG.integers(0, 2, 1000),
    "all bytes once": np.arange(256),
    "random": RNG.integers(0, 256, 5000),
    "codes that are too long": counted(fibonacci(24)),
    "lengths' codes that are too long": counted([2 ** min(i, 14) for i in range(16)] + [1] * 200),
    "long runs": np.repeat(RNG.integers(0, 256, 300), RNG.integers(1, 600, 300)),
    **{f"{n} zeros": np.zeros(n) for n in (2, 3, 4, 5, 258, 259, 260, 261, 262, 516, 517, BLOCK + 1)},
    "just a block": RNG.geometric(0.3, BLOCK),
    "a run over its end": np.concatenate([RNG.geometric(0.3, BLOCK - 5), np.full(300, 9), RNG.geometric(0.3, 50)]),
}


@pytest.mark.parametrize("name", DATA)
def test_bytes_come_back(name: str) -> None:
    """As the end of a stream, and with another part behind it; no larger than from zlib's run lengths."""
    data = (DATA[name] % 256).astype(np.uint8)
    end, part = png.deflate(data, True), png.deflate(data, False)
    for stream, expected in ((end, data.tobytes()), (part + end, 2 * data.tobytes())):
        reader = zlib.decompressobj(-zlib.MAX_WBITS)
        assert reader.decompress(stream) == expected
        assert reader.eof
        assert not reader.unused_data
    runs = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    least = len(runs.compress(data.tobytes()) + runs.flush())
    assert len(end) < 1.01 * least + 160, "zlib has a fixed code too, which saves the tables of a few bytes"


def test_random_bytes_come_back() -> None:
    """Alphabets of all sizes, even and uneven, with runs and without."""
    rng = np.random.default_rng(2)
    for _ in range(300):
        shares = rng.random(rng.integers(1, 257)) ** rng.integers(1, 30)
        data = rng.choice(len(shares), rng.integers(1, 3000), p=shares / shares.sum()).astype(np.uint8)
        if rng.random() < 0.5:
            data = np.repeat(data, rng.integers(1, rng.integers(2, 400), len(data)))[:50_000]
        assert zlib.decompress(png.deflate(data, True), -zlib.MAX_WBITS) == data.tobytes()
