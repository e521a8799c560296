"""A still life in a garden, ray-marched in NumPy: the scene of the sample picture, in scene-linear sRGB.

Signed distance fields give the shapes, sphere tracing the visible points, soft shadows and the occlusion of the sky
(J. C. Hart, "Sphere tracing", The Visual Computer 12, 1996). Lights are the sun, the sky and the light that the table
throws back. Everything is computed from formulas and a fixed seed: no picture of anybody is used.

One unit is 10 cm; x to the right, y up, z away from the camera; the table top is y = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array = np.ndarray
Field = Callable[[Array, Array, Array], Array]  # x, y, z of points: distance to a surface, never too large

CAMERA, TARGET = np.array([0.35, 3.9, -10.6]), np.array([0.14, 1.42, 0.6])
FIELD_OF_VIEW = 27.0  # degrees, vertical
TO_SUN = np.array([-0.70, 0.66, -0.42]) / np.linalg.norm([-0.70, 0.66, -0.42])
SUN, SUN_WIDTH = np.array([2.05, 1.93, 1.70], np.float32), 0.055  # irradiance; half-angle in radians (hazy sun)
SKY = np.array([0.40, 0.50, 0.68], np.float32)
GROUND = np.array([0.20, 0.15, 0.105], np.float32)  # what the sunlit table throws back
FAR = 40.0
TABLE_EDGE = 5.2  # z at which the table ends
TILE = 48  # pixels: rays at a time, so that the arrays stay in the cache and only few things are near them


# --- noise -----------------------------------------------------------------------------------------------------------


def lattice(ix: Array, iy: Array, iz: Array) -> Array:
    """A number in [0, 1) for each integer point, the same in every run (an integer hash)."""
    h = ix.astype(np.uint32) * np.uint32(0x8DA6B343) ^ iy.astype(np.uint32) * np.uint32(0xD8163841)
    h ^= iz.astype(np.uint32) * np.uint32(0xCB1AB31F)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return ((h ^ (h >> np.uint32(15))) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)


def noise(x: Array, y: Array, z: Array) -> Array:
    """Value noise in [0, 1]: smooth interpolation between random lattice values."""
    corner, weight = [], []
    for v in (x, y, z):
        whole = np.floor(v)
        part = (v - whole).astype(np.float32)
        corner.append(whole.astype(np.int64))
        weight.append(part * part * (3 - 2 * part))
    (ix, iy, iz), (wx, wy, wz) = corner, weight
    total = np.zeros(np.shape(x), np.float32)
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                share = (wx if dx else 1 - wx) * (wy if dy else 1 - wy) * (wz if dz else 1 - wz)
                total += share * lattice(ix + dx, iy + dy, iz + dz)
    return total


def fractal(x: Array, y: Array, z: Array, octaves: int = 4) -> Array:
    """Sum of noise of halving size and weight, in [0, 1]."""
    total, scale, weight = np.zeros(np.shape(x), np.float32), 1.0, 0.5
    for octave in range(octaves):
        total += weight * noise(x * scale + 17 * octave, y * scale + 5 * octave, z * scale + 11 * octave)
        scale, weight = scale * 2.03, weight / 2
    return total / (1 - 0.5**octaves)


def smooth(low: float, high: float, x: Array) -> Array:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Array, b: Array, t: Array) -> Array:
    """a where t is 0, b where it is 1; t has one dimension less than the colours."""
    return a + (b - a) * t[..., None]


def colour(*rgb: float) -> Array:
    return np.array(rgb, np.float32)


# --- shapes ----------------------------------------------------------------------------------------------------------


def sphere(x: Array, y: Array, z: Array, r: float) -> Array:
    return np.sqrt(x * x + y * y + z * z) - r


def ellipsoid(x: Array, y: Array, z: Array, rx: float, ry: float, rz: float) -> Array:
    """A bound on the distance to an ellipsoid, good near it."""
    k0 = np.sqrt((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2)
    k1 = np.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + (z / rz**2) ** 2)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-6)


def box(x: Array, y: Array, z: Array, hx: float, hy: float, hz: float, r: float) -> Array:
    """Half sizes hx, hy, hz, edges rounded by r."""
    qx, qy, qz = np.abs(x) - hx + r, np.abs(y) - hy + r, np.abs(z) - hz + r
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2 + np.maximum(qz, 0) ** 2)
    return outside + np.minimum(np.maximum(qx, np.maximum(qy, qz)), 0) - r


def capsule(x: Array, y: Array, z: Array, a: Array, b: Array, r: float) -> Array:
    d = b - a
    along = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1] + (z - a[2]) * d[2]) / (d @ d), 0, 1)
    return np.sqrt((x - a[0] - along * d[0]) ** 2 + (y - a[1] - along * d[1]) ** 2 + (z - a[2] - along * d[2]) ** 2) - r


def turned(x: Array, y: Array, z: Array, angle: float) -> tuple[Array, Array, Array]:
    """The point as seen by an object that is turned by angle about the vertical."""
    c, s = np.cos(angle), np.sin(angle)
    return c * x - s * z, y, s * x + c * z


def tilted(x: Array, y: Array, z: Array, angle: float) -> tuple[Array, Array, Array]:
    """As `turned`, about the x axis."""
    c, s = np.cos(angle), np.sin(angle)
    return x, c * y + s * z, -s * y + c * z


def rolled(x: Array, y: Array, z: Array, angle: float) -> tuple[Array, Array, Array]:
    """As `turned`, about the z axis."""
    c, s = np.cos(angle), np.sin(angle)
    return c * x + s * y, -s * x + c * y, z


VASE_Y = np.array([0.0, 0.15, 0.6, 1.2, 1.7, 2.1, 2.45, 2.7, 2.85])
VASE_R = np.array([0.52, 0.60, 0.86, 1.00, 0.90, 0.62, 0.42, 0.44, 0.56])


@cache
def vase_profile() -> tuple[Array, Array]:
    from scipy.interpolate import CubicSpline

    heights = np.linspace(0, VASE_Y[-1], 400)
    return heights, CubicSpline(VASE_Y, VASE_R)(heights)


def vase(x: Array, y: Array, z: Array) -> Array:
    """A wall turned about the vertical axis, hollow."""
    radius = np.interp(y, *vase_profile())
    wall = np.abs(np.sqrt(x * x + z * z) - radius + 0.04) - 0.04
    wall = np.where(y < 0.12, np.sqrt(x * x + z * z) - radius, wall)  # the foot is solid
    over = np.maximum(y - VASE_Y[-1], -y)
    return 0.62 * np.where(over > 0, np.hypot(np.maximum(wall, 0), over), np.maximum(wall, over))


def bowl(x: Array, y: Array, z: Array) -> Array:
    """Part of a hollow sphere of radius 1.5 under the plane y = 0.15, on a foot; the origin is the sphere's centre."""
    ring = np.sqrt(x * x + z * z)
    rim_y, rim_r, flat = 0.15, np.sqrt(1.5**2 - 0.15**2), 1.12
    squashed = np.sqrt(ring * ring + (y * flat) ** 2)
    shell = np.where(y > rim_y, np.hypot(ring - rim_r, y - rim_y), np.abs(squashed - 1.5) / flat) - 0.055
    foot = np.maximum(np.abs(ring - 0.62) - 0.06, np.abs(y + 1.36) - 0.09)
    return np.minimum(0.9 * shell, foot)


