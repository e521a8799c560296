"""The camera pipeline: one list of stages, read downwards to render and upwards to unprocess."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from isp.options import RenderOptions
from isp.parameters import RenderParameters, resolve
from isp.raw.cfa import CFA
from isp.raw.errors import UnsupportedRawError
from isp.raw.image import RawImage
from isp.raw.metadata import RawMetadata
from isp.raw.opcodes import Opcode
from isp.stages.colour import apply_matrix
from isp.stages.defects import HALO as DEFECTS_HALO
from isp.stages.defects import correct_defects
from isp.stages.demosaic import demosaic, halo_of, mosaic
from isp.stages.encode import decode, encode
from isp.stages.exposure import expose
from isp.stages.gamut import compress_gamut, expand_gamut
from isp.stages.geometry import crop, orient, uncrop, unorient
from isp.stages.highlights import HALO as HIGHLIGHTS_HALO
from isp.stages.highlights import saturate_whites, treat_highlights
from isp.stages.hue_sat_map import apply_hue_sat_map, undo_hue_sat_map
from isp.stages.linearise import delinearise, linearise
from isp.stages.network import demosaic_by_network
from isp.stages.normalise import denormalise, normalise
from isp.stages.opcodes import after_trims, apply_opcodes, lens_shading, undo_opcodes
from isp.stages.tone import apply_tone_curve, filmic, undo_filmic, undo_tone_curve
from isp.stages.white_balance import undo_white_balance, white_balance
from isp.tiling import tiled

if TYPE_CHECKING:
    from isp.cameras import Camera

Watch = Callable[[str, Tensor], None]  # called with each stage's name and result


class Stage(NamedTuple):
    name: str
    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    halo: int | None = 0  # pixels around a tile that `forward` looks at; None: it needs the whole frame


def sensor_stages(meta: RawMetadata) -> list[Stage]:
    """Stored counts to the linear mosaic, black 0 and white 1: what the file alone decides."""
    top, left, _, _ = meta.area
    frame = (meta.height, meta.width)
    area = after_trims(meta.area, meta.opcode_list1)
    trimmed = box_size(after_trims((0, 0, *frame), meta.opcode_list1))
    if box_size(area) != active_size(meta):
        raise UnsupportedRawError(f"OpcodeList1 trims into the active area {meta.area} (top, left, bottom, right)")
    stages = []
    if meta.opcode_list1:
        stored_cfa = meta.cfa and meta.cfa.shifted(-top, -left)  # seen from the frame's corner, not the active area's
        stages.append(opcode_stage("opcodes1", meta.opcode_list1, frame, stored_cfa, counts=True))
    stages += [
        Stage("linearise", lambda x: linearise(x, meta), lambda x: delinearise(x, meta), None),
        Stage("active-area", lambda x: crop(x, area), lambda x: uncrop(x, area, trimmed), None),
        Stage("normalise", lambda x: normalise(x, meta), lambda x: denormalise(x, meta), None),
    ]
    if meta.opcode_list2:
        stages.append(opcode_stage("opcodes2", meta.opcode_list2, active_size(meta), meta.cfa))
    return stages


def camera_stages(
    meta: RawMetadata, p: RenderParameters, keep_highlights: bool = False, progress: bool = False
) -> list[Stage]:
    """The linear mosaic to white-balanced camera RGB. keep_highlights: read upwards, the picture's white saturates.
    progress: show how far a model has come."""
    cfa, gains = meta.cfa, p.gains
    stages = []
    if p.fix_defects and meta.kind != "linear":
        stages.append(Stage("defects", lambda x: correct_defects(x, cfa), lambda x: x, DEFECTS_HALO))
    if meta.kind == "monochrome":
        stages.append(Stage("monochrome", lambda x: x.expand(-1, 3, -1, -1), lambda x: x.mean(1, keepdim=True)))
    else:
        stages.append(
            Stage("white-balance", lambda x: white_balance(x, gains, cfa), lambda x: undo_white_balance(x, gains, cfa))
        )
    if cfa is not None and p.model is not None:
        stages.append(Stage("network", lambda x: by_model(x, meta, p, progress), lambda x: mosaic(x, cfa), None))
    elif cfa is not None:
        reach = halo_of(p.demosaic, cfa)
        stages.append(
            Stage("demosaic", lambda x: demosaic(x, cfa, p.demosaic, p.noise), lambda x: mosaic(x, cfa), reach)
        )
    if p.highlights != "none":
        reach = HIGHLIGHTS_HALO[p.highlights]
        whites = 2.0**-p.exposure_ev  # camera RGB of the picture's white
        stages.append(
            Stage(
                "highlights",
                lambda x: treat_highlights(x, gains, p.highlights, shading_of(meta, x)),
                lambda x: saturate_whites(x, gains, whites) if keep_highlights else x,
                reach,
            )
        )
    if meta.opcode_list3:
        trimmed = box_size(after_trims((0, 0, *active_size(meta)), meta.opcode_list2))
        stages.append(before_white_balance(opcode_stage("opcodes3", meta.opcode_list3, trimmed), gains))
    return stages


def display_stages(meta: RawMetadata, p: RenderParameters) -> list[Stage]:
    """White-balanced camera RGB to the picture: scene-linear where p.linear, else display-encoded in p.space."""
    stages = []
    if p.space != "camera":
        stages.append(matrix_stage("colour", p.cam_to_prophoto))
        if p.hue_sat_map is not None:
            stages.append(table_stage("hue-sat-map", p.hue_sat_map, p.hue_sat_map_encoding))
    stages.append(Stage("exposure", lambda x: expose(x, p.exposure_ev), lambda x: expose(x, -p.exposure_ev)))
    if p.space != "camera":
        if p.look_table is not None:
            stages.append(table_stage("look-table", p.look_table, p.look_table_encoding))
        if p.tone_curve is not None:
            curve = p.tone_curve
            stages.append(Stage("tone", lambda x: apply_tone_curve(x, curve), lambda x: undo_tone_curve(x, curve)))
        stages.append(matrix_stage("output-primaries", p.prophoto_to_output))
        if p.look == "standard" and not p.linear:
            stages.append(Stage("gamut", compress_gamut, expand_gamut))
            if p.tone_curve is None:
                stages.append(Stage("tone", filmic, undo_filmic))
        if not p.linear:
            stages.append(Stage("encode", lambda x: encode(x, p.space), lambda x: decode(x, p.space)))
    opcodes = (*meta.opcode_list2, *meta.opcode_list3)
    size = box_size(after_trims((0, 0, *active_size(meta)), opcodes))
    box = after_trims(meta.crop, opcodes)
    stages += [
        Stage("default-crop", lambda x: crop(x, box), lambda x: uncrop(x, box, size), None),
        Stage("orient", lambda x: orient(x, meta.orientation), lambda x: unorient(x, meta.orientation), None),
    ]
    return stages


def by_model(x: Tensor, meta: RawMetadata, p: RenderParameters, progress: bool) -> Tensor:
    """The white-balanced mosaic B 1 H W to camera RGB B 3 H W, by the model of the parameters."""
    from isp.nets.load import open_model

    assert p.model is not None
    assert meta.cfa is not None
    model = open_model(p.model, p.runtime, p.precision)
    if "sigma" in model.config.inputs and p.noise_profile is None:
        raise ValueError(
            f"model {p.model!r} is told the noise, which is unknown; resolve(meta, options, linear) finds it"
        )
    if p.runtime == "torch":
        model.to(x.device)
    shading = lens_shading(x, meta.opcode_list2, meta.cfa)
    return demosaic_by_network(
        x, meta.cfa, model, p.gains, p.noise_profile, strength=p.strength, shading=shading, progress=progress
    )


def shading_of(meta: RawMetadata, x: Tensor) -> Tensor | None:
    """1 3 H W: what the lens-shading correction in OpcodeList2 made of a sample of 1, in each channel of x, which is
    B 3 H W; None where there is no such correction."""
    factor = lens_shading(x[:, : meta.samples], meta.opcode_list2, meta.cfa)
    if factor is None or meta.cfa is None:
        return factor
    channels = torch.from_numpy(meta.cfa.channel_map(*x.shape[-2:])).to(x.device)
    measured = (channels == torch.arange(3, device=x.device).view(1, 3, 1, 1)).to(x.dtype)  # 1 3 H W
    side = meta.cfa.rows + 1  # a window that holds every colour; shading is smooth, so its mean will do
    total, count = (avg_pool2d(m, side, 1, side // 2) for m in (factor * measured, measured))
    return total / count


def opcode_stage(
    name: str, opcodes: tuple[Opcode, ...], size: tuple[int, int], cfa: CFA | None = None, counts: bool = False
) -> Stage:
    """An opcode list on a frame of this size."""
    return Stage(
        name,
        lambda x: apply_opcodes(x, opcodes, cfa=cfa, counts=counts),
        lambda x: undo_opcodes(x, opcodes, cfa=cfa, counts=counts, size=size),
        None,
    )


def before_white_balance(stage: Stage, gains: np.ndarray) -> Stage:
    """The stage on camera RGB as the sensor saw it, inside a pipeline that has it white-balanced."""
    return stage._replace(
        forward=lambda x: white_balance(stage.forward(undo_white_balance(x, gains)), gains),
        inverse=lambda x: white_balance(stage.inverse(undo_white_balance(x, gains)), gains),
    )


def table_stage(name: str, table: np.ndarray, encoding: int) -> Stage:
    """A hue/saturation/value table on linear ProPhoto RGB, and its inverse."""
    return Stage(name, lambda x: apply_hue_sat_map(x, table, encoding), lambda x: undo_hue_sat_map(x, table, encoding))


def matrix_stage(name: str, matrix: np.ndarray) -> Stage:
    """A 3x3 matrix on the channels, and its inverse."""
    back = np.linalg.inv(matrix)
    return Stage(name, lambda x: apply_matrix(x, matrix), lambda x: apply_matrix(x, back))


def active_size(meta: RawMetadata) -> tuple[int, int]:
    """Height and width of the active area."""
    return box_size(meta.area)


def box_size(box: tuple[int, int, int, int]) -> tuple[int, int]:
    """Height and width of top, left, bottom, right."""
    top, left, bottom, right = box
    return bottom - top, right - left


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
    progress: bool = False,
) -> Tensor:
    """The picture of a raw frame: 1 3 H W, encoded for options.space (linear where options.linear), not clipped.

    H and W are those of the default crop after orientation. Values outside [0, 1] are colours or brightnesses that
    the output cannot show; isp.save clips them where the format must. Differentiate through it by running the lists
    of stages on a tensor of your own: see develop(). progress: a bar on stderr where a model takes seconds.
    """
    return develop(raw.tensor(device, dtype), raw.meta, options, watch=watch, progress=progress)[0]


def develop(
    counts: Tensor,
    meta: RawMetadata,
    options: RenderOptions = RenderOptions(),
    *,
    watch: Watch | None = None,
    progress: bool = False,
) -> tuple[Tensor, RenderParameters]:
    """The picture and the parameters that made it, from a tensor of counts (DN), B 1 H W or B 3 H W, with gradients
    where it asks for them."""
    x = run(sensor_stages(meta), counts, watch)
    p = resolve(meta, options, x)
    return run([*camera_stages(meta, p, progress=progress), *display_stages(meta, p)], x, watch), p


def unprocess(
    picture: Tensor,
    camera: RawMetadata | Camera,
    options: RenderOptions = RenderOptions(),
    *,
    to: str | None = None,
    keep_highlights: bool = False,
    **frame: Any,
) -> Tensor:
    """Counts (DN) whose render with these options is the picture: B 1 H W (B 3 H W for a linear file), unquantised.

    picture: B 3 h w, as `render` returns it; a photograph counts as a render in sRGB. camera: the metadata of the frame
    that is wanted; or a Camera, short for camera.metadata(h, w, **frame), with temperature=3200 and the like.
    to: stop at the result of an earlier stage: "normalise" is the linear mosaic that the sensor saw, shading in it,
    black 0 and white 1; "demosaic" the white-balanced linear camera RGB, B 3 H W; None: the counts.
    keep_highlights: what the picture shows as white saturates the sensor, as it would have done
    (isp.stages.highlights.saturate_whites); else white is as bright as the picture says and no more.

    The inverse of `render` wherever nothing was clipped; what lies outside the default crop is filled from its edge.
    In float32 the error is below 1e-6 of full scale for the neutral look, and about 1e-5 where the standard look's
    shoulder is steepest. Nothing is clipped here either: a picture of the standard look holds light up to 25 times
    the sensor's range.
    Raises ValueError for a picture that does not fit the frame and for an estimated white balance, which has no mosaic
    to look at.
    """
    from isp.cameras import Camera

    if isinstance(camera, Camera):
        camera = camera.metadata(*picture.shape[-2:], **frame)
    elif frame:
        raise ValueError(f"{next(iter(frame))} is for a Camera; a RawMetadata says it already")
    p = resolve(camera, options)
    if keep_highlights and p.highlights == "none":
        raise ValueError("keep_highlights needs a render that treats highlights; these options say highlights='none'")
    stages = [*sensor_stages(camera), *camera_stages(camera, p, keep_highlights), *display_stages(camera, p)]
    return undo(stages, picture, to)


def undo(stages: Sequence[Stage], x: Tensor, to: str | None = None) -> Tensor:
    """What `run` turns into x, with the stages' inverses from the last to the first; to: down to the named stage's
    result."""
    names = [stage.name for stage in stages]
    if to is not None and to not in names:
        raise ValueError(f"no stage {to!r} in this pipeline; its stages are {', '.join(names)}")
    first = 0 if to is None else names.index(to) + 1
    for stage in reversed(stages[first:]):
        x = stage.inverse(x)
    return x
