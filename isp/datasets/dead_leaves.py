"""Dead leaves: pictures made of shapes that cover each other, with the sizes, edges and textures of photographs.

A. Lee, D. Mumford, J. Huang, "Occlusion Models for Natural Images", IJCV 2001: opaque shapes whose radii follow
r^-3 give the scale invariance and the edges of natural images. R. Achddou, Y. Gousseau, S. Ladjal, "Synthetic images
as a regularity prior for image restoration neural networks", SSVM 2021: with natural colours and textures in them they
train restoration networks. Lettering, wires and gratings are added here: demosaicking fails on them first.

A leaf is an ellipse cut by up to six straight lines, under an affine map. Pixels are drawn with the exactly rounded
operations of IEEE 754 alone (no sine, no power, no matrix product), so that a seed gives the same bytes wherever the
generator of NumPy gives the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SUB = 2  # sub-pixels per pixel, in both directions
COVERAGE = 4.0  # leaves over a point, on average: 2 % of the picture show the background
LONG = 24  # sub-pixels; shorter spans are drawn together, longer ones one by one
CHUNK = 1 << 14  # pixels shaded at once: their temporaries stay in the cache
FIELDS, FIELD = 5, 256  # textures that the leaves of one picture share, and their side; they repeat without a seam


def _polygon(sides: int, depth: float = 1.0) -> list[tuple[float, float, float]]:
    """A regular polygon inside the unit circle; depth > 1 cuts less off the circle: rounded corners."""
    turns = [2 * math.pi * (k + 0.5) / sides for k in range(sides)]
    distance = round(depth * math.cos(math.pi / sides), 6)  # rounded: the last digit of a cosine is the machine's own
    return [(round(math.cos(t), 6), round(math.sin(t), 6), distance) for t in turns]


# Lines nx u + ny v <= d that cut the unit disc, and how often each shape comes.
SHAPES: list[tuple[float, list[tuple[float, float, float]]]] = [
    (0.36, []),
    (0.28, _polygon(4)),
    (0.10, _polygon(3)),
    (0.06, _polygon(5)),
    (0.05, _polygon(6)),
    (0.07, _polygon(4, 1.2)),
    (0.08, [(0.0, 1.0, 0.1)]),
]
SIDES = 6
LINES = np.array([cuts + [(0.0, 0.0, 1.0)] * (SIDES - len(cuts)) for _, cuts in SHAPES])  # shapes SIDES 3
OFTEN = np.cumsum([often for often, _ in SHAPES])
BAR = 1  # index of the rectangle in SHAPES

# Strokes of letters in a cell of 1 x 1: from x, y to x, y.
STROKES = np.array(
    [
        (0.1, 0.0, 0.1, 1.0), (0.9, 0.0, 0.9, 1.0), (0.5, 0.0, 0.5, 1.0), (0.1, 0.0, 0.9, 0.0), (0.1, 0.5, 0.9, 0.5),
        (0.1, 1.0, 0.9, 1.0), (0.1, 0.0, 0.9, 1.0), (0.9, 0.0, 0.1, 1.0), (0.1, 0.0, 0.5, 1.0), (0.9, 0.0, 0.5, 1.0),
        (0.1, 0.5, 0.1, 1.0), (0.9, 0.0, 0.9, 0.5),
    ]
)  # fmt: skip


@dataclass
class Leaves:
    """n shapes, the last one in front. Lengths in pixels, colours as displayed, 0 to 1."""

    centre: np.ndarray  # n 2: x, y
    axes: np.ndarray  # n 2: half axes
    turn: np.ndarray  # n 2: cosine, sine
    lines: np.ndarray  # n SIDES 3: what they keep is nx u + ny v <= d; u, v are 1 at the ends of the axes
    colour: np.ndarray  # n 6: two colours, mixed by texture and stripes
    shade: np.ndarray  # n 3: slope of brightness along u and v, fall towards the rim
    texture: np.ndarray  # n 4: its amount, which field, and where in it
    stripes: np.ndarray  # n 3: their amount, periods per unit of u and of v

    def __len__(self) -> int:
        return len(self.centre)

    def part(self, which: slice) -> Leaves:
        return Leaves(*(value[which] for value in vars(self).values()))

    @classmethod
    def join(cls, parts: list[Leaves]) -> Leaves:
        return cls(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


def dead_leaves(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """H W 3, float32, display-encoded RGB in [0, 1]: a picture from the generator's next numbers."""
    palette = _palette(rng)
    background = _background(height, width, palette, rng)
    behind, front = _scattered(height, width, palette, rng)
    marks = [_lettering(height, width, palette, rng) for _ in range(_count(rng, 3))]
    marks += [_grating(height, width, palette, rng) for _ in range(_count(rng, 3))]
    leaves = Leaves.join([background, behind, *marks, front])
    fields = np.stack([_field(rng) for _ in range(FIELDS)]).reshape(-1)
    light = _rendered(leaves, _labels(leaves, height, width), fields)
    light *= _illumination(height, width, rng)[..., None]
    if rng.random() < 0.5:  # half of the pictures are a little soft, as lenses are
        light = _softened(light, rng.random())
    return np.sqrt(np.clip(light, 0, 1))