def apple(x: Array, y: Array, z: Array, r: float) -> Array:
    ring = np.sqrt(x * x + z * z) / r
    lobes = 1 + 0.018 * np.cos(5 * np.arctan2(z, x)) * smooth(-0.2, -0.9, y / r)
    lift = y / r + 0.34 * np.exp(-((ring / 0.30) ** 2)) * np.where(y > 0, 1, -0.6)
    wide = ring * lobes / (1.06 - 0.13 * (y / r < 0) * (y / r) ** 2 - 0.05 * y / r)
    body = 0.62 * r * (np.sqrt(wide**2 + lift**2) - 1)
    stem = capsule(x, y, z, np.array([0, 0.55 * r, 0]), np.array([0.12 * r, 1.12 * r, 0.05 * r]), 0.035 * r)
    return np.minimum(body, stem)


def lemon(x: Array, y: Array, z: Array, r: float) -> Array:
    """Axis along x."""
    taper = 1 - 0.10 * (x / r) ** 2
    body = ellipsoid(x, y / taper, z / taper, 1.28 * r, r, r)
    tip = ellipsoid(np.abs(x) - 1.26 * r, y, z, 0.22 * r, 0.2 * r, 0.2 * r)
    h = np.maximum(0.22 * r - np.abs(body - tip), 0) / (0.22 * r)
    return 0.7 * (np.minimum(body, tip) - h * h * 0.055 * r)


# --- what stands on the table ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thing:
    """place: its origin; bound: centre (from the origin) and radius of a sphere around it."""

    name: str
    field: Field
    place: tuple[float, float, float]
    bound: tuple[float, float, float, float]


VASE_AT = (-2.35, 0.03, 1.15)
BOWL_AT = (0.30, 1.40, 0.35)
CARD_AT, CARD_TURN, CARD_TILT = (2.95, 1.00, 1.70), 0.26, 0.20
NOTE_AT, NOTE_TURN, NOTE_TILT = (-1.30, 0.545, -0.95), -0.28, 0.42
CARD = (1.46, 0.99)  # half width and height
NOTE = (0.82, 0.57)


@cache
def stems() -> tuple[list[tuple[Array, Array]], list[tuple[Array, float, float, float, float]]]:
    """Twigs in the vase: pieces of stem, and leaves as (place, turn, tilt, roll, length)."""
    rng = np.random.default_rng(5)
    pieces, leaves = [], []
    for lean_x, lean_z, length in ((-0.42, 0.10, 2.0), (0.18, 0.22, 2.25), (0.62, -0.15, 1.75)):
        point, direction = np.array([0.1 * lean_x, 2.2, 0.1 * lean_z]), np.array([lean_x * 0.35, 1.0, lean_z * 0.35])
        steps = 7
        for step in range(steps):
            direction = direction + np.array([lean_x, -0.03, lean_z]) * 0.16 + rng.normal(0, 0.03, 3)
            end = point + direction / np.linalg.norm(direction) * length / steps
            pieces.append((point, end))
            if step > 1:
                for side in (0.0, np.pi):
                    turn = side + rng.normal(1.2 if step % 2 else 0.1, 0.4)
                    leaves.append((end, turn, rng.normal(0.0, 0.35), rng.normal(0.45, 0.2), rng.uniform(0.26, 0.40)))
            point = end
    return pieces, leaves


def leaf(x: Array, y: Array, z: Array, turn: float, tilt: float, roll: float, length: float) -> Array:
    """A flat curved blade that begins at the origin and lies along x."""
    x, y, z = tilted(*rolled(*turned(x, y, z, turn), roll), tilt)
    y = y + 0.55 * (x - 0.3 * length) ** 2 / length - 0.9 * np.abs(z) * 0.5
    return 0.6 * ellipsoid(x - length, y, z, length, 0.012, 0.36 * length)


def twigs(x: Array, y: Array, z: Array) -> Array:
    return np.min([capsule(x, y, z, a, b, 0.022) for a, b in stems()[0]], axis=0)


def card_local(x: Array, y: Array, z: Array, turn: float, tilt: float) -> tuple[Array, Array, Array]:
    return tilted(*turned(x, y, z, turn), tilt)


def card(x: Array, y: Array, z: Array, turn: float, tilt: float, half: tuple[float, float]) -> Array:
    return box(*card_local(x, y, z, turn, tilt), half[0], half[1], 0.03, 0.02)


def cloth(x: Array, y: Array, z: Array) -> Array:
    lx, ly, lz = turned(x, y, z, 0.10)
    waves = 0.012 * np.sin(2.3 * lz + 1.0) * np.sin(1.7 * lx) + 0.012
    hem = 0.010 * (smooth(1.84, 1.90, np.abs(lx)) + smooth(-3.52, -3.60, lz))
    return 0.8 * box(lx, ly - 0.02 - waves - hem, lz, 2.0, 0.02, 3.75, 0.02)


