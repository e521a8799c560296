"""The compiled render against the stages in float64: within half a code, everywhere."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import isp
from isp import fast
from isp.batch import render_file
from isp.fast.library import library
from isp.fast.structures import Band
from isp.jobs import Job
from isp.options import RenderOptions
from isp.parameters import resolve
from isp.pipeline import camera_stages, run, sensor_stages
from isp.raw import CFA, RawImage, RawMetadata
from isp.raw.opcodes import FixVignetteRadial, GainMap, MapPolynomial

# What arithmetic in float32 may add to half a code: of 8 bits nothing that counts, of 16 bits a part of one.
SLACK = {8: 0.005, 16: 0.35}


@pytest.fixture(autouse=True, scope="module")
def kernel() -> Iterator[None]:
    if isinstance(reason := library(), Exception):
        pytest.skip(str(reason))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_frame(
    pattern: str = "RGGB", height: int = 45, width: int = 70, clipped: float = 0.06, seed: int = 0, **fields: Any
) -> RawImage:
    """Detail of all scales, noise, values under black, and a share of clipped samples in one place."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    scene = 0.25 + 0.2 * np.sin(x / 5 + y / 9) + 0.15 * np.sign(np.sin(x / 11) * np.cos(y / 7))
    scene = scene * (0.6 + 0.4 * np.cos((x + 2 * y) / 40)) + 0.02 * rng.standard_normal((height, width))
    scene[y + x < 2 * clipped * (height + width)] = 1.2
    counts = np.clip(np.round(scene * 15000 + 500), 0, 16383).astype(np.uint16)
    meta = dict(
        height=height,
        width=width,
        cfa=CFA(pattern),
        black_level=np.full((1, 1, 1), 500.0),
        white_level=[16383.0],
        calibration_illuminant1=21,
        color_matrix1=[[0.6797, -0.0419, -0.0807], [-0.4694, 1.1883, 0.3081], [-0.1217, 0.2478, 0.5641]],
        as_shot_neutral=[0.5, 1.0, 0.65],
    )
    return RawImage(counts, RawMetadata(**(meta | fields)))


def check(raw: RawImage, bits: tuple[int, ...] = (8, 16), **options: Any) -> None:
    compare(raw, {depth: fast.render_pixels(raw, RenderOptions(**options), depth) for depth in bits}, **options)


def compare(raw: RawImage, codes: dict[int, np.ndarray], **options: Any) -> None:
    """The codes, by bits, lie within half a code of the unrounded picture of the stages in float64, and of what
    arithmetic in float32 adds: SLACK, or twice the error of the stages themselves where a pixel is ill-conditioned."""
    truth, single = (
        isp.render(raw, RenderOptions(**options), dtype=dtype)[0].permute(1, 2, 0).double().clamp(0, 1).numpy()
        for dtype in (torch.float64, torch.float32)
    )
    own = np.abs(truth - single).max()
    for bits, found in codes.items():
        assert found.shape == truth.shape
        assert found.dtype == f"uint{bits}"
        top = 2**bits - 1
        assert np.abs(truth * top - found).max() < 0.5 + max(SLACK[bits], 2 * own * top)


@pytest.mark.parametrize("look", ["neutral", "standard"])
@pytest.mark.parametrize("demosaic", ["bilinear", "malvar2004", "msg"])
@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_equals_the_stages_on_every_phase(pattern: str, demosaic: str, look: str) -> None:
    check(make_frame(pattern), demosaic=demosaic, look=look)


@pytest.mark.parametrize("size", [(2, 2), (3, 5), (9, 2), (17, 515), (131, 33)])
def test_any_size(size: tuple[int, int]) -> None:
    """Smaller than the halo, odd, and beyond a tile and a piece of work."""
    for demosaic in ("malvar2004", "msg"):
        check(make_frame("GBRG", *size), demosaic=demosaic)


@pytest.mark.parametrize("space", ["srgb", "display-p3", "rec2020", "prophoto", "camera"])
def test_every_space(space: str) -> None:
    for look in ("neutral", "standard"):
        check(make_frame(), space=space, look=look, exposure=0.7)


@pytest.mark.parametrize("highlights", ["clip", "reconstruct", "none"])
@pytest.mark.parametrize("clipped", [0.0, 0.3, 2.0])
def test_highlights(highlights: str, clipped: float) -> None:
    """None, some, and a frame of nothing else."""
    check(make_frame(clipped=clipped), highlights=highlights, look="standard")
    check(make_frame(clipped=clipped), highlights=highlights, look="neutral", exposure=-1.0)


