"""Opcodes applied and undone: against tests/specification.py, by hand, and by their inverse."""

import math
import warnings
from itertools import product

import numpy as np
import pytest
import specification as spec
import torch
from torch import Tensor

from isp.raw.cfa import CFA
from isp.raw.errors import UnsupportedRawError
from isp.raw.opcodes import (
    AreaOpcode,
    DeltaPerColumn,
    DeltaPerRow,
    FixBadPixelsConstant,
    FixBadPixelsList,
    FixVignetteRadial,
    GainMap,
    MapPolynomial,
    MapTable,
    Opcode,
    ScalePerColumn,
    ScalePerRow,
    TrimBounds,
    UnknownOpcode,
    WarpFisheye,
    WarpRectilinear,
    WarpRectilinear2,
)
from isp.stages.opcodes import after_trims, apply_opcodes, undo_opcodes
from isp.stages.opcodes.warp import destination_positions, source_positions

random = np.random.default_rng(11)
GAINS = random.uniform(0.7, 2.5, (4, 3, 2)).astype(np.float32)
SPACING = {"map_spacing_v": 0.31, "map_spacing_h": 0.45, "map_origin_v": 0.04, "map_origin_h": 0.02}
ODD = {"top": 1, "left": 2, "bottom": 9, "right": 30, "plane": 1, "planes": 2, "row_pitch": 2, "col_pitch": 3}
WHOLE = {"bottom": 9, "right": 11, "planes": 3}


@pytest.fixture(autouse=True)
def same_numbers_every_time() -> None:
    torch.manual_seed(3)


def as_tensor(image: np.ndarray, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].to(dtype)


def as_image(x: Tensor) -> np.ndarray:
    return x[0].permute(1, 2, 0).double().numpy()


def area_of(opcode: AreaOpcode, height: int, width: int) -> spec.Area:
    box = (0, 0, height, width) if opcode.everywhere else (opcode.top, opcode.left, opcode.bottom, opcode.right)
    return (*box, opcode.plane, opcode.planes, opcode.row_pitch, opcode.col_pitch)


def expected(opcode: Opcode, image: np.ndarray) -> np.ndarray:
    """The specification's answer: image H W planes, linear."""
    height, width = image.shape[:2]
    if isinstance(opcode, AreaOpcode):
        area = area_of(opcode, height, width)
    if isinstance(opcode, GainMap):
        spacing, origin = (opcode.map_spacing_v, opcode.map_spacing_h), (opcode.map_origin_v, opcode.map_origin_h)
        return spec.gain_map(image, area, opcode.map_gains, spacing, origin)
    if isinstance(opcode, MapTable):
        table = opcode.table.astype(np.float64) / 65535

        def through(value: float, row: int, col: int) -> float:
            position = np.arange(len(table)) / 65535
            mapped = float(np.interp(abs(value), position, table))
            return 2 * table[0] - mapped if value < 0 else mapped

        return spec.on_area(image, area, through)
    if isinstance(opcode, MapPolynomial):
        c = opcode.coefficients
        return spec.on_area(image, area, lambda v, row, col: sum(c[i] * v**i for i in range(len(c))))
    if isinstance(opcode, DeltaPerRow):
        return spec.on_area(image, area, lambda v, row, col: v + float(opcode.deltas[row]))
    if isinstance(opcode, DeltaPerColumn):
        return spec.on_area(image, area, lambda v, row, col: v + float(opcode.deltas[col]))
    if isinstance(opcode, ScalePerRow):
        return spec.on_area(image, area, lambda v, row, col: v * float(opcode.scales[row]))
    if isinstance(opcode, ScalePerColumn):
        return spec.on_area(image, area, lambda v, row, col: v * float(opcode.scales[col]))
    assert isinstance(opcode, FixVignetteRadial)
    return spec.vignette(image, opcode.k, opcode.cx, opcode.cy)