BERRIES = [
    (-3.05, -2.15),
    (-2.62, -2.42),
    (-2.78, -1.85),
    (-2.28, -2.20),
    (-3.42, -1.72),
    (1.62, -2.75),
    (-1.92, -2.62),
]
BERRY_R = [0.185, 0.20, 0.19, 0.175, 0.18, 0.17, 0.195]


@cache
def things() -> tuple[Thing, ...]:
    items = [
        Thing("vase", vase, VASE_AT, (0, 1.4, 0, 1.80)),
        Thing("bowl", bowl, BOWL_AT, (0, -0.6, 0, 1.75)),
        Thing("twigs", twigs, VASE_AT, (0.15, 3.3, 0.1, 1.75)),
        Thing("card", partial(card, turn=CARD_TURN, tilt=CARD_TILT, half=CARD), CARD_AT, (0, 0, 0, 1.8)),
        Thing("note", partial(card, turn=NOTE_TURN, tilt=NOTE_TILT, half=NOTE), NOTE_AT, (0, 0, 0, 1.05)),
        Thing("cloth", cloth, (0.35, 0.0, -0.5), (0, 0, 0, 4.3)),
    ]
    for place, turn, tilt, roll, length in stems()[1]:
        at = tuple(np.add(VASE_AT, place))
        items.append(Thing("leaf", partial(leaf, turn=turn, tilt=tilt, roll=roll, length=length), at, (0, 0, 0, 0.85)))

    def fruit(name: str, field: Field, at: tuple[float, float, float], r: float) -> None:
        items.append(Thing(name, field, at, (0, 0, 0, r)))

    for at, r in (((-0.22, 1.42, 0.05), 0.68), ((0.98, 1.42, 0.40), 0.70), ((0.15, 1.62, 1.05), 0.66)):
        fruit("orange", partial(ellipsoid, rx=r, ry=0.95 * r, rz=r), at, 1.05 * r)
    fruit("red apple", lambda x, y, z: apple(*rolled(x, y, z, -0.35), r=0.60), (0.42, 2.12, 0.22), 0.85)
    fruit("green apple", lambda x, y, z: apple(*rolled(x, y, z, 0.12), r=0.66), (2.42, 0.60, -1.00), 0.90)
    fruit("lemon", lambda x, y, z: lemon(*rolled(*turned(x, y, z, 0.5), 0.05), r=0.50), (-2.95, 0.48, -0.35), 0.85)
    fruit("lemon", lambda x, y, z: lemon(*turned(x, y, z, -0.7), r=0.47), (1.05, 0.51, -2.05), 0.80)
    for (x, z), r in zip(BERRIES, BERRY_R, strict=True):
        fruit("berry", partial(ellipsoid, rx=r, ry=0.88 * r, rz=r), (x, 0.88 * r + 0.005, z), 1.1 * r)
    return tuple(items)


NAMES = ("table", "vase", "bowl", "twigs", "card", "note", "cloth", "leaf", "orange", "red apple", "green apple",
         "lemon", "berry")  # fmt: skip
MATERIAL = {name: i for i, name in enumerate(NAMES)}


def around(points: Array, reach: float) -> list[int]:
    """The things (indices) whose bounds are closer than reach to any of the points N 3."""
    return along(points, np.zeros(3, np.float32), 0.0, reach)


def along(origin: Array, direction: Array, far: float, reach: float) -> list[int]:
    """The things (indices) whose bounds come closer than reach to any of the rays, up to the distance far."""
    close = []
    for i, thing in enumerate(things()):
        to_centre = np.add(thing.place, thing.bound[:3]).astype(np.float32) - origin
        t = np.clip((to_centre * direction).sum(1), 0, far)
        gap = np.linalg.norm(to_centre - t[:, None] * direction, axis=1) - thing.bound[3]
        if (gap < reach).any():
            close.append(i)
    return close


def nearest(x: Array, y: Array, z: Array, among: list[int], exact: float = 0.15) -> tuple[Array, Array]:
    """Distance to the nearest surface of the table (index -1) and of the things in `among`, and which it is. Further
    than `exact` from a thing's bound, the distance to the bound stands for it."""
    d = np.maximum(y, z - TABLE_EDGE).astype(np.float32)
    which = np.full(d.shape, -1, np.int32)
    for i in among:
        thing = things()[i]
        (px, py, pz), (bx, by, bz, br) = thing.place, thing.bound
        lx, ly, lz = x - px, y - py, z - pz
        gap = np.sqrt((lx - bx) ** 2 + (ly - by) ** 2 + (lz - bz) ** 2) - br
        far = (gap >= exact) & (gap < d)
        d = np.where(far, gap, d)
        which = np.where(far, i, which)
        near = np.flatnonzero(gap < np.minimum(d, exact))
        if near.size:
            distance = thing.field(lx[near], ly[near], lz[near]).astype(np.float32)
            closer = distance < d[near]
            d[near[closer]] = distance[closer]
            which[near[closer]] = i
    return d, which


def march(origin: Array, direction: Array, far: float = FAR) -> tuple[Array, Array]:
    """Distance along each ray (N 3, N 3) to what it meets, and the thing; -2 where it meets nothing."""
    t = np.full(len(origin), 0.02, np.float32)
    met = np.full(len(origin), -2, np.int32)
    alive = np.arange(len(origin))
    among = along(origin, direction, far, 0.01)
    for _ in range(160):
        p = origin[alive] + direction[alive] * t[alive, None]
        d, which = nearest(p[:, 0], p[:, 1], p[:, 2], among)
        hit = d < 0.0004 * np.maximum(t[alive], 1)
        met[alive[hit]] = which[hit]
        t[alive] += np.where(hit, 0, d)
        alive = alive[~hit & (t[alive] < far)]
        if not alive.size:
            break
    hit = np.flatnonzero(met > -2)
    for _ in range(3):  # closer to the surface than the ray asks for: the light's way starts here
        p = origin[hit] + direction[hit] * t[hit, None]
        t[hit] += nearest(p[:, 0], p[:, 1], p[:, 2], among)[0]
    return t, met