def _count(rng: np.random.Generator, below: int) -> int:
    """A whole number from 0 to below - 1."""
    return int(rng.random() * below)


def _palette(rng: np.random.Generator) -> np.ndarray:
    """n 3: the main colours of a picture, most of them muted and a few saturated ones."""
    n = 6 + _count(rng, 8)
    hue = rng.random() + np.where(rng.random(n) < 0.5, 0.12 * rng.random(n), rng.random(n))
    vivid = rng.random(n) < 0.5 * rng.random()
    saturation = np.where(vivid, 0.5 + 0.5 * rng.random(n), (0.2 + 0.4 * rng.random()) * rng.random(n))
    darkest, brightest = 0.02 + 0.25 * rng.random() ** 2, 1 - 0.3 * rng.random() ** 2
    value = darkest + (brightest - darkest) * rng.random(n)
    sector = hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])  # HSV to RGB (A. R. Smith, SIGGRAPH 1978)
    ramp = np.clip(np.abs(sector - 6 * np.floor(sector / 6) - 3) - 1, 0, 1)
    return value[:, None] * (1 - saturation[:, None] * (1 - ramp))


def _coloured(n: int, palette: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """n 6: a colour near the palette, and a second one: the same lighter or darker, or another of the palette."""
    first = palette[(rng.random(n) * len(palette)).astype(int)]
    first = first * (0.6 + 0.8 * rng.random((n, 1))) + 0.08 * (rng.random((n, 3)) - 0.5)
    other = palette[(rng.random(n) * len(palette)).astype(int)]
    second = np.where(rng.random((n, 1)) < 0.3, other, first * (0.3 + 1.4 * rng.random((n, 1))))
    return np.clip(np.concatenate([first, second], axis=1), 0, 1)


def _turn(n: int, rng: np.random.Generator) -> np.ndarray:
    """n 2: cosine and sine of any angle, upright for a third; from the half angle's tangent, which needs no sine."""
    t = 0.41421356 * (2 * rng.random(n) - 1) * (rng.random(n) < 0.67)  # the tangent of 22.5 degrees at most
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    swapped = rng.random(n) < 0.5
    return np.stack([np.where(swapped, -sine, cosine), np.where(swapped, cosine, sine)], axis=1)


def _plain(centre: np.ndarray, axes: np.ndarray, turn: np.ndarray, shape: int, colour: np.ndarray) -> Leaves:
    """Leaves of one shape with neither shade nor texture."""
    n = len(centre)
    lines = np.broadcast_to(LINES[shape], (n, SIDES, 3))
    return Leaves(centre, axes, turn, lines, colour, np.zeros((n, 3)), np.zeros((n, 4)), np.zeros((n, 3)))


def _background(height: int, width: int, palette: np.ndarray, rng: np.random.Generator) -> Leaves:
    """One leaf under all others."""
    size = float(max(height, width))
    leaf = _plain(
        np.array([[width / 2, height / 2]]),
        np.full((1, 2), 2 * size),
        np.array([[1.0, 0.0]]),
        0,
        _coloured(1, palette, rng),
    )
    leaf.shade = np.concatenate([2 * rng.random((1, 2)) - 1, np.zeros((1, 1))], axis=1)
    return leaf


def _scattered(height: int, width: int, palette: np.ndarray, rng: np.random.Generator) -> tuple[Leaves, Leaves]:
    """The leaves proper, radii by r^-3, split at a random depth."""
    size = min(height, width)
    smallest = 2.5 / (1 - 0.94 * rng.random())  # 2.5 to 40 pixels, half of the pictures below 5
    largest = max(size * (0.3 + 0.5 * rng.random()), 2 * smallest)
    steep, flat = 1 / (smallest * smallest), 1 / (largest * largest)
    area = 0.75 * math.pi * 2 * math.log(largest / smallest) / (steep - flat)  # mean; 0.75: what the lines leave
    n = max(int(COVERAGE * height * width / area), 8)
    radius = 1 / np.sqrt(steep - (steep - flat) * rng.random(n))  # the inverse of the distribution of r^-3
    thin = rng.random(n)
    stretch = np.sqrt(np.sqrt(1 + 8 * thin * thin * thin))
    axes = radius[:, None] * np.stack([stretch, 1 / stretch], axis=1)
    reach = axes[:, :1]
    centre = rng.random((n, 2)) * (np.array([width, height]) + 2 * reach) - reach
    lines = LINES[np.minimum(np.searchsorted(OFTEN, rng.random(n)), len(SHAPES) - 1)].copy()
    lines[..., 2] *= np.where(rng.random((n, 1)) < 0.5, 1.0, 0.7 + 0.3 * rng.random((n, SIDES)))
    shade = (rng.random((n, 3)) - np.array([0.5, 0.5, 0.0])) * 0.7 * rng.random((n, 1)) ** 2
    rough = rng.random(n) < 0.8
    texture = np.stack(
        [1.4 * rng.random(n) ** 2 * rough, _index(n, FIELDS, rng), _index(n, FIELD, rng), _index(n, FIELD, rng)], axis=1
    )
    period = 2.2 + 22 * rng.random((n, 2)) ** 2  # pixels
    striped = (rng.random((n, 1)) < 0.12) & (axes > 2 * period)
    kind = rng.random(n)
    along, across = kind < 0.7, (kind > 0.5) | (kind < 0.2)
    amount = (0.2 + 0.7 * rng.random(n)) * striped.all(1)
    stripes = np.stack([amount, along * axes[:, 0] / period[:, 0], across * axes[:, 1] / period[:, 1]], axis=1)
    leaves = Leaves(centre, axes, _turn(n, rng), lines, _coloured(n, palette, rng), shade, texture, stripes)
    depth = int(n * (0.3 + 0.7 * rng.random()))
    return leaves.part(slice(depth)), leaves.part(slice(depth, n))


def _index(n: int, below: int, rng: np.random.Generator) -> np.ndarray:
    return np.floor(rng.random(n) * below)


def _lettering(height: int, width: int, palette: np.ndarray, rng: np.random.Generator) -> Leaves:
    """Lines of letter-like strokes of one colour, anywhere, at any angle."""
    tall = 6 + 30 * rng.random() ** 2  # pixels
    wide, thick = tall * (0.5 + 0.3 * rng.random()), tall * (0.06 + 0.1 * rng.random())
    rows, columns = 1 + _count(rng, 6), 3 + _count(rng, 16)
    cell = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)  # x, y
    cell = cell[rng.random(len(cell)) < 0.85].repeat(3, axis=0)  # spaces between words; three strokes a letter
    stroke = STROKES[(rng.random(len(cell)) * len(STROKES)).astype(int)].reshape(-1, 2, 2)
    ends = (stroke * np.array([0.75, 0.7]) + cell[:, None]) * np.array([wide, tall])  # n 2 2
    return _bars(ends, thick, height, width, palette, rng)