POINTWISE: dict[str, Opcode] = {
    "one map": GainMap(**WHOLE, map_gains=GAINS[:, :, :1], **SPACING),
    "map, fewer map planes than planes": GainMap(**WHOLE, map_gains=GAINS, **SPACING),
    "map, odd area and pitch": GainMap(**ODD, map_gains=GAINS, **SPACING),
    "map, empty area means everything": GainMap(planes=3, map_gains=GAINS, **SPACING),
    "map, one row of points": GainMap(**WHOLE, map_gains=GAINS[:1], map_spacing_v=0.0, map_spacing_h=0.5),
    "map, one point": GainMap(**WHOLE, map_gains=[[[1.5]]], map_spacing_v=0.0, map_spacing_h=0.0, map_origin_v=0.5),
    "table": MapTable(**ODD, table=np.linspace(100, 65535, 65536)),
    "short table": MapTable(**WHOLE, table=np.arange(0, 40000, 2)),
    "polynomial": MapPolynomial(**ODD, coefficients=[0.01, 0.8, 0.1, 0.05]),
    "constant": MapPolynomial(**ODD, coefficients=[0.25]),
    "delta rows": DeltaPerRow(**ODD, deltas=random.normal(0, 0.1, 4)),
    "delta columns": DeltaPerColumn(**ODD, deltas=random.normal(0, 0.1, 10)),
    "scale rows": ScalePerRow(**ODD, scales=random.uniform(0.5, 2, 4)),
    "scale columns": ScalePerColumn(**ODD, scales=random.uniform(0.5, 2, 10)),
    "vignette": FixVignetteRadial(k=[0.3, -0.1, 0.2, 0.05, -0.02], cx=0.4, cy=0.7),
}


@pytest.mark.parametrize("size", [(9, 11), (2, 2), (1, 3), (7, 4)])
@pytest.mark.parametrize("name", POINTWISE)
def test_specification(name: str, size: tuple[int, int]) -> None:
    image = random.uniform(-0.1, 1.2, (*size, 3))
    want = expected(POINTWISE[name], image)
    got = apply_opcodes(as_tensor(image), [POINTWISE[name]])
    assert got.dtype == torch.float64
    np.testing.assert_allclose(as_image(got), want, atol=1e-9)
    single = apply_opcodes(as_tensor(image, torch.float32), [POINTWISE[name]])
    assert single.dtype == torch.float32
    np.testing.assert_allclose(as_image(single), want, atol=1e-6)


@pytest.mark.parametrize("name", sorted(POINTWISE.keys() - {"constant", "short table"}))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverse(name: str, dtype: torch.dtype) -> None:
    x = (torch.rand(2, 3, 9, 11) * 1.1 - 0.05).to(dtype).clamp(max=1)
    there = apply_opcodes(x, [POINTWISE[name]])
    torch.testing.assert_close(undo_opcodes(there, [POINTWISE[name]]), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", POINTWISE)
def test_gradients(name: str) -> None:
    x = (torch.rand(1, 3, 4, 5, dtype=torch.float64) * 0.8 + 0.1).requires_grad_()
    if name in ("table", "short table"):  # keep away from the corners of the curve
        x = (((x.detach() * 65535).floor() + 0.5) / 65535).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: apply_opcodes(x, [POINTWISE[name]]), x, eps=1e-7)
    if name in ("constant", "short table", "table"):
        return
    assert torch.autograd.gradcheck(lambda x: undo_opcodes(x, [POINTWISE[name]]), x, eps=1e-7)


def test_input_is_left_alone() -> None:
    x = torch.rand(1, 3, 9, 11)
    before = x.clone()
    apply_opcodes(x, list(POINTWISE.values()))
    undo_opcodes(x, [POINTWISE["map, odd area and pitch"], POINTWISE["scale rows"]])
    assert torch.equal(x, before)