def normals(p: Array) -> Array:
    """Gradient of the distance, from four points around each."""
    total, among = np.zeros_like(p), around(p, 0.01)
    for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
        k = np.array(corner, np.float32)
        q = p + 0.0015 * k
        total += k * nearest(q[:, 0], q[:, 1], q[:, 2], among)[0][:, None]
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def sunlight(p: Array, n: Array) -> Array:
    """The share of the sun's disc that each point sees, by how close the way to it passes other things."""
    start = p + n * 0.006
    t = np.full(len(p), 0.01, np.float32)
    seen = np.ones(len(p), np.float32)
    alive = np.flatnonzero(n @ TO_SUN > -0.05)
    seen[n @ TO_SUN <= -0.05] = -1
    among = along(start, TO_SUN.astype(np.float32), 8.0, 8 * SUN_WIDTH)
    for _ in range(100):
        q = start[alive] + TO_SUN.astype(np.float32) * t[alive, None]
        d, _ = nearest(q[:, 0], q[:, 1], q[:, 2], among, exact=8 * SUN_WIDTH)
        seen[alive] = np.minimum(seen[alive], d / (SUN_WIDTH * t[alive]))
        t[alive] += np.clip(0.7 * d, 0.012, 0.25)
        alive = alive[(seen[alive] > -1) & (t[alive] < 8)]
        if not alive.size:
            break
    seen = np.clip(seen, -1, 1)
    return 0.25 * (1 + seen) ** 2 * (2 - seen)


def openness(p: Array, n: Array) -> Array:
    """The share of the sky around the normal that each point sees, from the free distance along it."""
    blocked, weight, among = np.zeros(len(p), np.float32), 1.0, around(p, 2.0)
    for h in (0.03, 0.09, 0.22, 0.48, 0.95):
        q = p + n * h
        d, _ = nearest(q[:, 0], q[:, 1], q[:, 2], among, exact=1.0)
        blocked += weight * np.clip(h - d, 0, None) / h
        weight *= 0.78
    return np.clip(1 - 0.36 * blocked, 0.03, 1)


# --- surroundings ----------------------------------------------------------------------------------------------------

GARDEN_STEP = 0.06  # degrees between the pixels of the garden's picture
GARDEN_LEFT, GARDEN_LOW, GARDEN_WIDE, GARDEN_HIGH = -45.0, -18.0, 90.0, 48.0  # degrees


@cache
def garden() -> Array:
    """The garden behind the table, far out of focus: discs of light over greens. H W 3 by elevation, azimuth."""
    rng = np.random.default_rng(12)
    el, az = np.mgrid[GARDEN_LOW : GARDEN_LOW + GARDEN_HIGH : GARDEN_STEP,
                      GARDEN_LEFT : GARDEN_LEFT + GARDEN_WIDE : GARDEN_STEP].astype(np.float32)  # fmt: skip
    zero = np.zeros_like(el)
    blur = fractal(az / 9 + 3, el / 6, zero, 3)
    picture = mix(colour(0.035, 0.055, 0.022), colour(0.16, 0.21, 0.075), smooth(0.25, 0.75, blur))
    picture = mix(picture, colour(0.55, 0.62, 0.50), smooth(-4, 13, el + 9 * (blur - 0.5)) * 0.75)
    picture = mix(picture, colour(0.95, 0.97, 1.0), smooth(9, 24, el + 6 * (blur - 0.5)))
    picture = mix(picture, colour(0.10, 0.10, 0.045), smooth(-5, -12, el))
    trunk = smooth(1.3, 0.6, np.abs(az - 7.4 + 0.05 * el)) + 0.7 * smooth(1.0, 0.4, np.abs(az + 13.2 - 0.03 * el))
    picture = mix(picture, colour(0.045, 0.035, 0.022), 0.8 * np.clip(trunk, 0, 1))
    for _ in range(230):
        x, y = rng.uniform(-30, 30), rng.normal(2.5, 5.0)
        size = rng.uniform(0.55, 1.25)
        kind = rng.random()
        tint = (0.30, 0.42, 0.10) if kind < 0.55 else (0.85, 0.72, 0.30) if kind < 0.83 else (1.0, 0.96, 0.86)
        light = rng.lognormal(-1.75, 0.85) * np.clip(0.4 + 0.06 * (y + 8), 0.15, 1.6)
        rows = slice(*(int(np.clip((y + s * 1.3 * size - GARDEN_LOW) / GARDEN_STEP, 0, len(el))) for s in (-1, 1)))
        cols = slice(*(int((x + s * 1.3 * size - GARDEN_LEFT) / GARDEN_STEP) for s in (-1, 1)))
        r = np.hypot(az[rows, cols] - x, el[rows, cols] - y) / size
        disc = smooth(1.06, 0.94, r) * (0.72 + 0.28 * smooth(0.5, 1.0, r))
        picture[rows, cols] += light * disc[..., None] * colour(*tint)
    return np.maximum(picture, 0.004)


def surroundings(d: Array, blur: bool = False) -> Array:
    """Radiance that comes along the directions N 3 from beyond the table; blur: as a rough surface gathers it."""
    el = np.degrees(np.arcsin(np.clip(d[:, 1], -1, 1)))
    az = np.degrees(np.arctan2(d[:, 0], d[:, 2]))
    up = smooth(-6, 40, el)
    plain = mix(
        mix(colour(0.16, 0.17, 0.09), colour(0.55, 0.62, 0.60), up), colour(0.42, 0.56, 0.85), smooth(35, 80, el)
    )
    clouds = smooth(
        0.45, 0.75, fractal(3 * d[:, 0] / (0.3 + np.abs(d[:, 1])), 0 * el, 3 * d[:, 2] / (0.3 + np.abs(d[:, 1])))
    )
    plain = plain + (clouds * smooth(5, 30, el))[:, None] * colour(0.75, 0.72, 0.68)
    glow = np.clip(d @ TO_SUN, 0, 1)
    plain = plain + (glow**12)[:, None] * colour(0.9, 0.8, 0.62)
    if blur:
        return plain
    x, y = (az - GARDEN_LEFT) / GARDEN_STEP, (el - GARDEN_LOW) / GARDEN_STEP
    inside = (x >= 0) & (y >= 0) & (x < GARDEN_WIDE / GARDEN_STEP - 2) & (y < GARDEN_HIGH / GARDEN_STEP - 2)
    plain[inside] = bilinear(garden(), x[inside], y[inside])
    return plain


