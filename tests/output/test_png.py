"""PNGs in bands, read by libpng and by Pillow."""

from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from isp.output import png


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