def test_four_maps_as_phones_write_them() -> None:
    image = random.uniform(0, 1, (6, 8, 1))
    want, opcodes = image, []
    for row, col in product(range(2), range(2)):
        gains = random.uniform(1, 3, (3, 3, 1)).astype(np.float32)
        opcodes.append(
            GainMap(top=row, left=col, bottom=6, right=8, row_pitch=2, col_pitch=2, map_gains=gains,
                    map_spacing_v=0.5, map_spacing_h=0.5)
        )  # fmt: skip
        want = spec.gain_map(want, (row, col, 6, 8, 0, 1, 2, 2), gains, (0.5, 0.5), (0, 0))
    x = as_tensor(image, torch.float32)
    there = apply_opcodes(x, opcodes, cfa=CFA("RGGB"))
    np.testing.assert_allclose(as_image(there), want, atol=1e-6)
    torch.testing.assert_close(undo_opcodes(there, opcodes, cfa=CFA("RGGB")), x, atol=1e-6, rtol=0)


def test_gain_at_map_points_and_between() -> None:
    """A map of 1 and 3 from edge to edge on four columns: centres at 1/8, 3/8, 5/8, 7/8."""
    opcode = GainMap(bottom=1, right=4, map_gains=[[[1.0], [3.0]]], map_spacing_v=1.0, map_spacing_h=1.0)
    assert apply_opcodes(torch.ones(1, 1, 1, 4), [opcode]).flatten().tolist() == [1.25, 1.75, 2.25, 2.75]
    offset = GainMap(
        bottom=1, right=4, map_gains=[[[1.0], [3.0]]], map_spacing_v=1.0, map_spacing_h=0.25, map_origin_h=0.375
    )
    assert apply_opcodes(torch.ones(1, 1, 1, 4), [offset]).flatten().tolist() == [1, 1, 3, 3]


def test_nothing_is_clipped() -> None:
    opcode = ScalePerRow(bottom=1, right=2, scales=[3.0])
    assert apply_opcodes(torch.tensor([[[[-1.0, 2.0]]]]), [opcode]).flatten().tolist() == [-3, 6]


def test_area_outside_the_image() -> None:
    x = torch.rand(1, 1, 2, 2)
    assert torch.equal(apply_opcodes(x, [ScalePerRow(top=5, bottom=7, right=2, scales=[2, 2])]), x)
    assert torch.equal(apply_opcodes(x, [MapPolynomial(plane=1, coefficients=[9])]), x)


def test_order_matters() -> None:
    add = DeltaPerRow(bottom=1, right=1, deltas=[1.0])
    double = ScalePerRow(bottom=1, right=1, scales=[2.0])
    x = torch.full((1, 1, 1, 1), 3.0)
    assert apply_opcodes(x, [add, double]).item() == 8
    assert apply_opcodes(x, [double, add]).item() == 7
    assert undo_opcodes(torch.full((1, 1, 1, 1), 8.0), [add, double]).item() == 3


def test_list_1_is_in_counts() -> None:
    x = torch.tensor([[[[0.0, 3, 4, 70000]]]])
    everywhere = {"bottom": 1, "right": 4}
    assert apply_opcodes(x, [MapTable(**everywhere, table=[9, 8, 7, 6])], counts=True).flatten().tolist() == [
        9,
        6,
        6,
        6,
    ]
    assert apply_opcodes(x, [DeltaPerRow(**everywhere, deltas=[2])], counts=True).flatten().tolist() == [2, 5, 6, 70002]
    squares = apply_opcodes(x, [MapPolynomial(**everywhere, coefficients=[1, 0, 1])], counts=True)
    assert squares.flatten().tolist()[:3] == [1, 10, 17]
    counts = torch.rand(1, 1, 5, 7, dtype=torch.float64) * 65535
    opcodes = [MapTable(table=np.sqrt(np.arange(65536) * 65535)), MapPolynomial(coefficients=[100, 0.5, 1e-6])]
    back = undo_opcodes(apply_opcodes(counts, opcodes, counts=True), opcodes, counts=True)
    torch.testing.assert_close(
        back, counts, atol=2.5, rtol=0
    )  # where the table rises by half a count, two share an entry