def bilinear(picture: Array, x: Array, y: Array) -> Array:
    """Values of a picture H W C at columns x and rows y."""
    left = np.clip(x.astype(np.int64), 0, picture.shape[1] - 2)
    top = np.clip(y.astype(np.int64), 0, picture.shape[0] - 2)
    fx, fy = np.clip(x - left, 0, 1)[:, None], np.clip(y - top, 0, 1)[:, None]
    upper = picture[top, left] * (1 - fx) + picture[top, left + 1] * fx
    lower = picture[top + 1, left] * (1 - fx) + picture[top + 1, left + 1] * fx
    return (upper * (1 - fy) + lower * fy).astype(np.float32)


# --- surfaces --------------------------------------------------------------------------------------------------------


@cache
def checker() -> Array:
    """24 3, linear sRGB: the patches of the ColorChecker (measurements that X-Rite published in 2014), row by row."""
    import colour as science

    chart = science.CCS_COLOURCHECKERS["ColorChecker24 - After November 2014"]
    xyz = science.xyY_to_XYZ(np.array(list(chart.data.values())))
    rgb = science.XYZ_to_RGB(xyz, "sRGB", chart.illuminant, "Bradford", apply_cctf_encoding=False)
    return np.clip(rgb, 0.002, 1).astype(np.float32)


@cache
def note_picture() -> Array:
    """What is printed on the small card: a star, a zone plate, lines that become finer, text. H W 1, reflectance."""
    width, height = 1640, 1140
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    ink = np.ones((height, width), np.float32)
    dx, dy = x - 300, y - 300
    r = np.hypot(dx, dy)
    star = 0.5 + 0.5 * np.tanh(6 * np.cos(36 * np.arctan2(dy, dx)) * np.minimum(r / 120, 1))
    ink = np.where(r < 240, star, ink)
    dx, dy = x - 830, y - 300
    r = np.hypot(dx, dy)
    ink = np.where(r < 240, 0.5 + 0.5 * np.cos(np.pi * r * r / (240 * 13)), ink)
    left = 1110
    for i, period in enumerate((40, 30, 22, 16, 12, 9)):
        band = (y >= 60 + 80 * i) & (y < 120 + 80 * i) & (x >= left) & (x < left + 470)
        ink = np.where(band, 0.5 + 0.5 * np.tanh(5 * np.cos(2 * np.pi * (x - left) / period)), ink)
    page = Image.fromarray((255 * ink).astype(np.uint8))
    draw = ImageDraw.Draw(page)
    at = 585
    lines = (
        (84, "A picture is a measurement."),
        (58, "Light falls on a mosaic of red, green and blue;"),
        (42, "what lies between is reconstructed, with care and arithmetic."),
        (32, "Black is zero, white is one. Nothing is clipped before it has to be. 0123456789"),
        (24, "Sphinx of black quartz, judge my vow. The quick brown fox jumps over the lazy dog, again and again."),
    )
    for size, text in lines:
        draw.text((70, at), text, fill=0, font=ImageFont.load_default(size))
        at += int(1.5 * size)
    for i in range(15):
        draw.rectangle((70 + 100 * i, 1010, 169 + 100 * i, 1085), fill=int(255 * (i / 14) ** (1 / 2.2)))
    return np.asarray(page, np.float32)[..., None] / 255


@dataclass
class Surface:
    """What light does at N points: diffuse colour N 3; mirror strength, roughness and translucence, each N."""

    colour: Array
    normal: Array
    mirror: Array
    rough: Array
    soft: Array  # how much light the skin passes on beneath, from the lit side to the other


def bumped(p: Array, n: Array, size: float, depth: float, octaves: int = 2) -> Array:
    """The normal of a surface that noise of this size (units) raises by up to depth."""
    e = size * 0.15
    base = fractal(p[:, 0] / size, p[:, 1] / size, p[:, 2] / size, octaves)
    gradient = np.stack(
        [fractal(*((p + e * np.eye(3, dtype=np.float32)[i]) / size).T, octaves) - base for i in range(3)], 1
    ) * (depth / e)
    gradient -= n * (gradient * n).sum(1, keepdims=True)
    bent = n - gradient
    return bent / np.linalg.norm(bent, axis=1, keepdims=True)


def table_surface(p: Array, n: Array) -> Surface:
    x, z = p[:, 0], p[:, 2]
    across = x / 1.42 + 0.32
    plank = np.floor(across)
    inside = across - plank
    shift = lattice(plank.astype(np.int64), np.full(len(p), 3), np.full(len(p), 9))
    u, v = x + 7 * shift, z * 0.16 + 31 * shift
    bend = fractal(u * 0.9, v * 1.6, shift * 9, 3)
    rings = 0.5 + 0.5 * np.sin(26 * (u * 0.75 + 1.5 * bend))
    fibre = fractal(u * 34, v * 11, shift * 5, 3)
    pores = smooth(0.62, 0.80, noise(u * 70, v * 26, shift * 3))
    tone = 0.42 * rings**1.5 + 0.58 * fibre
    tint = mix(colour(0.165, 0.088, 0.043), colour(0.46, 0.295, 0.165), np.clip(tone, 0, 1))
    tint = tint * (0.78 + 0.42 * shift)[:, None] * (1 - 0.35 * pores)[:, None]
    stain = smooth(0.55, 0.75, fractal(x * 0.5, z * 0.5, 0 * x, 4))
    tint = tint * (1 - 0.18 * stain)[:, None]
    seam = np.minimum(inside, 1 - inside) * 1.42
    tint = tint * (0.10 + 0.90 * smooth(0.008, 0.035, seam))[:, None]
    tilt = (fractal(u * 34 + 0.4, v * 11, shift * 5, 3) - fibre) * 0.35
    tilt += np.where(inside < 0.5, -1, 1) * smooth(0.05, 0.012, seam) * 0.5
    bent = n + np.stack([tilt, 0 * tilt, 0.1 * tilt], 1).astype(np.float32)
    bent /= np.linalg.norm(bent, axis=1, keepdims=True)
    return Surface(tint, bent, np.full(len(p), 0.035), 0.30 + 0.2 * fibre, np.zeros(len(p)))