def _grating(height: int, width: int, palette: np.ndarray, rng: np.random.Generator) -> Leaves:
    """Parallel bars, from a lone wire to a fence."""
    n = 1 if rng.random() < 0.4 else 3 + _count(rng, 20)
    thick = 0.7 + 4 * rng.random() ** 2
    pitch = thick * (1.6 + 2.5 * rng.random())
    length = max(height, width) * (0.1 + 0.9 * rng.random())
    x = pitch * np.arange(n)
    ends = np.stack([np.stack([x, np.zeros(n)], axis=1), np.stack([x, np.full(n, length)], axis=1)], axis=1)
    return _bars(ends, thick, height, width, palette, rng)


def _bars(
    ends: np.ndarray, thick: float, height: int, width: int, palette: np.ndarray, rng: np.random.Generator
) -> Leaves:
    """Rectangles of one colour along strokes (n 2 2: from x, y to x, y), turned and placed as a whole."""
    cosine, sine = _turn(1, rng)[0]
    ends = np.stack([cosine * ends[..., 0] - sine * ends[..., 1], sine * ends[..., 0] + cosine * ends[..., 1]], axis=-1)
    if len(ends):
        ends = ends - ends.reshape(-1, 2).mean(0) + rng.random(2) * np.array([width, height])
    along = ends[:, 1] - ends[:, 0]
    length = np.sqrt(along[:, 0] ** 2 + along[:, 1] ** 2)
    axes = np.stack([length + thick, np.full(len(ends), thick)], axis=1) * 0.70710678  # of the circle around a square
    colour = np.broadcast_to(_coloured(1, palette, rng), (len(ends), 6))
    return _plain(ends.mean(1), axes, along / length[:, None], BAR, colour)