@pytest.mark.parametrize(
    ("opcode", "message"),
    [
        (GainMap(map_gains=[[[1.0], [0.0]]], map_spacing_v=1.0, map_spacing_h=1.0), "GainMap has no inverse"),
        (ScalePerRow(bottom=2, right=2, scales=[1, 0]), "ScalePerRow has no inverse"),
        (MapTable(table=[0, 2, 1]), "MapTable has no inverse"),
        (MapPolynomial(coefficients=[0, 1, -1]), "MapPolynomial has no inverse: it should be monotone from 0 to 1"),
        (MapPolynomial(coefficients=[0.5]), "MapPolynomial has no inverse"),
        (FixVignetteRadial(k=[-1.5, 0, 0, 0, 0]), "FixVignetteRadial has no inverse"),
    ],
)
def test_no_inverse(opcode: Opcode, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        undo_opcodes(torch.ones(1, 1, 2, 2), [opcode])


def test_falling_polynomial_is_undone() -> None:
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    opcode = MapPolynomial(coefficients=[1, -0.5, -0.25, -0.1, 0, -0.05, 0, 0, -0.01])
    torch.testing.assert_close(undo_opcodes(apply_opcodes(x, [opcode]), [opcode]), x, atol=1e-12, rtol=0)


# --- unknown opcodes ---


def test_unknown_optional_is_skipped_with_a_warning() -> None:
    x = torch.rand(1, 1, 2, 2)
    with pytest.warns(UserWarning, match="skipped the optional unknown opcode 99"):
        assert torch.equal(apply_opcodes(x, [UnknownOpcode(id=99, data=b"", flags=1)]), x)


def test_unknown_mandatory_is_an_error() -> None:
    with pytest.raises(UnsupportedRawError, match="demands unknown opcode 99"):
        apply_opcodes(torch.rand(1, 1, 2, 2), [UnknownOpcode(id=99, data=b"")])


# --- warps ---


def rectilinear(k: np.ndarray) -> list:
    return [lambda r, c=c: sum(c[i] * r ** (2 * i) for i in range(4)) for c in k]


def fisheye(k: np.ndarray) -> list:
    return [lambda r, c=c: sum(c[i] * math.atan(r) ** (2 * i + 1) for i in range(4)) / r if r else c[0] for c in k]


def rectilinear2(opcode: WarpRectilinear2) -> list:
    def ratio(r: float, c: np.ndarray, low: float, high: float) -> float:
        r = min(max(r, low), high)
        value = sum(c[i] * r**i for i in range(15))
        return 1 / value if opcode.use_reciprocal else value

    rows = zip(opcode.kr, opcode.min_valid_radius, opcode.max_valid_radius, strict=True)
    return [lambda r, c=c, a=a, b=b: ratio(r, c, a, b) for c, a, b in rows]


K = np.array([[1.02, 0.03, -0.02, 0.01], [0.98, -0.04, 0.01, 0.0], [1.0, 0.05, 0.0, 0.02]])
T = np.array([[0.004, -0.003], [0.0, 0.002], [0.001, 0.0]])
K15 = np.concatenate([[1.0, 0.01, -0.03, 0.02], np.zeros(10), [0.01]])[None]
WARPS: dict[str, tuple[Opcode, list, np.ndarray]] = {
    "rectilinear": (WarpRectilinear(kr=K[:1], kt=T[:1] * 0), rectilinear(K[:1]), T[:1] * 0),
    "tangential, off centre": (WarpRectilinear(kr=K[:1], kt=T[:1], cx=0.3, cy=0.6), rectilinear(K[:1]), T[:1]),
    "three planes": (WarpRectilinear(kr=K, kt=T), rectilinear(K), T),
    "fisheye": (
        WarpFisheye(kr=[[1.1, 0.1, 0.02, 0.01]], cx=0.45),
        fisheye(np.array([[1.1, 0.1, 0.02, 0.01]])),
        T[:1] * 0,
    ),
}
for flag in (0, 1):
    two = WarpRectilinear2(kr=K15, kt=T[:1], min_valid_radius=[0.2], max_valid_radius=[0.8], use_reciprocal=flag)
    WARPS[f"rectilinear2, reciprocal {flag}"] = (two, rectilinear2(two), T[:1])


@pytest.mark.parametrize("size", [(9, 11), (2, 2), (5, 1)])
@pytest.mark.parametrize("name", WARPS)
def test_warp(name: str, size: tuple[int, int]) -> None:
    opcode, radial, kt = WARPS[name]
    image = random.uniform(0, 1, (*size, 3))
    want = spec.warp(image, radial, [tuple(t) for t in kt], opcode.cx, opcode.cy)
    np.testing.assert_allclose(as_image(apply_opcodes(as_tensor(image), [opcode])), want, atol=1e-9)
    np.testing.assert_allclose(as_image(apply_opcodes(as_tensor(image, torch.float32), [opcode])), want, atol=1e-5)


def test_identity_warp_across_tiles() -> None:
    x = torch.rand(1, 2, 270, 530)
    there = apply_opcodes(x, [WarpRectilinear(kr=[[1, 0, 0, 0]], kt=[[0, 0]])])
    torch.testing.assert_close(there, x, atol=1e-6, rtol=0)
    double = apply_opcodes(x.double(), [WarpRectilinear(kr=[[1, 0, 0, 0]], kt=[[0, 0]])])
    torch.testing.assert_close(double, x.double(), atol=1e-9, rtol=0)


def test_warp_across_tiles() -> None:
    height, width = 300, 520
    image = random.uniform(0, 1, (height, 1, 1)) + random.uniform(0, 1, (1, width, 1))
    opcode, radial, _ = WARPS["rectilinear"]
    got = as_image(apply_opcodes(as_tensor(image, torch.float32), [opcode]))[..., 0]
    x0, y0, m = spec.lens((height, width), 0.5, 0.5)
    for row, col in [(20, 260), (150, 30), (255, 255), (256, 256), (280, 400), (30, 490)]:
        ratio = radial[0](math.hypot(col - x0, row - y0) / m)
        y, x = y0 + (row - y0) * ratio, x0 + (col - x0) * ratio
        want = sum(image[i, 0, 0] * spec.keys(y - i) for i in range(int(y) - 1, int(y) + 3))
        want += sum((image[0, j, 0] - image[0, 0, 0]) * spec.keys(x - j) for j in range(int(x) - 1, int(x) + 3))
        assert got[row, col] == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("plane", [0, 2])
@pytest.mark.parametrize("name", WARPS)
def test_destination_inverts_source(name: str, plane: int) -> None:
    opcode = WARPS[name][0]
    assert isinstance(opcode, (WarpRectilinear, WarpRectilinear2, WarpFisheye))
    plane = min(plane, len(opcode.kr) - 1)
    rows, cols = torch.meshgrid(torch.arange(40.0).double(), torch.arange(50.0).double(), indexing="ij")
    shape = torch.Size((1, 3, 40, 50))
    there = destination_positions(opcode, plane, shape, rows, cols)
    back = source_positions(opcode, plane, shape, *there)
    torch.testing.assert_close(back, (rows, cols), atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", WARPS)
def test_undo_warp(name: str) -> None:
    """A smooth picture comes back but for what two resamplings cost; the frame's rim is not recoverable."""
    opcode = WARPS[name][0]
    rows, cols = torch.meshgrid(torch.linspace(0, 3, 80), torch.linspace(0, 4, 100), indexing="ij")
    x = torch.stack([rows.sin() + cols.cos(), (rows * cols).sin(), (rows - cols).cos()])[None].double()
    back = undo_opcodes(apply_opcodes(x, [opcode]), [opcode])
    inner = (..., slice(20, 60), slice(25, 75))
    torch.testing.assert_close(back[inner], x[inner], atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", ["rectilinear", "three planes", "fisheye"])
def test_warp_gradients(name: str) -> None:
    x = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: apply_opcodes(x, [WARPS[name][0]]), x)


def test_warp_planes_must_fit() -> None:
    with pytest.raises(ValueError, match="WarpRectilinear states 2 planes; the image has 3"):
        apply_opcodes(torch.zeros(1, 3, 4, 4), [WarpRectilinear(kr=K[:2], kt=T[:2])])


def test_warp_on_a_mosaic_is_refused() -> None:
    with pytest.raises(UnsupportedRawError, match="WarpRectilinear on a mosaic would mix its colours"):
        apply_opcodes(torch.zeros(1, 1, 4, 4), [WARPS["rectilinear"][0]], cfa=CFA("RGGB"))


# --- bad pixels ---


def test_constant_by_hand() -> None:
    x = torch.arange(1.0, 65).reshape(1, 1, 8, 8)
    x[0, 0, 3, 4] = 0  # green in GBRG-like phase 1 (GRBG): row 3, column 4
    x[0, 0, 4, 3] = 0  # blue or red: its neighbours two pixels away
    out = apply_opcodes(x, [FixBadPixelsConstant(constant=0, bayer_phase=0)], counts=True)
    # phase 0 is RGGB: (3, 4) is green, (4, 3) is green: each other's diagonal neighbours, and so left out
    assert out[0, 0, 3, 4] == pytest.approx((x[0, 0, 2, 3] + x[0, 0, 2, 5] + x[0, 0, 4, 5]) / 3)
    assert out[0, 0, 4, 3] == pytest.approx((x[0, 0, 3, 2] + x[0, 0, 5, 2] + x[0, 0, 5, 4]) / 3)
    red = apply_opcodes(x, [FixBadPixelsConstant(constant=0, bayer_phase=1)], counts=True)
    # phase 1 is GRBG: (3, 4) is blue and (4, 3) is red
    assert red[0, 0, 3, 4] == pytest.approx((x[0, 0, 1, 4] + x[0, 0, 5, 4] + x[0, 0, 3, 2] + x[0, 0, 3, 6]) / 4)
    assert red[0, 0, 4, 3] == pytest.approx((x[0, 0, 2, 3] + x[0, 0, 6, 3] + x[0, 0, 4, 1] + x[0, 0, 4, 5]) / 4)
    untouched = torch.ones(8, 8, dtype=torch.bool)
    untouched[3, 4] = untouched[4, 3] = False
    assert torch.equal(out[0, 0][untouched], x[0, 0][untouched])


def test_constant_is_a_16_bit_value_in_list_2() -> None:
    x = torch.full((2, 1, 6, 6), 0.5)
    x[1, 0, 2, 2] = 1.0
    out = apply_opcodes(x, [FixBadPixelsConstant(constant=65535)])
    assert torch.equal(out, torch.full((2, 1, 6, 6), 0.5))


def test_list_of_points_and_rectangles() -> None:
    rows, cols = torch.meshgrid(torch.arange(12.0), torch.arange(10.0), indexing="ij")
    truth = (2 * rows + 3 * cols)[None, None]
    x = truth.clone()
    x[0, 0, 5, 4] = 999
    x[0, 0, :, 7] = 999  # a dead column
    opcode = FixBadPixelsList(points=[[5, 4], [100, 3]], rects=[[0, 7, 12, 8]], bayer_phase=3)
    out = apply_opcodes(x, [opcode], counts=True)
    torch.testing.assert_close(out[0, 0, 3:9], truth[0, 0, 3:9])  # a plane is restored exactly inside
    assert float(out.max()) < 100
    assert torch.equal(undo_opcodes(out, [opcode], counts=True), out)


def test_x_trans_takes_its_own_colours() -> None:
    cfa = CFA("GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG", 6, 6)
    x = torch.from_numpy(cfa.channel_map(12, 12)).double()[None, None] * 10
    points = [[4, 4], [5, 7], [6, 6], [7, 6]]
    bad = x.clone()
    for row, col in points:
        bad[0, 0, row, col] = 77
    opcode = FixBadPixelsList(points=points, rects=np.zeros((0, 4)))
    assert torch.equal(apply_opcodes(bad, [opcode], cfa=cfa), x)


def test_bad_pixels_without_a_good_neighbour_stay() -> None:
    x = torch.zeros(1, 1, 4, 4)
    assert torch.equal(apply_opcodes(x, [FixBadPixelsConstant(constant=0)], counts=True), x)


def test_bad_pixels_need_one_plane() -> None:
    with pytest.raises(ValueError, match="FixBadPixelsConstant needs an image with one plane"):
        apply_opcodes(torch.zeros(1, 3, 4, 4), [FixBadPixelsConstant(constant=0)])


def test_bad_pixel_gradients() -> None:
    x = torch.rand(1, 1, 6, 5, dtype=torch.float64, requires_grad=True)
    opcode = FixBadPixelsList(points=[[0, 0], [3, 2], [2, 3]], rects=[[4, 0, 5, 5]])
    assert torch.autograd.gradcheck(lambda x: apply_opcodes(x, [opcode]), x)


# --- trims ---


def test_trim_and_undo() -> None:
    x = torch.rand(1, 1, 8, 9)
    trim = TrimBounds(top=2, left=4, bottom=7, right=8)
    shade = FixVignetteRadial(k=[0.2, 0, 0, 0, 0])
    there = apply_opcodes(x, [shade, trim, shade], cfa=CFA("RGGB"))
    assert there.shape == (1, 1, 5, 4)
    back = undo_opcodes(there, [shade, trim, shade], size=(8, 9))
    assert back.shape == x.shape
    torch.testing.assert_close(back[..., 2:7, 4:8], x[..., 2:7, 4:8])
    assert undo_opcodes(there, [trim]).shape == (1, 1, 7, 8)
    edge = undo_opcodes(there, [trim], size=(8, 9))
    assert torch.equal(edge[0, 0, 0], torch.tensor([*[there[0, 0, 0, 0]] * 4, *there[0, 0, 0], there[0, 0, 0, 3]]))


@pytest.mark.parametrize(("top", "left"), [(1, 0), (0, 1), (3, 3)])
def test_trim_that_shifts_the_pattern_is_refused(top: int, left: int) -> None:
    trim = TrimBounds(top=top, left=left, bottom=6, right=6)
    with pytest.raises(UnsupportedRawError, match="would shift its 2x2 colour pattern"):
        apply_opcodes(torch.zeros(1, 1, 8, 8), [trim], cfa=CFA("RGGB"))
    assert apply_opcodes(torch.zeros(1, 3, 8, 8), [trim]).shape[2:] == (6 - top, 6 - left)


def test_trim_outside() -> None:
    with pytest.raises(ValueError, match="should lie in 4 x 4"):
        apply_opcodes(torch.zeros(1, 1, 4, 4), [TrimBounds(top=0, left=0, bottom=5, right=4)])


def test_boxes_move_with_trims() -> None:
    trims = [TrimBounds(top=2, left=4, bottom=20, right=30), TrimBounds(top=1, left=0, bottom=10, right=10)]
    assert after_trims((0, 0, 24, 32), trims) == (0, 0, 9, 10)
    assert after_trims((5, 6, 8, 9), trims) == (2, 2, 5, 5)
    assert after_trims((5, 6, 8, 9), []) == (5, 6, 8, 9)
    with pytest.raises(UnsupportedRawError, match="leaves nothing"):
        after_trims((0, 0, 2, 2), trims)


def test_no_warning_for_known_opcodes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply_opcodes(torch.rand(1, 3, 9, 11), list(POINTWISE.values()))