def vase_surface(p: Array, n: Array) -> Surface:
    x, y, z = (p - np.array(VASE_AT, np.float32)).T
    angle = np.arctan2(x, -z) + 0.3
    white = np.full((len(p), 3), 1.0, np.float32) * colour(0.80, 0.80, 0.78)
    shade = fractal(x * 5, y * 5, z * 5, 3)

    def band(low: float, high: float) -> Array:
        return smooth(low - 0.012, low + 0.012, y) * smooth(high + 0.012, high - 0.012, y)

    ink = band(0.10, 0.17) + band(0.21, 0.24) + band(2.42, 2.46) + band(2.50, 2.58) + band(2.78, 2.86)
    petals = np.cos(11 * angle)
    ink += smooth(0.10, -0.10, y - 0.36 - 0.20 * np.abs(np.cos(5.5 * angle))) * band(0.26, 0.70)
    ink += band(0.72, 0.75) + band(1.93, 1.96)
    flower = np.hypot(((angle / (2 * np.pi) * 7) % 1 - 0.5) * 2.2, (y - 1.32) * 2.4)
    turn = np.arctan2((y - 1.32) * 2.4, ((angle / (2 * np.pi) * 7) % 1 - 0.5) * 2.2)
    edge = 0.52 + 0.20 * np.cos(6 * turn)
    blossom = smooth(0.03, -0.03, flower - edge) * (1 - 0.75 * smooth(0.03, -0.03, np.abs(flower - 0.6 * edge) - 0.05))
    ink += blossom * (1 - smooth(0.02, -0.02, flower - 0.14))
    ink += smooth(0.03, -0.03, np.abs(y - 1.32 - 0.36 * np.cos(7 * angle + np.pi)) - 0.022) * smooth(0.6, 0.7, flower)
    ink += smooth(0.02, -0.02, y - 2.0 - 0.16 * (0.5 + 0.5 * petals)) * band(1.98, 2.3)
    ink = np.clip(ink, 0, 1) * (0.75 + 0.5 * (shade - 0.5))
    cobalt = mix(colour(0.10, 0.17, 0.46), colour(0.018, 0.035, 0.20), smooth(0.3, 0.7, shade))
    return Surface(mix(white, cobalt, np.clip(ink, 0, 1)), n, np.full(len(p), 0.045), np.full(len(p), 0.035),
                   np.full(len(p), 0.06))  # fmt: skip


def bowl_surface(p: Array, n: Array) -> Surface:
    x, y, z = (p - np.array(BOWL_AT, np.float32)).T
    streak = fractal(np.arctan2(z, x) * 6, y * 1.3, 0 * x, 4)
    speck = smooth(0.80, 0.86, noise(x * 26, y * 26, z * 26))
    glaze = mix(colour(0.020, 0.165, 0.175), colour(0.095, 0.36, 0.335), streak)
    glaze = mix(glaze, colour(0.30, 0.42, 0.34), smooth(-0.02, 0.16, y + 0.08 * (streak - 0.5)))
    glaze = mix(glaze, colour(0.05, 0.035, 0.02), 0.65 * speck)
    clay = mix(colour(0.30, 0.185, 0.115), colour(0.38, 0.25, 0.16), noise(x * 40, y * 40, z * 40))
    body = smooth(-1.10, -1.16, y + 0.10 * streak)
    inner = smooth(1.5, 1.49, np.sqrt(x * x + z * z + (1.12 * y) ** 2)) * (y < 0.13)
    glaze = mix(glaze, colour(0.62, 0.60, 0.52), 0.8 * inner)
    return Surface(mix(glaze, clay, body), bumped(p, n, 0.25, 0.004), 0.045 * (1 - body) + 0.01,
                   0.06 + 0.4 * body, np.full(len(p), 0.03))  # fmt: skip


def leaf_surface(p: Array, n: Array) -> Surface:
    a = noise(p[:, 0] * 2.1, p[:, 1] * 2.1, p[:, 2] * 2.1)
    tint = mix(colour(0.060, 0.125, 0.036), colour(0.155, 0.235, 0.075), a)
    vein = fractal(p[:, 0] * 24, p[:, 1] * 24, p[:, 2] * 24, 2)
    return Surface(tint * (0.8 + 0.4 * vein)[:, None], n, np.full(len(p), 0.04), np.full(len(p), 0.33),
                   np.full(len(p), 0.30))  # fmt: skip


def twig_surface(p: Array, n: Array) -> Surface:
    a = fractal(p[:, 0] * 30, p[:, 1] * 8, p[:, 2] * 30, 2)
    tint = mix(colour(0.09, 0.06, 0.03), colour(0.20, 0.15, 0.07), a)
    return Surface(tint, n, np.full(len(p), 0.02), np.full(len(p), 0.5), np.full(len(p), 0.1))


def card_surface(p: Array, n: Array) -> Surface:
    u, v, w = card_local(*(p - np.array(CARD_AT, np.float32)).T, CARD_TURN, CARD_TILT)
    column, row = (u + 1.38) / 0.46, (0.92 - v) / 0.46
    c, r = np.clip(np.floor(column), 0, 5).astype(int), np.clip(np.floor(row), 0, 3).astype(int)
    inset = np.minimum.reduce([column - c, c + 1 - column, row - r, r + 1 - row])
    tint = np.where((inset > 0.065)[:, None], checker()[r * 6 + c], colour(0.022, 0.022, 0.023))
    tint = np.where((w < -0.02)[:, None], tint, colour(0.05, 0.05, 0.05))
    flat = np.full(len(p), 1.0)
    return Surface(tint, n, 0.012 * flat, 0.55 * flat, 0 * flat)


def note_surface(p: Array, n: Array) -> Surface:
    u, v, w = card_local(*(p - np.array(NOTE_AT, np.float32)).T, NOTE_TURN, NOTE_TILT)
    page = note_picture()
    ink = bilinear(page, (u + NOTE[0]) / (2 * NOTE[0]) * page.shape[1], (NOTE[1] - v) / (2 * NOTE[1]) * page.shape[0])
    paper = colour(0.82, 0.80, 0.755) * (0.97 + 0.03 * noise(u * 60, v * 60, 0 * u))[:, None]
    ink = np.where((w < -0.02)[:, None], ink, 1)
    flat = np.full(len(p), 1.0)
    return Surface(colour(0.025, 0.025, 0.028) + (paper - 0.025) * ink, n, 0.01 * flat, 0.6 * flat, 0.02 * flat)


