"""The lossless JPEG encoder against two decoders written by others."""

import imagecodecs
import numpy as np
import pytest

from isp.raw.lossless_jpeg import encode_lossless_jpeg

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
