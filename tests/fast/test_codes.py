"""The compiled render's last steps, from linear RGB to the bytes of pixels, and its rows of even and odd columns."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest
import torch

from isp import fast
from isp.fast.structures import Band, Colour, Mosaic, Picture, filmic_pieces, pieces
from isp.options import RenderOptions
from isp.primaries import CURVES, Curve
from isp.raw import RawImage
from isp.stages.tone import filmic
from tests.fast.test_classical import check, kernel, make_frame  # noqa: F401 - the fixture

ALL = {**CURVES, "camera": Curve(1.0, 2.0, 1.0, 1.0, 0.0)}
# Of a code, before it is rounded: what pieces add, and float32.
CLOSE = {4: {8: 0.005, 16: 0.08}, 1: {8: 0.003, 16: 0.17}}  # by how many pieces there are in an octave
BEYOND = np.float32([-np.inf, -1e30, -3.0, -1e-3, -1e-30, -0.0, 0.0, 1e-30, 1e-12, 1.0, 1 + 2**-20, 1.5, 2.5, 1e30])


def truth(curve: Curve, x: np.ndarray, bits: int) -> np.ndarray:
    """Codes in float64, not rounded."""
    x = np.clip(x.astype(float), 0, 1)
    high = curve.scale * np.maximum(x, curve.knee) ** curve.exponent - curve.offset
    return np.where(x < curve.knee, curve.slope * x, high) * (2**bits - 1)


def range_of(curve: Curve) -> np.ndarray:
    """Float32 numbers: steps over the whole range, equal and in proportion, and each neighbour of the knee."""
    knee = np.float32(curve.knee).view(np.int32) + np.arange(-50, 51, dtype=np.int32)
    return np.concatenate(
        [np.linspace(-0.01, 1.01, 200_001), np.geomspace(1e-9, 1, 200_001), knee.view(np.float32), BEYOND]
    ).astype(np.float32)


@pytest.mark.parametrize("in_octave", CLOSE)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ALL)
def test_pieces_are_the_curve(name: str, bits: int, in_octave: int) -> None:
    """As the kernel reads them: in float32, the piece by the first nine bits, or eleven for quarters of an octave."""
    stretch, shift, coefficients = pieces(ALL[name], bits, in_octave)
    x = range_of(ALL[name])
    u = np.minimum(
        (x.astype(float) * np.float32(stretch) + np.float32(shift)).astype(np.float32), np.float32(1 - 2**-24)
    )
    piece = np.maximum(u.view(np.int32) >> (21 if in_octave == 4 else 23), 119 * in_octave) % (8 * in_octave)
    y = np.zeros_like(u)
    with np.errstate(invalid="ignore"):
        for row in coefficients[::-1].astype(np.float32):
            y = (y.astype(float) * u + row[piece]).astype(np.float32)  # rounded once, as fused
    finite = np.isfinite(x)
    assert np.abs(np.clip(y, 0, None) - truth(ALL[name], x, bits))[finite].max() < CLOSE[in_octave][bits]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ALL)
def test_codes_are_the_curve(name: str, bits: int) -> None:
    """What is compiled, whichever way it takes: the nearest code of every number."""
    x = range_of(ALL[name])
    x = x[np.isfinite(x)]
    found = displayed(ALL[name], np.stack([x, x[::-1], 1 - x]), bits)
    close = CLOSE[fast.kernel().isp_pieces() or 4][bits] + {8: 0, 16: 0.02}[bits]
    for channel, values in enumerate((x, x[::-1], 1 - x)):
        assert np.abs(found[:, channel] - truth(ALL[name], values, bits)).max() < 0.5 + close


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_no_number_is_black(bits: int) -> None:
    x = np.full((3, 40), np.nan, np.float32)
    x[:, 20:] = 0.5
    found = displayed(ALL["srgb"], x, bits)
    assert not found[:20].any()
    assert (found[20:] == round(truth(ALL["srgb"], np.float32(0.5), bits).item())).all()


def displayed(curve: Curve, x: np.ndarray, bits: int) -> np.ndarray:
    """Codes, N 3, of 3 N linear numbers, through the kernel with a matrix of ones on the diagonal."""
    band = Band.of(np.ascontiguousarray(x).reshape(3, 1, -1), 0)
    count = x.shape[1]
    colour = Colour(first=tuple(np.eye(3).ravel()), gains=(1.0, 1.0, 1.0), exposure=1.0, bits=bits, **curve._asdict())
    colour.look_up(curve, fast.kernel().isp_pieces())
    out = np.zeros((count, 3), f"uint{bits}")
    picture = Picture(row=out.nbytes, column=out.strides[0], bottom=1, right=count)
    picture.point("corner", out)
    by = ctypes.byref
    mosaic = Mosaic(height=1, width=count)
    assert fast.kernel().isp_display(by(band), by(mosaic), by(colour), by(picture), 0, 1, 0, count) == 0
    return out


def test_filmic_pieces_are_the_curve() -> None:
    coefficients = filmic_pieces().astype(np.float32)
    x = np.concatenate([[0], np.geomspace(1e-7, 1e5, 400_001)]).astype(np.float32)
    u = np.minimum(x + np.float32(0.004), np.float32(256 - 2**-15))
    y = np.zeros_like(u)
    for row in coefficients[::-1]:
        y = (y.astype(float) * u + row[(u.view(np.int32) >> 22) & 31]).astype(np.float32)
    wanted = filmic(torch.from_numpy(x.astype(float)).expand(1, 3, 1, -1))[0, 0, 0].numpy()
    assert np.abs(truth(ALL["srgb"], y, 16) - truth(ALL["srgb"], wanted, 16)).max() < 0.08


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("demosaic", ["malvar2004", "msg"])
def test_pixels_of_every_width(demosaic: str, bits: int) -> None:
    """A crop has the codes of the whole, wherever it begins and however it lies; nothing beside it is written."""
    raw = make_frame("GRBG", 9, 90)
    options = RenderOptions(demosaic=demosaic, look="neutral")
    whole = fast.render_pixels(raw, options, bits)
    for width in range(1, 71):
        for left in (0, 1, 4, 19):
            meta = replace(raw.meta, default_crop_origin=(left, 2), default_crop_size=(width, 5))
            wanted = whole[2:7, left : left + width]
            room = np.full((5, width + 2, 3), 77, whole.dtype)
            fast.develop(RawImage(raw.mosaic, meta), options, room[:, 1:-1], bits)
            np.testing.assert_array_equal(room[:, 1:-1], wanted)
            assert (room[:, [0, -1]] == 77).all()
            if left == 1:
                mirrored = fast.render_pixels(RawImage(raw.mosaic, replace(meta, orientation=2)), options, bits)
                np.testing.assert_array_equal(mirrored, wanted[:, ::-1])


SPLIT = {
    "2x2 black": dict(black_level=np.array([[[500.0], [470.0]], [[520.0], [510.0]]])),
    "black of four columns": dict(black_level=500 + 20 * np.random.default_rng(1).random((3, 4, 1))),
    "black of each column": dict(
        black_level_delta_h=np.linspace(-30, 30, 71), black_level_delta_v=np.linspace(9, -9, 45)
    ),
    "black of each row": dict(black_level_delta_v=np.linspace(9, -9, 45)),
    "borders": dict(active_area=(3, 5, 44, 68)),
}


@pytest.mark.parametrize("fields", SPLIT)
@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_split_rows(pattern: str, fields: str) -> None:
    """Each way from counts to even and odd columns, on an odd width, for looks that go on with them and that do not."""
    raw = make_frame(pattern, 45, 71, **SPLIT[fields])
    check(raw, demosaic="malvar2004", look="neutral", highlights="none")
    check(raw, demosaic="malvar2004", look="standard", highlights="clip")
    check(raw, demosaic="bilinear", look="standard", highlights="reconstruct")
    floats = RawImage(raw.mosaic.astype(np.float32), raw.meta)
    check(floats, demosaic="malvar2004", look="neutral", bits=(8,))


@pytest.mark.parametrize("width", [2, 3, 31, 33, 511, 512, 513, 515, 1025])
def test_split_rows_at_the_ends_of_tiles(width: int) -> None:
    for demosaic in ("malvar2004", "bilinear"):
        check(make_frame("BGGR", 5, width), demosaic=demosaic, look="neutral", highlights="clip")