def _labels(leaves: Leaves, height: int, width: int) -> np.ndarray:
    """SUB*H SUB*W, int32: the leaf in front at each sub-pixel."""
    rows, columns = SUB * height, SUB * width
    (cx, cy), (a, b), (cosine, sine) = leaves.centre.T, leaves.axes.T, leaves.turn.T
    half = np.sqrt((a * sine) ** 2 + (b * cosine) ** 2)
    first = np.clip(np.ceil(SUB * (cy - half) - 0.5), 0, rows).astype(int)
    after = np.clip(np.floor(SUB * (cy + half) - 0.5) + 1, 0, rows).astype(int)
    count = np.maximum(after - first, 0)
    leaf = np.repeat(np.arange(len(leaves), dtype=np.int32), count)  # of each span
    row = np.arange(len(leaf)) - np.repeat(np.cumsum(count) - count, count) + first[leaf]
    # Along a row, u = ux x + u0 and v = vx x + v0 with x from the centre; the disc keeps u^2 + v^2 <= 1.
    y = (row + 0.5) / SUB - cy[leaf]
    ux, vx = (cosine / a)[leaf], (-sine / b)[leaf]
    u0, v0 = (sine / a)[leaf] * y, (cosine / b)[leaf] * y
    square, product = ux * ux + vx * vx, ux * u0 + vx * v0
    root = np.sqrt(np.maximum(product * product - square * (u0 * u0 + v0 * v0 - 1), 0))
    low, high = (-product - root) / square, (-product + root) / square
    for side in range(SIDES):
        nx, ny, d = leaves.lines[:, side].T
        some = np.flatnonzero(((nx != 0) | (ny != 0))[leaf])
        which = leaf[some]
        slope = nx[which] * ux[some] + ny[which] * vx[some]
        rest = d[which] - nx[which] * u0[some] - ny[which] * v0[some]
        at = rest / np.where(slope == 0, 1, slope)
        high[some] = np.where(slope > 0, np.minimum(high[some], at), high[some])
        low[some] = np.where(slope < 0, np.maximum(low[some], at), low[some])
        high[some] = np.where((slope == 0) & (rest < 0), low[some], high[some])
    start = np.clip(np.ceil(SUB * (cx[leaf] + low) - 0.5), 0, columns).astype(int)
    stop = np.clip(np.ceil(SUB * (cx[leaf] + high) - 0.5), 0, columns).astype(int)
    length = stop - start
    start += row * columns

    # Spans come in the order of their leaves, so that later ones cover earlier ones; leaves in front have larger
    # numbers, so that the larger of two drawings is the one in front.
    some = np.flatnonzero((length > 0) & (length < LONG))
    size, short = length[some], np.zeros(rows * columns, np.int32)
    step = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    short[np.repeat(start[some], size) + step] = np.repeat(leaf[some], size)
    some = np.flatnonzero(length >= LONG)
    drawn = np.zeros(rows * columns, np.int32)
    for k, begin, end in zip(leaf[some].tolist(), start[some].tolist(), (start + length)[some].tolist(), strict=True):
        drawn[begin:end] = k
    return np.maximum(short, drawn).reshape(rows, columns)


