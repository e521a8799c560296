"""The camera pipeline: one list of stages, read downwards to render and upwards to unprocess."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from isp.options import RenderOptions
from isp.parameters import RenderParameters, resolve
from isp.raw.image import RawImage
from isp.raw.metadata import RawMetadata
from isp.stages import defects, highlights
from isp.stages.colour import apply_matrix
from isp.stages.demosaic import demosaic, halo_of, mosaic
from isp.stages.encode import decode, encode
from isp.stages.exposure import expose
from isp.stages.geometry import crop, orient, uncrop, unorient
from isp.stages.hue_sat_map import apply_hue_sat_map, undo_hue_sat_map
from isp.stages.linearise import delinearise, linearise
from isp.stages.normalise import denormalise, normalise
from isp.stages.opcodes import apply_opcodes, undo_opcodes
from isp.stages.tone import apply_tone_curve, filmic, undo_filmic, undo_tone_curve
from isp.stages.white_balance import undo_white_balance, white_balance
from isp.tiling import tiled

Watch = Callable[[str, Tensor], None]  # called with each stage's name and result


class Stage(NamedTuple):
    name: str
    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    halo: int | None = 0  # pixels around a tile that `forward` looks at; None: it needs the whole frame


def sensor_stages(meta: RawMetadata) -> list[Stage]:
    """Stored counts to the linear mosaic, black 0 and white 1: what the file alone decides."""
    area, frame = meta.area, (meta.height, meta.width)
    opcodes1, opcodes2 = meta.opcode_list1, meta.opcode_list2
    return [
        Stage("opcodes1", lambda x: apply_opcodes(x, opcodes1), lambda x: undo_opcodes(x, opcodes1), None),
        Stage("linearise", lambda x: linearise(x, meta), lambda x: delinearise(x, meta), None),
        Stage("active-area", lambda x: crop(x, area), lambda x: uncrop(x, area, frame), None),
        Stage("normalise", lambda x: normalise(x, meta), lambda x: denormalise(x, meta), None),
        Stage("opcodes2", lambda x: apply_opcodes(x, opcodes2), lambda x: undo_opcodes(x, opcodes2), None),
    ]


def camera_stages(meta: RawMetadata, p: RenderParameters) -> list[Stage]:
    """The linear mosaic to white-balanced camera RGB."""
    cfa, opcodes3 = meta.cfa, meta.opcode_list3
    stages = []
    if p.fix_defects and meta.kind != "linear":
        stages.append(Stage("defects", lambda x: defects.correct_defects(x, cfa), lambda x: x, defects.HALO))
    if meta.kind == "monochrome":
        return [*stages, Stage("monochrome", lambda x: x.expand(-1, 3, -1, -1), lambda x: x.mean(1, keepdim=True))]
    stages += [
        Stage("white-balance", lambda x: white_balance(x, p.gains, cfa), lambda x: undo_white_balance(x, p.gains, cfa)),
    ]
    if cfa is not None:
        stages.append(
            Stage(
                "demosaic",
                lambda x: demosaic(x, cfa, p.demosaic, p.noise),
                lambda x: mosaic(x, cfa),
                halo_of(p.demosaic, cfa),
            )
        )
    if p.highlights != "none":
        stages.append(
            Stage(
                "highlights",
                lambda x: highlights.treat_highlights(x, p.gains, p.highlights),
                lambda x: x,
                highlights.HALO[p.highlights],
            )
        )
    if opcodes3:  # they are stated for camera RGB before white balance
        stages.append(
            Stage(
                "opcodes3",
                lambda x: white_balance(apply_opcodes(undo_white_balance(x, p.gains), opcodes3), p.gains),
                lambda x: white_balance(undo_opcodes(undo_white_balance(x, p.gains), opcodes3), p.gains),
                None,
            )
        )
    return stages


def display_stages(meta: RawMetadata, p: RenderParameters) -> list[Stage]:
    """White-balanced camera RGB to the picture: scene-linear where p.linear, else display-encoded in p.space."""
    stages = []
    if p.space != "camera":
        stages.append(matrix_stage("colour", p.cam_to_prophoto))
        if p.hue_sat_map is not None:
            table, encoding = p.hue_sat_map, p.hue_sat_map_encoding
            stages.append(
                Stage(
                    "hue-sat-map",
                    lambda x: apply_hue_sat_map(x, table, encoding),
                    lambda x: undo_hue_sat_map(x, table, encoding),
                )
            )
    stages.append(Stage("exposure", lambda x: expose(x, p.exposure_ev), lambda x: expose(x, -p.exposure_ev)))
    if p.space != "camera":
        if p.look_table is not None:
            look, look_encoding = p.look_table, p.look_table_encoding
            stages.append(
                Stage(
                    "look-table",
                    lambda x: apply_hue_sat_map(x, look, look_encoding),
                    lambda x: undo_hue_sat_map(x, look, look_encoding),
                )
            )
        if p.tone_curve is not None:
            curve = p.tone_curve
            stages.append(
                Stage("tone-curve", lambda x: apply_tone_curve(x, curve), lambda x: undo_tone_curve(x, curve))
            )
        stages.append(matrix_stage("output-primaries", p.prophoto_to_output))
        if not p.linear:
            if p.look == "standard" and p.tone_curve is None:
                stages.append(Stage("filmic", filmic, undo_filmic))
            stages.append(Stage("encode", lambda x: encode(x, p.space), lambda x: decode(x, p.space)))
    top, left, bottom, right = meta.area
    size = (bottom - top, right - left)
    stages += [
        Stage("default-crop", lambda x: crop(x, meta.crop), lambda x: uncrop(x, meta.crop, size), None),
        Stage("orient", lambda x: orient(x, meta.orientation), lambda x: unorient(x, meta.orientation), None),
    ]
    return stages


def matrix_stage(name: str, matrix: object) -> Stage:
    """A 3x3 matrix on the channels, and its inverse."""
    import numpy as np

    forward = np.asarray(matrix, dtype=np.float64)
    inverse = np.linalg.inv(forward)
    return Stage(name, lambda x: apply_matrix(x, forward), lambda x: apply_matrix(x, inverse))


def run(stages: Sequence[Stage], x: Tensor, watch: Watch | None = None) -> Tensor:
    """x through the stages in order. Where nobody watches and no gradient is asked for, neighbouring local stages run
    together, tile by tile."""
    if watch is not None or (x.requires_grad and torch.is_grad_enabled()):
        for stage in stages:
            x = stage.forward(x)
            if watch is not None:
                watch(stage.name, x)
        return x
    for local, group in groupby(stages, key=lambda stage: stage.halo is not None):
        run_of_stages = list(group)

        def through(part: Tensor, run_of_stages: list[Stage] = run_of_stages) -> Tensor:
            for stage in run_of_stages:
                part = stage.forward(part)
            return part

        x = tiled(through, x, sum(stage.halo or 0 for stage in run_of_stages)) if local else through(x)
    return x


def render(
    raw: RawImage,
    options: RenderOptions = RenderOptions(),
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    watch: Watch | None = None,
) -> Tensor:
    """The picture of a raw frame: 1 3 H W, encoded for options.space (linear where options.linear), not clipped.

    H and W are those of the default crop after orientation. Values outside [0, 1] are colours or brightnesses that
    the output cannot show; isp.save clips them where the format must. Differentiate through it by running the lists
    of stages on a tensor of your own: see develop().
    """
    return develop(raw.tensor(device, dtype), raw.meta, options, watch=watch)[0]


def develop(
    counts: Tensor, meta: RawMetadata, options: RenderOptions = RenderOptions(), *, watch: Watch | None = None
) -> tuple[Tensor, RenderParameters]:
    """The picture and the parameters that made it, from a tensor of counts (DN), B 1 H W or B 3 H W, with gradients
    where it asks for them."""
    x = run(sensor_stages(meta), counts, watch)
    p = resolve(meta, options, x)
    return run([*camera_stages(meta, p), *display_stages(meta, p)], x, watch), p


def unprocess(picture: Tensor, meta: RawMetadata, options: RenderOptions = RenderOptions()) -> Tensor:
    """Counts (DN) whose render is the picture: B 1 H W (B 3 H W for a linear file), the size of meta, unquantised.

    picture: B 3 h w, as `render` returns it. The inverse of `render` wherever nothing was clipped; what lies outside
    the default crop is filled from its edge. Raises ValueError for an estimated white balance: there is no mosaic to
    look at.
    """
    p = resolve(meta, options)
    x = picture
    for stage in reversed([*sensor_stages(meta), *camera_stages(meta, p), *display_stages(meta, p)]):
        x = stage.inverse(x)
    return x