def cloth_surface(p: Array, n: Array) -> Surface:
    x, _, z = turned(p[:, 0] - 0.35, p[:, 1], p[:, 2] + 0.5, 0.10)
    warp, weft = 0.5 + 0.5 * np.cos(2 * np.pi * x / 0.042), 0.5 + 0.5 * np.cos(2 * np.pi * z / 0.060)
    over = (np.floor(x / 0.042) + np.floor(z / 0.060)) % 2
    height = np.where(over > 0, warp * (0.6 + 0.4 * weft), weft * (0.6 + 0.4 * warp))
    yarn = noise(x * 45, 0 * x, z * 9) * 0.5 + noise(x * 9, 0 * x, z * 45) * 0.5
    tint = mix(colour(0.52, 0.47, 0.385), colour(0.74, 0.70, 0.61), np.clip(0.65 * height + 0.5 * (yarn - 0.35), 0, 1))
    stripe = np.zeros(len(p))
    for at, half in ((1.62, 0.10), (1.40, 0.030), (1.30, 0.030)):
        stripe += smooth(0.010, -0.010, np.abs(np.abs(x) - at) - half)
    for at, half in ((-3.05, 0.13), (-2.74, 0.035), (-2.60, 0.035)):
        stripe += smooth(0.012, -0.012, np.abs(z - at) - half)
    dyed = mix(colour(0.045, 0.085, 0.20), colour(0.10, 0.17, 0.33), height)
    tint = mix(tint, dyed, np.clip(stripe, 0, 1) * 0.92)
    bent = n + 0.10 * np.stack(
        [np.sin(2 * np.pi * x / 0.042) * over, 0 * x, np.sin(2 * np.pi * z / 0.060) * (1 - over)], 1
    ).astype(np.float32)
    bent = bumped(p, bent / np.linalg.norm(bent, axis=1, keepdims=True), 0.35, 0.014, 3)
    return Surface(tint, bent, np.full(len(p), 0.006), np.full(len(p), 0.8), np.full(len(p), 0.12))


def orange_surface(p: Array, n: Array) -> Surface:
    blush = fractal(p[:, 0] * 1.7, p[:, 1] * 1.7, p[:, 2] * 1.7, 3)
    tint = mix(colour(0.80, 0.235, 0.018), colour(0.92, 0.37, 0.035), blush)
    pits = smooth(0.60, 0.90, noise(*(p * 30).T))
    tint = tint * (1 - 0.15 * pits)[:, None]
    return Surface(tint, bumped(p, n, 0.055, 0.011, 1), np.full(len(p), 0.035), 0.30 + 0.1 * blush,
                   np.full(len(p), 0.16))  # fmt: skip


def apple_surface(p: Array, n: Array, red: bool) -> Surface:
    at = np.array(next(t.place for t in things() if t.name == ("red apple" if red else "green apple")), np.float32)
    x, y, z = rolled(*(p - at).T, -0.35 if red else 0.12)
    r = 0.60 if red else 0.66
    angle, ring = np.arctan2(z, x), np.hypot(x, z)
    streaks = fractal(np.cos(angle) * 9, y * 1.1, np.sin(angle) * 9, 3)
    patch = fractal(x * 1.6 + 4, y * 1.6, z * 1.6, 3)
    if red:
        tint = mix(colour(0.40, 0.018, 0.022), colour(0.62, 0.075, 0.030), streaks)
        tint = mix(tint, colour(0.66, 0.40, 0.080), 0.8 * smooth(0.54, 0.74, patch + 0.25 * (streaks - 0.5)))
    else:
        tint = mix(colour(0.26, 0.41, 0.045), colour(0.47, 0.56, 0.095), 0.6 * streaks + 0.4 * patch)
        tint = mix(tint, colour(0.60, 0.17, 0.07), 0.55 * smooth(0.56, 0.78, patch + 0.3 * (streaks - 0.5)))
    dots = smooth(0.80, 0.92, noise(x * 25, y * 25, z * 25))
    tint = mix(tint, colour(0.62, 0.52, 0.28), 0.40 * dots)
    dimple = smooth(0.34, 0.05, ring / r) * (np.abs(y) > 0.4 * r)
    tint = mix(tint, colour(0.28, 0.23, 0.07), 0.75 * dimple)
    stem = (ring < 0.16 * r) & (y > 0.72 * r)
    tint = np.where(stem[:, None], colour(0.11, 0.070, 0.032), tint)
    return Surface(tint, bumped(p, n, 0.5, 0.012), np.where(stem, 0.01, 0.042), np.where(stem, 0.6, 0.13),
                   np.full(len(p), 0.10))  # fmt: skip


def lemon_surface(p: Array, n: Array) -> Surface:
    blush = fractal(p[:, 0] * 2, p[:, 1] * 2, p[:, 2] * 2, 3)
    tint = mix(colour(0.80, 0.56, 0.030), colour(0.90, 0.73, 0.085), blush)
    tint = mix(tint, colour(0.55, 0.60, 0.08), 0.5 * smooth(0.6, 0.8, blush))
    return Surface(tint, bumped(p, n, 0.085, 0.012, 1), np.full(len(p), 0.035), np.full(len(p), 0.28),
                   np.full(len(p), 0.18))  # fmt: skip


def berry_surface(p: Array, n: Array) -> Surface:
    bloom = fractal(p[:, 0] * 7, p[:, 1] * 7, p[:, 2] * 7, 3)
    tint = mix(colour(0.016, 0.017, 0.050), colour(0.125, 0.150, 0.270), smooth(0.30, 0.70, bloom))
    crown = smooth(0.75, 0.92, n[:, 1])
    tint = mix(tint, colour(0.018, 0.014, 0.026), crown)
    return Surface(tint, n, np.full(len(p), 0.03), np.full(len(p), 0.38), np.full(len(p), 0.05))


