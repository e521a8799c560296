"""What raw developers make of DNG features, one by one: a Markdown table of yes, no and error.

    python -m tools.compare_developers            everything that is installed
    python -m tools.compare_developers --only GainMap --keep DIR

For each feature a DNG is written whose counts are changed so that the feature, applied to the specification, undoes
the change. A developer that applies it renders the same picture as from a plain DNG of the same scene; one that ignores
it renders the picture of the changed counts. Where between the two its picture lies is the answer. Kinds of files
(linear, floating point, Quad-Bayer ...) have nothing to ignore: there, the picture is right or it is not.

A developer is judged by its own render of the plain DNG, so its taste in tone and colour does not count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from isp.developers import PROGRAMS
from isp.raw import CFA, RawImage, RawMetadata, write_dng
from isp.raw.cfa import CANONICAL
from isp.raw.opcodes import (
    FixBadPixelsList,
    FixVignetteRadial,
    GainMap,
    MapPolynomial,
    Opcode,
    ScalePerRow,
    WarpRectilinear,
)

HEIGHT, WIDTH = 528, 792  # LibRaw renders X-Trans only from 512 pixels on
BLACK, WHITE = 512.0, 16383.0
HIGH_BLACK = 2048.0  # where a black level is what is asked for
TRIM = 24  # pixels at the border that do not count: developers differ there
SAME = 0.02  # mean difference of encoded values, 0 to 1, up to which a picture is right
BORDERS = 16  # pixels by which sizes may differ: some developers cut borders, and not the same ones of every kind
VISIBLE = 0.004  # a feature has to change the picture by this much, or the test tests nothing
MATRIX_A = np.array([[1.6682, -0.7782, -0.0031], [-0.8049, 1.8428, 0.3778], [-0.1669, 0.2537, 1.1091]])
MATRIX_D65 = np.array([[0.8443, -0.1990, -0.0571], [-0.4748, 1.2164, 0.2867], [-0.1364, 0.2383, 0.8064]])
FORWARD = np.array([[0.6654, 0.1232, 0.1756], [0.2995, 0.6481, 0.0524], [0.0038, 0.0005, 0.8208]])
NEUTRAL = np.array([0.85, 1.0, 0.45])  # warm, far from the daylight that a developer may fall back to


@dataclass(frozen=True)
class Case:
    """One row: a DNG with the feature, a plain one of the same scene, and one without the feature where it can be left
    out of the same counts."""

    name: str
    featured: RawImage
    plain: RawImage
    ignored: RawImage | None = None
    check: Callable[[np.ndarray], bool] | None = None  # in place of the plain picture
    compression: str = "none"
    noisy: bool = False  # compared after a blur


# --- the scene and its files -----------------------------------------------------------------------------------------


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Camera RGB before white balance, H W 3, 0 to 1: smooth, so that every demosaic gives nearly the same."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [
        0.5 + 0.35 * np.sin(x / 29 + phase) * np.cos(y / 37 - phase) + 0.1 * np.cos((x + y) / 61) for phase in (0, 1, 2)
    ]
    tint = np.array([1.0, 0.8, 0.5])  # so that a white balance that looks at the picture goes wrong
    return np.stack(waves, -1) * tint * NEUTRAL * 0.6


def metadata(**changes: Any) -> RawMetadata:
    values: dict[str, Any] = {
        "height": HEIGHT,
        "width": WIDTH,
        "cfa": CFA("RGGB"),
        "black_level": np.full((1, 1, 1), BLACK),
        "white_level": [WHITE],
        "calibration_illuminant1": 21,
        "color_matrix1": MATRIX_D65,
        "as_shot_neutral": NEUTRAL,
        "make": "Feature",
        "model": "Test",
        "unique_camera_model": "Feature Test",
        "iso": 100,
    }
    return RawMetadata(**{**values, **changes})


def altered(meta: RawMetadata, **changes: Any) -> RawMetadata:
    """`dataclasses.replace`, for arrays given as lists."""
    return replace(meta, **changes)


def mosaic(rgb: np.ndarray, cfa: CFA) -> np.ndarray:
    height, width = rgb.shape[:2]
    return np.take_along_axis(rgb, cfa.channel_map(height, width)[..., None], -1)[..., 0]


def counts(x: np.ndarray, dtype: Any = np.uint16) -> np.ndarray:
    return np.round(x).astype(dtype) if np.dtype(dtype).kind == "u" else x.astype(dtype)


def frame(meta: RawMetadata, light: np.ndarray, levels: np.ndarray | None = None) -> RawImage:
    """A frame of values 0 to 1, on a 14-bit scale or on `levels`, the black level at each pixel."""
    black = BLACK if levels is None else levels
    return RawImage(counts(black + (meta.white_level[0] - np.max(black)) * light), meta)


def cases() -> Iterator[Case]:
    """Every feature."""
    base = metadata()
    assert base.cfa is not None
    light = mosaic(scene(), base.cfa)
    plain = frame(base, light)
    y, x = np.mgrid[:HEIGHT, :WIDTH]

    table = np.round(65535 * (np.arange(4096) / 4095) ** 2)
    wanted = BLACK * 4 + (65535 - BLACK * 4) * light
    indices = np.round(4095 * np.sqrt(wanted / 65535))
    linearised = replace(
        base, linearization_table=table, black_level=np.full((1, 1, 1), BLACK * 4), white_level=[65535.0]
    )
    without = altered(base, black_level=np.full((1, 1, 1), 4095 * (BLACK * 4 / 65535) ** 0.5), white_level=[4095.0])
    yield Case("LinearizationTable", RawImage(counts(indices), linearised), plain, RawImage(counts(indices), without))

    pattern = np.array([[300.0, 700.0], [500.0, 900.0]])
    yield _black_level("BlackLevel, 2x2 pattern", base, light, plain, pattern)
    yield _black_level(
        "BlackLevel, 4x4 pattern", base, light, plain, 300 + 100.0 * ((np.arange(16) * 7) % 11).reshape(4, 4)
    )
    small = altered(base, white_level=[60.0], black_level=np.full((1, 1, 1), 3.5))
    dithered = np.random.default_rng(0).uniform(-0.5, 0.5, light.shape)
    coarse = np.round(3.5 + 56.5 * light + dithered).astype(np.uint8)
    yield Case(
        "BlackLevel, fractional (3.5 of 60)",
        RawImage(coarse, small),
        plain,
        RawImage(coarse, altered(small, black_level=np.full((1, 1, 1), 3.0))),
        noisy=True,
    )
    delta_h, delta_v = np.linspace(-400, 400, WIDTH), np.linspace(300, -300, HEIGHT)
    for name, field, delta in (
        ("BlackLevelDeltaH", "black_level_delta_h", delta_h[None]),
        ("BlackLevelDeltaV", "black_level_delta_v", delta_v[:, None]),
    ):
        values = delta.ravel()
        shifted = BLACK + delta + (WHITE - BLACK - values.max()) * light
        yield Case(
            name,
            RawImage(counts(shifted), altered(base, **{field: values})),
            plain,
            RawImage(counts(shifted), base),
        )

    bordered = np.pad(plain.mosaic, ((33, 9), (17, 5)), constant_values=int(BLACK))
    area = metadata(height=bordered.shape[0], width=bordered.shape[1], active_area=(33, 17, 33 + HEIGHT, 17 + WIDTH))
    yield Case("ActiveArea, odd offset", RawImage(bordered, area), plain)
    inner = plain.mosaic[16:-32, 24:-40]
    cropped = altered(base, default_crop_origin=(24.0, 16.0), default_crop_size=(float(WIDTH - 64), float(HEIGHT - 48)))
    yield Case(
        "DefaultCrop", RawImage(plain.mosaic, cropped), RawImage(inner, metadata(height=HEIGHT - 48, width=WIDTH - 64))
    )
    turned = np.ascontiguousarray(scene().transpose(1, 0, 2)[:, ::-1])  # turned clockwise by a quarter
    yield Case(
        "Orientation",
        RawImage(plain.mosaic, altered(base, orientation=6)),
        frame(metadata(height=WIDTH, width=HEIGHT), mosaic(turned, base.cfa)),
    )

    half = frame(base, light / 2)
    yield Case("BaselineExposure", replace(half, meta=altered(base, baseline_exposure=1.0)), plain, half)

    gains = 1 + 1.2 * ((np.linspace(-1, 1, 9)[:, None] ** 2) + (np.linspace(-1, 1, 13)[None] ** 2)) / 2
    spread = {"map_spacing_v": 1 / 8, "map_spacing_h": 1 / 12}
    one = (GainMap(map_gains=gains[..., None], bottom=HEIGHT, right=WIDTH, **spread),)
    four = tuple(
        replace(one[0], top=i // 2, left=i % 2, row_pitch=2, col_pitch=2)  # one for each place of the 2x2 CFA
        for i in range(4)
    )
    rows = 1 + 0.5 * np.sin(np.arange(HEIGHT) / 9) ** 2
    opcodes: tuple[tuple[str, tuple[Opcode, ...]], ...] = (
        ("OpcodeList2 GainMap, one map", one),
        ("OpcodeList2 GainMap, four maps", four),
        (
            "OpcodeList2 MapPolynomial",
            (MapPolynomial(coefficients=np.array([0, 0.4, 0.6]), bottom=HEIGHT, right=WIDTH),),
        ),
        ("OpcodeList2 ScalePerRow", (ScalePerRow(scales=rows, bottom=HEIGHT, right=WIDTH),)),
        ("OpcodeList2 FixVignetteRadial", (FixVignetteRadial(k=np.array([0.8, 0.2, 0, 0, 0])),)),
    )
    for name, opcode_list in opcodes:
        featured = altered(base, opcode_list2=opcode_list)
        undone = frame(base, _undo(light, opcode_list))
        yield Case(name, replace(undone, meta=featured), plain, undone)

    vignette = (FixVignetteRadial(k=np.array([0.8, 0.2, 0, 0, 0])),)
    dark = frame(base, mosaic(np.stack([_undo(scene()[..., c], vignette) for c in range(3)], -1), base.cfa))
    yield Case("OpcodeList3 FixVignetteRadial", replace(dark, meta=altered(base, opcode_list3=vignette)), plain, dark)
    shift = 8.0  # pixels by which the warp's centre of expansion moves the border of the picture
    zoom = 1 - 2 * shift / WIDTH
    warp = (WarpRectilinear(kr=np.array([[zoom, 0, 0, 0]]), kt=np.zeros((1, 2))),)
    from scipy.ndimage import map_coordinates

    centre = ((HEIGHT - 1) / 2, (WIDTH - 1) / 2)
    at = [(v - c) * zoom + c for v, c in zip((y, x), centre, strict=True)]
    zoomed = np.stack([map_coordinates(scene()[..., c], at, order=3, mode="nearest") for c in range(3)], -1)
    yield Case(
        "OpcodeList3 WarpRectilinear",
        RawImage(plain.mosaic, altered(base, opcode_list3=warp)),
        frame(base, mosaic(zoomed, base.cfa)),
        plain,
    )
    bad = np.argwhere(((y % 8 == 0) & (x % 8 == 0)) | ((y % 8 == 5) & (x % 8 == 3)))
    spoiled = plain.mosaic.copy()
    spoiled[bad[:, 0], bad[:, 1]] = int(WHITE)
    listed = (FixBadPixelsList(points=bad, rects=np.zeros((0, 4)), bayer_phase=0),)
    yield Case(
        "OpcodeList1 FixBadPixelsList",
        RawImage(spoiled, altered(base, opcode_list1=listed)),
        plain,
        RawImage(spoiled, base),
    )

    yield from _colour_cases(base, light)
    yield from _kinds(base, light, plain)


def _black_level(name: str, base: RawMetadata, light: np.ndarray, plain: RawImage, pattern: np.ndarray) -> Case:
    levels = np.tile(pattern, (HEIGHT // len(pattern), WIDTH // len(pattern)))
    featured = frame(altered(base, black_level=pattern[..., None]), light, levels)
    return Case(
        name, featured, plain, replace(featured, meta=altered(base, black_level=np.full((1, 1, 1), pattern.mean())))
    )


def _undo(light: np.ndarray, opcodes: tuple[Opcode, ...]) -> np.ndarray:
    import torch

    from isp.stages.opcodes import undo_opcodes

    return undo_opcodes(torch.from_numpy(light)[None, None], opcodes)[0, 0].numpy()


def _colour_cases(base: RawMetadata, light: np.ndarray) -> Iterator[Case]:
    """Files with more colour tags, beside a file whose single matrix says the same at the as-shot white."""
    from isp.raw.colour import camera_to_xyz_d50, neutral_to_xy

    def equivalent(meta: RawMetadata) -> RawMetadata:
        """The metadata with one ColorMatrix that gives the same colours: CA(xy)^-1 M, inverted, where M takes the
        camera to XYZ D50 and CA is the Bradford adaptation from the as-shot white to D50."""
        from isp.primaries import bradford, xy_to_xyz

        xy = neutral_to_xy(meta, NEUTRAL)
        to_d50 = bradford(xy_to_xyz(xy), xy_to_xyz((0.3457, 0.3585)))
        single = np.linalg.inv(np.linalg.inv(to_d50) @ camera_to_xyz_d50(meta, xy, NEUTRAL))
        return altered(base, color_matrix1=np.round(single, 6))

    dual = replace(
        base, calibration_illuminant1=17, color_matrix1=MATRIX_A, calibration_illuminant2=21, color_matrix2=MATRIX_D65
    )
    forward = altered(base, forward_matrix1=FORWARD @ np.array([[0.8, 0.1, 0.1], [0.1, 0.9, 0.0], [0.0, -0.1, 1.1]]))
    calibrated = altered(base, camera_calibration1=np.array([[1.0, 0.12, 0.0], [0.0, 1.0, 0.10], [0.08, 0.0, 1.0]]))
    balanced = altered(base, analog_balance=[0.7, 1.0, 1.2])
    for name, featured, ignored in (
        ("Dual illuminant (ColorMatrix1 and 2)", dual, base),
        ("ForwardMatrix", forward, base),
        ("CameraCalibration", calibrated, base),
        ("AnalogBalance", balanced, base),
    ):
        yield Case(name, frame(featured, light), frame(equivalent(featured), light), frame(ignored, light))
    xy = neutral_to_xy(base, NEUTRAL)
    stated = altered(base, as_shot_neutral=None, as_shot_white_xy=xy)
    blank = altered(base, as_shot_neutral=None)
    yield Case("AsShotWhiteXY", frame(stated, light), frame(base, light), frame(blank, light))
    grey = np.ones((6, 4, 1, 3)) * np.array([0.0, 0.0, 1.0])  # hue shift, saturation scale, value scale
    yield Case(
        "ProfileHueSatMap",
        frame(altered(base, profile_hue_sat_map1=grey), light),
        frame(base, light),
        check=lambda picture: float(np.ptp(picture, axis=-1).mean()) < SAME,
    )


def _kinds(base: RawMetadata, light: np.ndarray, plain: RawImage) -> Iterator[Case]:
    """Kinds of files; the plain picture is the same scene from a Bayer file."""
    rgb = scene()
    yield Case("Lossless JPEG, Bayer", plain, plain, compression="lossless-jpeg")
    for name, kind in (("X-Trans", "x-trans"), ("Quad-Bayer 4x4", "quad-bayer")):
        cfa = CFA(*CANONICAL[kind])
        yield Case(name, frame(altered(base, cfa=cfa), mosaic(rgb, cfa)), plain)
    planes = {"cfa": None, "samples": 3}
    linear = altered(base, **planes, black_level=np.full((1, 1, 3), HIGH_BLACK), white_level=[WHITE] * 3)
    yield Case(
        "Linear DNG with a black level", RawImage(counts(HIGH_BLACK + (WHITE - HIGH_BLACK) * rgb), linear), plain
    )
    levels = np.array([WHITE, 14000.0, 12000.0])
    uneven = altered(linear, white_level=levels)
    yield Case(
        "Linear DNG, WhiteLevel per channel", RawImage(counts(HIGH_BLACK + (levels - HIGH_BLACK) * rgb), uneven), plain
    )
    unit = altered(base, black_level=np.zeros((1, 1, 1)), white_level=[1.0])
    yield Case("Float DNG (0 to 1)", RawImage(light.astype(np.float32), unit), plain)
    raised = altered(base, black_level=np.full((1, 1, 1), 0.125), white_level=[1.0])
    yield Case(
        "Float DNG with a black level (0.125 of 1)",
        RawImage((0.125 + (1 - 0.125) * light).astype(np.float32), raised),
        plain,
    )
    mono = altered(base, cfa=None, color_matrix1=None, calibration_illuminant1=0, as_shot_neutral=None)
    yield Case(
        "Monochrome",
        frame(mono, rgb[..., 1]),
        plain,
        check=lambda picture: picture.std() > 0.05 and float(np.ptp(picture, axis=-1).mean()) < SAME,
    )
    yield Case("JPEG-XL", plain, plain, compression="jpeg-xl")


def write_jpeg_xl(path: Path, raw: RawImage) -> None:
    """A DNG 1.7 of a Bayer frame in lossless JPEG-XL (compression 52546), by tifffile; just what the plain file has."""

    def fractions(values: np.ndarray) -> list[int]:
        return [part for value in np.ravel(values) for part in (round(value * 10000), 10000)]

    meta = raw.meta
    assert meta.color_matrix1 is not None
    assert meta.as_shot_neutral is not None
    tags = [
        (50706, 1, 4, (1, 7, 0, 0), True),
        (50707, 1, 4, (1, 7, 0, 0), True),
        (50708, 2, 0, meta.unique_camera_model, True),
        (271, 2, 0, meta.make, True),
        (272, 2, 0, meta.model, True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, (0, 1, 1, 2), True),
        (50710, 1, 3, (0, 1, 2), True),
        (50711, 3, 1, 1, True),
        (50714, 4, 1, int(BLACK), True),
        (50717, 4, 1, int(WHITE), True),
        (50721, 10, 9, fractions(meta.color_matrix1), True),
        (50728, 5, 3, fractions(meta.as_shot_neutral), True),
        (50778, 3, 1, 21, True),
    ]
    tifffile.imwrite(
        path, raw.mosaic, photometric="cfa", compression=52546, compressionargs={"lossless": True}, metadata=None,
        software=False, extratags=tags,
    )  # fmt: skip


# --- the developers --------------------------------------------------------------------------------------------------


def render_isp(path: Path, folder: Path) -> np.ndarray:
    import isp

    picture = isp.render(isp.read(path), isp.RenderOptions(look="neutral"))
    return picture[0].permute(1, 2, 0).clamp(0, 1).numpy().astype(np.float64)


def render_libraw(path: Path, folder: Path) -> np.ndarray:
    import rawpy

    with rawpy.imread(str(path)) as raw:
        picture = raw.postprocess(use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0, output_bps=16)
    return picture / 65535.0


@dataclass(frozen=True)
class Developer:
    name: str
    render: Callable[[Path, Path], np.ndarray]
    version: Callable[[], str | None]  # None: not installed


def _libraw_version() -> str:
    import rawpy

    return f"{'.'.join(map(str, rawpy.libraw_version))} (rawpy {rawpy.__version__})"


def _isp_version() -> str:
    import isp

    return isp.__version__


DEVELOPERS = (
    Developer("isp", render_isp, _isp_version),
    Developer("LibRaw", render_libraw, _libraw_version),
    Developer("darktable", PROGRAMS["darktable"].develop, PROGRAMS["darktable"].version),
    Developer("RawTherapee", PROGRAMS["rawtherapee"].develop, PROGRAMS["rawtherapee"].version),
)


def verdict(case: Case, developer: Developer, folder: Path) -> str:
    """yes, no, partly or error, with the measured figure where it is not plain."""

    def render(raw: RawImage, name: str, compression: str = "none") -> np.ndarray:
        path = folder / f"{name}.dng"
        if compression == "jpeg-xl":
            write_jpeg_xl(path, raw)
        else:
            write_dng(path, raw, compression=compression, overwrite=True)
        return developer.render(path, folder)

    try:
        got = render(case.featured, "featured", case.compression)
    except Exception as error:  # another program's: whatever it is, the answer is that it does not open the file
        print(f"{developer.name}, {case.name}: {error}", file=sys.stderr)
        return "error"
    if case.check is not None:
        return "yes" if case.check(got[TRIM:-TRIM, TRIM:-TRIM]) else "no"
    wanted = render(case.plain, "plain")
    size = ""
    if got.shape != wanted.shape:
        size = f" ({got.shape[1]} x {got.shape[0]} for {wanted.shape[1]} x {wanted.shape[0]})"
        if np.abs(np.subtract(got.shape, wanted.shape)).max() > BORDERS:
            return "no" + size
    away = difference(got, wanted, case.noisy)
    if case.ignored is None:
        return "yes" + size if away < SAME else f"no: off by {away:.0%}"
    without = difference(render(case.ignored, "ignored"), wanted, case.noisy)
    if without < VISIBLE:
        return "no effect to see"
    share = away / without
    if share < 0.15:
        return "yes" + size
    if share < 0.85:
        return f"partly: {share:.0%} of the error left"
    return "no" if share < 1.15 else f"no: {share:.0%} of the error of ignoring it"


def centre(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def difference(a: np.ndarray, b: np.ndarray, noisy: bool) -> float:
    """Mean absolute difference of encoded values, 0 to 1, without the border; pictures of other sizes by their
    centres."""
    height, width = np.minimum(a.shape, b.shape)[:2]
    error = centre(a, height, width) - centre(b, height, width)
    if noisy:
        from scipy.ndimage import gaussian_filter

        error = gaussian_filter(error, (8, 8, 0))
    return float(np.abs(error)[TRIM:-TRIM, TRIM:-TRIM].mean())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.compare_developers", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="features whose name holds this text")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="keep the featured DNGs in this folder")
    given = parser.parse_args(arguments)
    installed = [(developer, version) for developer in DEVELOPERS if (version := developer.version())]
    print("| DNG feature | " + " | ".join(f"{developer.name} {version}" for developer, version in installed) + " |")
    print("|---|" + "---|" * len(installed))
    for case in cases():
        if given.only.lower() not in case.name.lower():
            continue
        with tempfile.TemporaryDirectory() as folder:
            cells = [verdict(case, developer, Path(folder)) for developer, _ in installed]
        if given.keep and case.compression != "jpeg-xl":
            given.keep.mkdir(parents=True, exist_ok=True)
            name = "".join(c if c.isalnum() else "-" for c in case.name)
            write_dng(given.keep / f"{name}.dng", case.featured, compression=case.compression, overwrite=True)
        print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
