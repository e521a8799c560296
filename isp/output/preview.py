"""What a notebook shows for a raw frame: a thumbnail and what the file says. NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isp.output.page import Html, picture, table, tag
from isp.output.viewer import Show, by_colour, reduced, shown
from isp.primaries import XYZ_D50_TO_PROPHOTO, prophoto_to
from isp.raw.colour import camera_to_xyz_d50, has_colour, neutral_to_xy, xy_to_neutral

if TYPE_CHECKING:
    from isp.raw.image import RawImage
    from isp.raw.metadata import RawMetadata

SIDE = 480  # pixels: the longer side of a thumbnail is at most this


def raw_html(raw: RawImage) -> Html:
    """A thumbnail and a table of the metadata, with the origin of each entry."""
    rows = [
        [label, text, raw.meta.origins.get(name, "default" if raw.meta.origins else "")]
        for name, label, text in _facts(raw.meta)
    ]
    if raw.path is not None:
        rows.insert(0, ["file", str(raw.path), ""])
    image = picture(thumbnail(raw), alt="thumbnail", kind="jpeg")
    return tag("div", image, table(rows, ("RawImage", "", "from")))


def thumbnail(raw: RawImage, side: int = SIDE) -> np.ndarray:
    """H W 3, uint8, sRGB: the default crop the way up it is shown, each pixel the mean of squares of the mosaic; white
    balance and matrix as the file states them, clipped, without opcodes, look or tone curve."""
    meta = raw.meta
    top, left = meta.area[:2]
    t, l, b, r = meta.crop  # noqa: E741
    counts = raw.mosaic[top + t : top + b, left + l : left + r]
    period = meta.cfa.rows if meta.cfa else 1
    factor = -(-max(counts.shape[:2]) // (side * period)) * period
    if meta.linearization_table is not None:
        counts = meta.linearization_table[np.minimum(counts, len(meta.linearization_table) - 1).astype(np.int64)]
    if meta.cfa is not None:
        rgb = by_colour(counts, meta.cfa.shifted(t, l), factor)
    else:
        rgb = reduced(counts.reshape(*counts.shape[:2], -1), factor)
    black = meta.black_level.mean((0, 1))
    rgb = (rgb - black) / np.maximum(meta.white_level - black.max(), 1e-9)
    if rgb.shape[2] == 1:
        return _upright(np.repeat(shown(rgb, Show(), "srgb"), 3, 2), meta.orientation)
    neutral, matrix = _colour(meta)
    balanced = np.minimum(rgb / neutral, 1) * 2.0**meta.baseline_exposure
    return _upright(shown(balanced, Show(matrix=matrix), "srgb"), meta.orientation)


def _colour(meta: RawMetadata) -> tuple[np.ndarray, np.ndarray | None]:
    """Camera RGB of the as-shot neutral, and 3x3 from balanced camera RGB to linear sRGB, where the file has one."""
    neutral = meta.as_shot_neutral
    if neutral is None and meta.as_shot_white_xy is not None and has_colour(meta):
        neutral = xy_to_neutral(meta, meta.as_shot_white_xy)
    neutral = np.ones(3) if neutral is None else neutral / neutral.max()
    if not has_colour(meta):
        return neutral, None
    to_xyz = camera_to_xyz_d50(meta, neutral_to_xy(meta, neutral), neutral) @ np.diag(neutral)
    return neutral, prophoto_to("srgb") @ XYZ_D50_TO_PROPHOTO @ to_xyz


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """As isp.stages.geometry.orient, of H W C."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _facts(meta: RawMetadata) -> list[tuple[str, str, Any]]:
    """Field, label and text of what a reader looks for first; what the file does not say is left out."""

    def numbers(values: Any) -> str:
        flat = np.unique(np.ravel(values)) if np.ptp(values) == 0 else np.ravel(values)
        return " ".join(f"{v:.5g}" for v in flat) if flat.size <= 16 else f"{flat.size} values"

    camera = meta.unique_camera_model or " ".join(filter(None, (meta.make, meta.model)))
    top, left, bottom, right = meta.area
    t, l, b, r = meta.crop  # noqa: E741
    facts: list[tuple[str, str, Any]] = [
        ("unique_camera_model", "camera", camera),
        ("lens_model", "lens", meta.lens_model),
        ("iso", "ISO", meta.iso and f"{meta.iso:g}"),
        ("exposure_time", "exposure", meta.exposure_time and _seconds(meta.exposure_time)),
        ("f_number", "aperture", meta.f_number and f"f/{meta.f_number:g}"),
        ("focal_length", "focal length", meta.focal_length and f"{meta.focal_length:g} mm"),
        ("date_time", "taken", meta.date_time),
        ("cfa", "kind", f"{meta.kind}, {meta.cfa}" if meta.cfa else meta.kind),
        ("height", "stored", f"{meta.width} x {meta.height} pixels"),
        ("active_area", "active area", f"{right - left} x {bottom - top} from column {left}, row {top}"),
        ("default_crop_size", "default crop", f"{r - l} x {b - t} from column {l}, row {t} of the active area"),
        ("orientation", "orientation", str(meta.orientation)),
        ("black_level", "black level", f"{numbers(meta.black_level)} DN"),
        ("white_level", "white level", f"{numbers(meta.white_level)} DN"),
        ("as_shot_neutral", "as-shot neutral", None if meta.as_shot_neutral is None else numbers(meta.as_shot_neutral)),
        ("baseline_exposure", "baseline exposure", f"{meta.baseline_exposure:+g} EV"),
        ("color_matrix1", "colour matrices", _matrices(meta)),
        ("noise_profile", "noise profile", None if meta.noise_profile is None else numbers(meta.noise_profile)),
    ]
    for number, opcodes in enumerate((meta.opcode_list1, meta.opcode_list2, meta.opcode_list3), 1):
        names = ", ".join(type(opcode).__name__ for opcode in opcodes)
        facts.append((f"opcode_list{number}", f"opcodes {number}", names))
    return [fact for fact in facts if fact[2]]


def _seconds(time: float) -> str:
    return f"{time:g} s" if time >= 0.3 else f"1/{1 / time:.0f} s"


def _matrices(meta: RawMetadata) -> str:
    found = [name for name in ("color_matrix", "forward_matrix", "camera_calibration") for i in (1, 2, 3)
             if getattr(meta, f"{name}{i}") is not None]  # fmt: skip
    return ", ".join(f"{name} x {found.count(name)}" for name in dict.fromkeys(found))