SURFACES: dict[str, Callable[[Array, Array], Surface]] = {
    "table": table_surface,
    "vase": vase_surface,
    "bowl": bowl_surface,
    "twigs": twig_surface,
    "card": card_surface,
    "note": note_surface,
    "cloth": cloth_surface,
    "leaf": leaf_surface,
    "orange": orange_surface,
    "red apple": partial(apple_surface, red=True),
    "green apple": partial(apple_surface, red=False),
    "lemon": lemon_surface,
    "berry": berry_surface,
}


# --- light -----------------------------------------------------------------------------------------------------------


def shade(p: Array, met: Array, direction: Array, bounces: int) -> Array:
    """Radiance N 3 that leaves the points p of the things `met` against the rays' direction."""
    n = normals(p)
    names = np.array([MATERIAL["table"], *(MATERIAL[thing.name] for thing in things())])[met + 1]
    tint, bent = np.zeros_like(p), n.copy()
    mirror, rough, soft = (np.zeros(len(p), np.float32) for _ in range(3))
    for name, surface_of in SURFACES.items():
        mine = np.flatnonzero(names == MATERIAL[name])
        if mine.size:
            s = surface_of(p[mine], n[mine])
            tint[mine], bent[mine], mirror[mine], rough[mine], soft[mine] = (
                s.colour,
                s.normal,
                s.mirror,
                s.rough,
                s.soft,
            )

    sun = sunlight(p, n)
    sky = openness(p, n)
    facing = bent @ TO_SUN.astype(np.float32)
    lit = sun * np.clip(facing, 0, 1) + 0.4 * soft * np.clip(1 - np.abs(facing) / 0.6, 0, 1) ** 2
    up = 0.5 + 0.5 * bent[:, 1]
    light = lit[:, None] * SUN + (sky * up)[:, None] * SKY + (sky * (1 - up))[:, None] * GROUND * 1.6
    light += (sky * np.clip(-bent[:, 2], 0, 1))[:, None] * colour(0.13, 0.13, 0.13)  # the bright side behind the camera
    thin = names == MATERIAL["leaf"]
    through = np.clip(-facing, 0, 1) * thin * 0.55
    light = light + through[:, None] * SUN * colour(1.1, 1.25, 0.4)
    radiance = tint * light

    # highlight of the sun (GGX) and mirror image of the surroundings (Schlick's Fresnel term)
    half = TO_SUN - direction
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    width = np.maximum(rough, SUN_WIDTH * 0.7) ** 2
    nh = np.clip((bent * half).sum(1), 0, 1)
    lobe = np.minimum(width**2 / (np.pi * (nh * nh * (width**2 - 1) + 1) ** 2), 60)
    view = np.clip(-(bent * direction).sum(1), 0.02, 1)
    fresnel_sun = mirror + (1 - mirror) * (1 - np.clip((half * TO_SUN).sum(1), 0, 1)) ** 5
    radiance += (fresnel_sun * lobe * sun * np.clip(facing, 0, 1) / (4 * view) * 1.6)[:, None] * SUN
    fresnel = mirror + (np.maximum(1 - rough, mirror) - mirror) * (1 - view) ** 5
    fresnel *= (1 - rough) ** 2
    reflected = direction - 2 * bent * (bent * direction).sum(1, keepdims=True)
    image = surroundings(reflected, blur=True)
    sharp = np.flatnonzero((rough < 0.2) & (mirror > 0.03))
    if bounces and sharp.size:
        image[sharp] = trace(p[sharp] + n[sharp] * 0.01, reflected[sharp], bounces - 1)
    radiance += (fresnel * np.where(rough < 0.2, 1, sky))[:, None] * image
    return radiance


def trace(origin: Array, direction: Array, bounces: int = 1) -> Array:
    """Radiance N 3 along rays N 3."""
    direction = direction.astype(np.float32)
    t, met = march(origin.astype(np.float32), direction)
    out = surroundings(direction)
    hit = np.flatnonzero(met > -2)
    if hit.size:
        p = origin[hit].astype(np.float32) + direction[hit] * t[hit, None]
        out[hit] = shade(p, met[hit], direction[hit], bounces)
    return out


def render_tile(corner: tuple[int, int], height: int, width: int, samples: int) -> Array:
    """TILE x TILE pixels (fewer at the edges) from the corner (row, column), each the mean of samples^2 rays."""
    ahead = (TARGET - CAMERA) / np.linalg.norm(TARGET - CAMERA)
    right = np.cross([0, 1, 0], ahead)
    right /= np.linalg.norm(right)
    up = np.cross(ahead, right)
    scale = 2 * np.tan(np.radians(FIELD_OF_VIEW) / 2) / height
    rows, columns = (min(TILE, size - first) for size, first in zip((height, width), corner, strict=True))
    y, x = np.mgrid[0 : rows * samples, 0 : columns * samples].astype(np.float64)
    x = (corner[1] + (x + 0.5) / samples - width / 2) * scale
    y = (height / 2 - corner[0] - (y + 0.5) / samples) * scale
    rays = ahead + x[..., None] * right + y[..., None] * up
    rays = (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).reshape(-1, 3)
    light = trace(np.broadcast_to(CAMERA, rays.shape), rays)
    return light.reshape(rows, samples, columns, samples, 3).mean((1, 3)).astype(np.float32)


def render_scene(height: int, width: int, samples: int = 2, workers: int = 1) -> Array:
    """The still life, height width 3, float32: scene-linear sRGB in which diffuse white in the sun is about 1.

    samples: rays across a pixel, in both directions. The same numbers come out for any number of workers.
    """
    corners = [(top, left) for top in range(0, height, TILE) for left in range(0, width, TILE)]
    picture = np.zeros((height, width, 3), np.float32)
    with ProcessPoolExecutor(workers) as pool:
        tiles = pool.map(partial(render_tile, height=height, width=width, samples=samples), corners)
        for (top, left), tile in zip(corners, tiles, strict=True):
            picture[top : top + TILE, left : left + TILE] = tile
    return lens(picture)


def lens(picture: Array) -> Array:
    """A lens: a little blur, and a veil of stray light around what is bright."""
    from scipy.ndimage import gaussian_filter

    def blurred(sigma: float) -> Array:
        return gaussian_filter(picture, (sigma, sigma, 0), mode="nearest")

    size = len(picture)
    return 0.985 * blurred(0.45) + 0.010 * blurred(size / 150) + 0.005 * blurred(size / 30)