@pytest.mark.parametrize("wb", ["as-shot", "daylight", "2.1,1,1.6", "0.8,1,1.2"])
def test_white_balances(wb: str) -> None:
    check(make_frame(), bits=(8,), wb=wb)
    check(make_frame(), bits=(8,), temperature=3200.0, tint=10.0)


def test_types_of_counts() -> None:
    raw = make_frame()
    floats = RawImage((raw.mosaic / 16383).astype(np.float32), replace(
        raw.meta, black_level=raw.meta.black_level / 16383, white_level=np.ones(1)
    ))  # fmt: skip
    check(floats)
    check(RawImage(floats.mosaic.astype(np.float16), floats.meta))
    eight = replace(raw.meta, black_level=np.full((1, 1, 1), 2.0), white_level=np.array([255.0]))
    check(RawImage((raw.mosaic >> 6).astype(np.uint8), eight))
    check(RawImage(np.asfortranarray(raw.mosaic), raw.meta), bits=(8,))


def test_levels() -> None:
    rng = np.random.default_rng(1)
    check(make_frame(black_level=500 + 20 * rng.random((3, 4, 1))))
    check(make_frame(black_level_delta_h=30 * rng.random(70), black_level_delta_v=-30 * rng.random(45)))
    table = np.sqrt(np.linspace(0, 1, 12000)) * 16000  # shorter than the counts reach
    check(make_frame(linearization_table=table))
    check(make_frame(noise_profile=[[2e-3, 1e-5]] * 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_crops(orientation: int) -> None:
    check(
        make_frame(
            active_area=(3, 5, 44, 68), default_crop_origin=(3, 2), default_crop_size=(51, 30), orientation=orientation
        )
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("highlights", ["clip", "reconstruct"])
@pytest.mark.parametrize("clipped", [0.0, 0.4])
def test_rows_are_those_of_the_picture(
    orientation: int, highlights: str, clipped: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each once, from three threads."""
    raw = make_frame(
        active_area=(3, 5, 44, 68), default_crop_origin=(3, 2), default_crop_size=(51, 30), orientation=orientation,
        clipped=clipped,
    )  # fmt: skip
    options = RenderOptions(highlights=highlights)
    whole = fast.render_pixels(raw, options)
    monkeypatch.setattr(fast, "ROWS", 8)
    found, taken = np.zeros_like(whole), np.zeros(len(whole), int)

    def take(first: int, rows: np.ndarray) -> None:
        found[first : first + len(rows)] = rows
        taken[first : first + len(rows)] += 1

    fast.develop(raw, options, take, threads=3)
    assert (taken == 1).all()
    np.testing.assert_array_equal(found, whole)


def gain_map(shape: tuple[int, int, int], seed: int, **area: int) -> GainMap:
    gains = 1 + np.random.default_rng(seed).random(shape)
    spacing = [1 / max(n - 1, 1) for n in shape[:2]]
    return GainMap(map_gains=gains, map_spacing_v=spacing[0], map_spacing_h=spacing[1], **area)


@pytest.mark.parametrize("demosaic", ["malvar2004", "msg"])
def test_gain_maps(demosaic: str) -> None:
    one = gain_map((4, 6, 1), 0)
    four = [
        gain_map((5, 3, 1), i, top=i // 2, left=i % 2, bottom=45, right=70, row_pitch=2, col_pitch=2) for i in range(4)
    ]
    part = gain_map((1, 2, 1), 9, top=7, left=11, bottom=99, right=40, row_pitch=3)
    other_plane = gain_map((2, 2, 1), 3, plane=1)
    for maps in ((one,), tuple(four), (one, part, other_plane)):
        for highlights in ("clip", "reconstruct"):
            check(make_frame("GRBG", opcode_list2=maps), demosaic=demosaic, highlights=highlights)


def hue_sat_map(hues: int, saturations: int, values: int) -> np.ndarray:
    rng = np.random.default_rng(hues + values)
    shifts = 12 * rng.standard_normal((hues, saturations, values, 1))
    scales = 1 + 0.15 * rng.standard_normal((hues, saturations, values, 2))
    return np.concatenate([shifts, scales], 3)


@pytest.mark.parametrize("encoding", [0, 1])
@pytest.mark.parametrize("dims", [(6, 3, 1), (7, 4, 5)])
def test_profile_tables(dims: tuple[int, int, int], encoding: int) -> None:
    table = hue_sat_map(*dims)
    check(make_frame(profile_hue_sat_map1=table, profile_hue_sat_map_encoding=encoding), look="neutral", exposure=0.4)
    both = dict(profile_hue_sat_map1=table, profile_look_table=hue_sat_map(5, 4, 3))
    both |= dict(profile_hue_sat_map_encoding=encoding, profile_look_table_encoding=1 - encoding)
    check(make_frame(**both, profile_tone_curve=TONE), exposure=0.4)


TONE = [[0.0, 0.0], [0.02, 0.01], [0.1, 0.16], [0.11, 0.17], [0.5, 0.7], [1.0, 1.0]]


@pytest.mark.parametrize("curve", [TONE, TONE[::5], TONE[::2], [[0.1, 0.2], [0.6, 0.8]]])
def test_tone_curve(curve: list[list[float]]) -> None:
    check(make_frame(profile_tone_curve=curve), highlights="none", exposure=0.5)


def test_extreme_values() -> None:
    """Far below black and far above white, side by side: no code is anything but the nearest."""
    raw = make_frame(clipped=0)
    rng = np.random.default_rng(2)
    counts = (raw.mosaic * 1.0).astype(np.float32)
    where = rng.random(counts.shape)
    counts[where < 0.02] = -1e8
    counts[where > 0.98] = 1e9
    for look in ("neutral", "standard"):
        for demosaic in ("malvar2004", "msg"):
            for highlights in ("clip", "none", "reconstruct"):
                check(RawImage(counts, raw.meta), bits=(8,), look=look, demosaic=demosaic, highlights=highlights)
    flat = RawImage(np.full_like(raw.mosaic, 500), raw.meta)  # black, to the last code
    assert not fast.render_pixels(flat).any()


@pytest.mark.parametrize("name", ["halide_nokia_n900_grbg", "nikon_dsc1339_gbrg"])
def test_real_files(shared: Path, name: str) -> None:
    check(isp.read(shared / "data" / "raw" / f"{name}.dng"))


def test_the_sample() -> None:
    """Gain maps, masked borders, a noise profile, and light that clips."""
    raw = isp.read(Path(__file__).parents[2] / "data" / "samples" / "still_life.dng")
    check(raw)


def test_threads_make_no_difference() -> None:
    raw = make_frame("BGGR", 300, 600)
    one = fast.render_pixels(raw, threads=1)
    assert all(np.array_equal(one, fast.render_pixels(raw, threads=n)) for n in (2, 5))


@pytest.mark.parametrize("highlights", ["clip", "reconstruct"])
def test_display_is_the_rest_of_the_way(highlights: str) -> None:
    raw = make_frame("GRBG", 140, 520, orientation=6, opcode_list2=(gain_map((4, 6, 1), 0),))
    options = RenderOptions(highlights=highlights)
    x = run(sensor_stages(raw.meta), raw.tensor())
    p = resolve(raw.meta, options)
    stages = camera_stages(raw.meta, p)
    rgb = run([s for s in stages if s.name != "highlights"], x)[0].numpy()
    codes = {bits: np.empty((*fast.picture_size(raw.meta), 3), f"uint{bits}") for bits in (8, 16)}
    for bits, picture in codes.items():
        pieces = fast.display(lambda number: Band.of(rgb, 0), raw.meta, p, picture, bits)
        done = [pieces.begin(box) for box in pieces.boxes]
        assert all(done) == (highlights == "clip")
        pieces.finish(2)
    compare(raw, codes, highlights=highlights)


@pytest.mark.parametrize("size", [(1, 8), (8, 1)])
def test_a_frame_of_one_row_is_refused_in_words(size: tuple[int, int]) -> None:
    raw = make_frame("RGGB", *size)
    assert fast.obstacle(raw, RenderOptions()) == "a frame of one row or column"
    with pytest.raises(ValueError, match="demosaic needs a mosaic B 1 H W of at least 2x2"):
        isp.render(raw)


VIGNETTE = FixVignetteRadial(k=[0.1, 0, 0, 0, 0])
OBSTACLES = {
    "x-trans frame": (dict(cfa=CFA("GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG", 6, 6)), {}),
    "monochrome frame": (dict(cfa=None), {}),
    "scene-linear output": ({}, dict(linear=True)),
    "demosaic rcd": ({}, dict(demosaic="rcd")),
    "fix_defects": ({}, dict(fix_defects=True)),
    "white balance grey-world, estimated from the frame": ({}, dict(wb="grey-world")),
    "OpcodeList1 with MapPolynomial": (dict(opcode_list1=(MapPolynomial(coefficients=[0, 1]),)), {}),
    "OpcodeList2 with FixVignetteRadial": (dict(opcode_list2=(VIGNETTE,)), {}),
    "OpcodeList3 with FixVignetteRadial": (dict(opcode_list3=(VIGNETTE,)), {}),
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_obstacles(reason: str) -> None:
    fields, options = OBSTACLES[reason]
    raw = make_frame(**fields)
    assert fast.obstacle(raw, RenderOptions(**options)) == reason
    with pytest.raises(ValueError, match=f"no fast render: {reason}; isp.render has none of these limits"):
        fast.render_pixels(raw, RenderOptions(**options))


def test_obstacles_of_counts() -> None:
    raw = make_frame()
    floats = raw.mosaic.astype(np.float32)
    assert fast.obstacle(RawImage(raw.mosaic.astype(np.uint32), raw.meta), RenderOptions()) == "uint32 counts"
    floats[3, 4] = np.nan
    assert fast.obstacle(RawImage(floats, raw.meta), RenderOptions()) == "counts that are not finite numbers"
    table = replace(raw.meta, linearization_table=np.arange(9.0))
    reason = fast.obstacle(RawImage(np.ones_like(floats), table), RenderOptions())
    assert reason == "LinearizationTable on float counts"


def test_white_under_black_is_refused() -> None:
    raw = make_frame(black_level=np.full((1, 1, 1), 20000.0))
    with pytest.raises(ValueError, match="white level 16383 of plane 0 should be above its largest black, 20000"):
        fast.render_pixels(raw)


def save_dng(folder: Path) -> Path:
    from isp.raw import write_dng

    path = folder / "frame.dng"
    write_dng(path, make_frame("GRBG", 64, 80))
    return path


def test_the_command_imports_nothing_heavy(tmp_path: Path) -> None:
    """One picture from the command line: neither PyTorch nor what else takes long to import."""
    code = (
        "import sys; from isp.render import main; code = main(sys.argv[1:]); print(code, sorted(m for m in "
        "('torch', 'scipy', 'kornia', 'colour', 'tqdm', 'yaml', 'tifffile', 'PIL', 'OpenImageIO', 'multiprocessing', "
        "'importlib.metadata', 'rawpy', 'imagecodecs', 'isp.raw.opcodes') if m in sys.modules))"
    )
    command = [sys.executable, "-c", code, str(save_dng(tmp_path)), "-o", str(tmp_path / "a.tif"), "-b", "8"]
    command += ["--demosaic", "msg"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "0 []", done.stdout + done.stderr


def test_fallback_gives_the_same_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler the stages render, and only the record tells."""
    source = save_dng(tmp_path)
    pictures, records = [], []
    for name, compiler in (("with", None), ("without", "/nowhere/cc")):
        if compiler:
            monkeypatch.setenv("CC", compiler)
        library.cache_clear()
        target = tmp_path / f"{name}.tif"
        render_file(Job(source, target, {"demosaic": "msg"}, bits=16, record=True))
        pictures.append(target.read_bytes()[8 : 8 + 64 * 80 * 6])
        records.append(json.loads((tmp_path / f"{name}.tif.json").read_text())["renderer"])
    library.cache_clear()
    first, second = (np.frombuffer(p, "<u2").astype(int) for p in pictures)
    assert np.abs(first - second).max() <= 1
    assert records == ["isp.fast", "isp.pipeline: no C compiler: /nowhere/cc is not on the path"]


def test_watched_stages_and_devices_use_the_pipeline(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    render_file(Job(save_dng(tmp_path), target, {"demosaic": "msg"}, dump_stages=tmp_path / "stages", record=True))
    assert json.loads((tmp_path / "a.png.json").read_text())["renderer"] == "isp.pipeline: stages are watched"
    assert len(os.listdir(tmp_path / "stages")) > 5