def _rendered(leaves: Leaves, labels: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """H W 3, float32, about linear in light: the mean over the sub-pixels."""
    height, width = labels.shape[0] // SUB, labels.shape[1] // SUB
    (cx, cy), (a, b), (cosine, sine) = leaves.centre.T, leaves.axes.T, leaves.turn.T
    u = cosine / a, sine / a, -(cosine * cx + sine * cy) / a  # u = u[0] x + u[1] y + u[2]
    v = -sine / b, cosine / b, (sine * cx - cosine * cy) / b
    table = np.stack([*u, *v, *leaves.shade.T, leaves.texture[:, 0], *leaves.stripes.T, *leaves.colour.T]).astype(
        np.float32
    )  # 19 n
    where = leaves.texture[:, 1:].astype(np.int32).T
    parts = [np.ascontiguousarray(labels[i::SUB, j::SUB]).reshape(-1) for i in range(SUB) for j in range(SUB)]
    first = np.empty((3, height * width), np.float32)
    for begin in range(0, height * width, CHUNK):
        place = np.arange(begin, min(begin + CHUNK, height * width))
        first[:, place] = _shaded(parts[0][place], place, width, table, where, fields)
    mean = first.copy()
    for part in parts[1:]:  # only where another leaf is seen
        changed = np.flatnonzero(part != parts[0])
        for begin in range(0, len(changed), CHUNK):
            place = changed[begin : begin + CHUNK]
            seen = _shaded(part[place], place, width, table, where, fields)
            mean[:, place] += (seen - first[:, place]) * np.float32(1 / SUB**2)
    return mean.T.reshape(height, width, 3)


def _shaded(
    label: np.ndarray, place: np.ndarray, width: int, table: np.ndarray, where: np.ndarray, fields: np.ndarray
) -> np.ndarray:
    """3 n, float32: what leaves look like at pixels (place: row * width + column); squared, about linear in light."""
    row, column = np.divmod(place.astype(np.int32), np.int32(width))
    x, y = column.astype(np.float32) + np.float32(0.5), row.astype(np.float32) + np.float32(0.5)
    one = np.float32(1)
    ux, uy, u0, vx, vy, v0, along, across, fall, rough, striped, fu, fv, *colours = table[:, label]
    u, v = ux * x + uy * y + u0, vx * x + vy * y + v0
    field, right, down = where[:, label]
    texel = (field * FIELD + (row + down) % FIELD) * FIELD + (column + right) % FIELD
    mix = rough * fields[texel] + striped * _wave(u * fu) * _wave(v * fv)
    bright = one + along * u + across * v - fall * (u * u + v * v)
    out = np.empty((3, len(label)), np.float32)
    for c in range(3):
        value = np.clip((colours[c] + (colours[3 + c] - colours[c]) * mix) * bright, 0, 1)
        out[c] = value * value
    return out


def _wave(t: np.ndarray) -> np.ndarray:
    """A cosine-like wave of period 1 from parabolas; 1 at t = 0."""
    s = t + np.float32(0.75)
    s = s - np.floor(s) - np.float32(0.5)
    return np.float32(16) * s * (np.float32(0.5) - np.abs(s))


def _field(rng: np.random.Generator) -> np.ndarray:
    """FIELD FIELD, float32, about -1 to 1: noise summed over octaves, from cloudy to grainy, some with hard blots."""
    persistence = 0.7 + 0.6 * rng.random()  # amplitude of an octave relative to the coarser one
    finest = 2 if rng.random() < 0.3 else 1  # grain, pixels
    x = np.zeros((4, 4))
    amplitude, power = 1.0, 0.0
    while len(x) < FIELD:
        x = _doubled(_doubled(x).T).T
        if FIELD // len(x) >= finest:
            amplitude *= persistence
            power += amplitude**2
            x = x + amplitude * (2 * rng.random(x.shape) - 1)
    x = x / math.sqrt(power)
    return np.clip(x * 4 if rng.random() < 0.3 else x, -1, 1).astype(np.float32)


def _doubled(x: np.ndarray) -> np.ndarray:
    """Twice the rows, interpolated, cyclic."""
    out = np.empty((2 * len(x), x.shape[1]))
    out[0::2] = 0.75 * x + 0.25 * np.roll(x, 1, axis=0)
    out[1::2] = 0.75 * x + 0.25 * np.roll(x, -1, axis=0)
    return out


def _illumination(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """H W, float32: light falling unevenly on the scene, between a few points."""
    points = 1 - 0.6 * rng.random() * rng.random((4, 4))

    def weights(size: int) -> tuple[np.ndarray, np.ndarray]:
        position = np.arange(size) * (3 / size)
        low = np.minimum(position.astype(int), 2)
        share = position - low
        return low, share * share * (3 - 2 * share)

    (i, down), (j, right) = weights(height), weights(width)
    rows = points[i] + (points[i + 1] - points[i]) * down[:, None]
    return (rows[:, j] + (rows[:, j + 1] - rows[:, j]) * right).astype(np.float32)


def _softened(x: np.ndarray, amount: float) -> np.ndarray:
    """H W 3, mixed with itself through [1 2 1] / 4 along rows and columns; amount: 0 to 1."""
    side = np.float32(0.25 * amount)
    for axis in (0, 1):
        before, after = x.take(0, axis)[None], x.take(-1, axis)[None]
        lines = np.concatenate([before, np.moveaxis(x, axis, 0), after])
        x = np.moveaxis(side * (lines[:-2] + lines[2:]) + (1 - 2 * side) * lines[1:-1], 0, axis)
    return x
