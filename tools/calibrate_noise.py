"""Calibrate a sensor's noise from its frames: gain, read noise, row noise, dark offset, and a profile over ISO.

    python -m tools.calibrate_noise static/*.dng --dark dark/*.dng -o imx296
    python -m tools.calibrate_noise iso100/*.dng iso400/*.dng iso1600/*.dng --name my-camera -o my-camera
    python -m tools.calibrate_noise flat_a1.dng flat_a2.dng flat_b1.dng flat_b2.dng -o flats
    python -m tools.calibrate_noise night.dng -o night

Frames of one ISO and one exposure time are taken as one burst of one still scene: two or more, with bright and dark
parts (out of focus is best), or flat frames at several exposures. --dark frames (lens cap on, same ISOs) give the dark
offset. A single frame works too, but detail passes for noise, and row noise cannot be seen: its figures are marked as
estimates.

Written are OUT.yaml, a noise profile for isp.noise.load_profile; OUT.json, every figure with its 95 % interval and the
DNG NoiseProfile (S, O of red, green, blue) of each ISO; and OUT.html, a page with the figures and the photon-transfer
plot, which is OUT.png too (matplotlib draws it: pip install 'isp[plots]'). Intervals are analytic: the scatter of the
sites, and the misfit of the straight line. Dark frames, and the darkest parts of others, enter the line only where
their variance is above 0.5 DN^2: below that, rounding to whole DN does not act as noise of 1/12.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from isp.noise.calibrate import Line, Rows, Transfer
    from isp.noise.profile import NoiseProfile
    from isp.raw import RawImage, RawMetadata

SITES = ("top left", "top right", "bottom left", "bottom right")


class RefusedError(Exception):
    """Frames that cannot be calibrated from: one line."""


@dataclass
class IsoResult:
    """What the frames of one ISO gave."""

    iso: float
    zero: list[float]  # DN per site
    transfer: Transfer | None = None  # None for a single frame
    estimate: tuple[float, float] | None = None  # K, read variance in DN^2, from one frame
    rows: Rows | None = None
    dark: dict[str, Any] = field(default_factory=dict)

    def gain(self, plane: int) -> float:
        if self.transfer is None:
            assert self.estimate is not None
            return self.estimate[0]
        return self.transfer.line(plane).gain.value

    def read(self, plane: int) -> float:
        if self.transfer is None:
            assert self.estimate is not None
            return self.estimate[1]
        return self.transfer.line(plane).read.value


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.calibrate_noise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "frames", nargs="+", type=Path, metavar="FRAME", help="raw files of still scenes, or flat frames"
    )
    parser.add_argument("--dark", nargs="+", type=Path, default=[], metavar="FRAME", help="dark frames, lens cap on")
    parser.add_argument("-o", "--output", type=Path, default=Path("noise"), metavar="OUT", help="base name (noise)")
    parser.add_argument("--name", help="name of the profile (the camera's, from the file)")
    parser.add_argument("--iso", type=float, help="ISO of all frames, instead of what the files say")
    parser.add_argument("-Y", "--overwrite", action="store_true", help="replace existing files")
    args = parser.parse_args(argv)
    try:
        run(args)
    except (RefusedError, ValueError, OSError) as error:
        print(f"calibrate_noise: {error}", file=sys.stderr)
        return 1
    return 0


def run(args: argparse.Namespace) -> None:
    outputs = {kind: args.output.with_name(f"{args.output.name}.{kind}") for kind in ("yaml", "json", "html", "png")}
    for path in outputs.values():
        if path.exists() and not args.overwrite:
            raise RefusedError(f"{path} exists; -Y replaces it")
    from tqdm import tqdm

    with tqdm(total=2 * len(args.frames) + 2 * len(args.dark), unit="frame", disable=None, leave=False) as bar:
        scenes, meta = sort_frames(args.frames, args.iso, bar)
        darks, dark_meta = sort_frames(args.dark, args.iso, bar) if args.dark else ({}, meta)
        if (dark_meta.cfa, dark_meta.area) != (meta.cfa, meta.area):
            raise RefusedError("dark frames and frames are of different sensors: their CFA or active area differs")
        results = [calibrate_iso(iso, bursts, darks.get(iso, {}), meta, bar) for iso, bursts in sorted(scenes.items())]
    profile = make_profile(results, meta, args.name)
    record = {"frames": [str(path) for path in args.frames], "dark": [str(path) for path in args.dark]}
    report = make_report(results, profile, meta) | record
    lines = describe(results, profile, meta)
    print(*lines, sep="\n")
    from isp.files import whole_file
    from isp.output.page import write_page

    profile.save(outputs["yaml"], args.overwrite)
    with whole_file(outputs["json"], args.overwrite) as part:
        part.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    fig = plot(results, profile)
    if fig is not None:
        with whole_file(outputs["png"], args.overwrite) as part:
            fig.savefig(part, dpi=120, format="png")
    else:
        outputs.pop("png")
    write_page(outputs["html"], make_page(results, profile, meta, lines, fig), args.overwrite)
    print("written: " + ", ".join(str(path) for path in outputs.values()))


Bursts = dict[float | None, list[Path]]  # exposure time: files


def sort_frames(paths: list[Path], iso: float | None, bar: Any) -> tuple[dict[float, Bursts], RawMetadata]:
    """Files by ISO and exposure time, and what they say about the sensor."""
    sorted_paths: dict[float, Bursts] = defaultdict(lambda: defaultdict(list))
    first: RawMetadata | None = None
    for path in paths:
        meta = read_frame(path).meta
        bar.update()
        if meta.kind not in ("bayer", "monochrome"):
            raise RefusedError(f"{path}: the sensor is {meta.kind}; calibration needs Bayer or monochrome")
        if first is None:
            first = meta
        if (meta.cfa, meta.area, meta.height, meta.width) != (first.cfa, first.area, first.height, first.width):
            raise RefusedError(
                f"{path}: differs from {paths[0]} in size or CFA; calibrate one sensor and mode at a time"
            )
        value = iso or meta.iso
        if not value:
            raise RefusedError(f"{path}: states no ISO; give it with --iso")
        sorted_paths[value][meta.exposure_time].append(path)
    assert first is not None
    return sorted_paths, first


def read_frame(path: Path) -> RawImage:
    from isp.raw import read

    return read(path)


def counts(path: Path, bar: Any) -> np.ndarray:
    """H W, DN of the active area, even in size, with LinearizationTable applied."""
    import numpy as np

    raw = read_frame(path)
    bar.update()
    top, left, bottom, right = raw.meta.area
    mosaic = raw.mosaic[top:bottom, left:right]
    mosaic = mosaic[: mosaic.shape[0] // 2 * 2, : mosaic.shape[1] // 2 * 2]
    table = raw.meta.linearization_table
    return mosaic if table is None else table[np.clip(mosaic, 0, len(table) - 1)]


def black_levels(meta: RawMetadata) -> np.ndarray:
    """4, DN: BlackLevel of the sites of the 2x2 block (its mean where the repeat is larger)."""
    import numpy as np

    repeat = meta.black_level[:, :, 0]
    rows, cols = repeat.shape
    tiled = np.tile(repeat, (2 // np.gcd(rows, 2), 2 // np.gcd(cols, 2)))
    return np.array([tiled[y::2, x::2].mean() for y in (0, 1) for x in (0, 1)])


def calibrate_iso(iso: float, bursts: Bursts, darks: Bursts, meta: RawMetadata, bar: Any) -> IsoResult:
    from isp.noise import calibrate as c

    white = float(meta.white_level[0])
    black = black_levels(meta)
    result = IsoResult(iso, [float(level) for level in black])
    groups: list[c.Groups] = []
    dark_paths = [path for paths in darks.values() for path in paths]
    if dark_paths:
        frames = [counts(path, bar) for path in dark_paths]
        planes = [[frame[y::2, x::2] for frame in frames] for y in (0, 1) for x in (0, 1)]
        offsets = [
            c.dark_offset([p.mean() for p in plane], float(plane[0].std()) / plane[0].size ** 0.5) for plane in planes
        ]
        result.zero = [offset.value for offset in offsets]
        whole = c.dark_offset([frame.mean() for frame in frames], float(frames[0].std()) / frames[0].size ** 0.5)
        result.dark = {"frames": len(frames), "offset": whole, "offset_per_site": offsets}
        if len(frames) > 1:
            statistics = c.burst_statistics(frames, white)
            dark = c.dark_groups(statistics)
            result.dark |= {"variance_per_site": dark.variance.tolist(), "rows": c.row_statistics(statistics)}
            groups.append(dark)
    lone = [paths[0] for paths in bursts.values() if len(paths) == 1]
    still = {time: paths for time, paths in bursts.items() if len(paths) > 1}
    if not still:
        if len(lone) > 1:
            print(f"ISO {iso:g}: {len(lone)} single frames; {lone[0]} is used", file=sys.stderr)
        result.estimate = estimate_single(lone[0], meta, bar)
        return result
    if lone:
        print(f"ISO {iso:g}: left out {len(lone)} frame(s) that no other has the exposure time of", file=sys.stderr)
    longest = max(still.values(), key=len)
    for paths in still.values():
        statistics = c.burst_statistics((counts(path, bar) for path in paths), white)
        groups.append(c.brightness_groups(statistics, result.zero))
        if paths is longest:
            result.rows = c.row_statistics(statistics)
    result.transfer = c.fit_transfer(c.join(groups))
    return result


def estimate_single(path: Path, meta: RawMetadata, bar: Any) -> tuple[float, float]:
    """(K, read variance in DN^2) from one frame."""
    import numpy as np
    import torch

    from isp.noise.estimate import estimate_noise

    mosaic, black = counts(path, bar).astype(np.float64), black_levels(meta)
    for plane in range(4):
        y, x = divmod(plane, 2)
        mosaic[y::2, x::2] -= black[plane]
    scale = dn_scale(meta)
    shot, read = estimate_noise(torch.from_numpy(mosaic / scale).float()[None, None])
    return float(shot[0, 0]) * scale, float(read[0, 0]) * scale**2


def dn_scale(meta: RawMetadata) -> float:
    """DN between black and white, as the stage `normalise` counts it: from the largest black level."""
    return float(meta.white_level[0] - meta.black_level.max())


def make_profile(results: list[IsoResult], meta: RawMetadata, name: str | None) -> NoiseProfile:
    from isp.noise.profile import NoiseProfile, TableRow

    scale = dn_scale(meta)
    camera = " ".join(part for part in (meta.make, meta.model) if part) or "unknown camera"
    single = all(result.transfer is None for result in results)
    rows = []
    for result in results:
        same = result.transfer is None or result.transfer.agree
        planes = range(1) if same else range(4)
        rows.append(
            TableRow(
                iso=result.iso,
                shot=tuple(significant(result.gain(p) / scale) for p in planes),
                read=tuple(significant(result.read(p) / scale**2) for p in planes),
                row=significant(result.rows.row_noise.value**2 / scale**2) if result.rows else 0.0,
            )
        )
    how = "estimated from single frames" if single else "photon transfer on static frames"
    isos = [result.iso for result in results]
    return NoiseProfile(
        name=name or camera,
        sensor=camera,
        source=f"tools.calibrate_noise, {how}",
        licence="measured",
        scale=scale,
        bits=int(meta.white_level[0]).bit_length(),
        iso_range=(min(isos), max(isos)),
        table=tuple(rows),
    )


def significant(value: float) -> float:
    return float(f"{value:.4g}")


def closed_form(results: list[IsoResult]) -> dict[str, float] | None:
    """K = slope ISO and ln sigma = slope ln K + bias through several ISOs, with the largest deviation of each."""
    import numpy as np

    if len(results) < 2:
        return None
    iso = np.array([result.iso for result in results])
    k = np.array([np.mean([result.gain(p) for p in range(4)]) for result in results])
    read = np.array([np.mean([result.read(p) for p in range(4)]) for result in results])
    if (k <= 0).any() or (read <= 0).any():
        return None
    gain = float(np.exp(np.mean(np.log(k / iso))))
    slope, bias = np.polyfit(np.log(k), np.log(read) / 2, 1)
    sigma = np.exp(slope * np.log(k) + bias)
    return {
        "gain_per_iso": gain,
        "gain_deviation": float(np.abs(k / (gain * iso) - 1).max()),
        "log_read_slope": float(slope),
        "log_read_bias": float(bias),
        "read_std_deviation": float(np.abs(np.sqrt(read) / sigma - 1).max()),
    }


def dng_rows(result: IsoResult, meta: RawMetadata) -> list[list[float]]:
    from isp.noise.dng import to_dng_noise_profile

    scale = dn_scale(meta)
    sites = range(4) if meta.cfa is not None else range(1)
    shot, read = [result.gain(p) / scale for p in sites], [result.read(p) / scale**2 for p in sites]
    return to_dng_noise_profile(shot, read, meta.cfa).tolist()


def make_report(results: list[IsoResult], profile: NoiseProfile, meta: RawMetadata) -> dict[str, Any]:
    from dataclasses import asdict

    def line(value: Line) -> dict[str, Any]:
        return asdict(value) | {"read_without_quantisation": asdict(value.pixel_read)}

    entries = []
    for result in results:
        entry: dict[str, Any] = {"iso": result.iso, "zero_dn": result.zero, "dng_noise_profile": dng_rows(result, meta)}
        if result.transfer is None:
            assert result.estimate is not None
            entry["single_frame_estimate"] = {"gain": result.estimate[0], "read": result.estimate[1]}
        else:
            entry |= {
                "planes_agree": result.transfer.agree,
                "shared": line(result.transfer.shared),
                "planes": [line(value) for value in result.transfer.planes],
            }
        if result.rows is not None:
            entry["rows"] = asdict(result.rows)
        if result.dark:
            dark = dict(result.dark)
            dark["offset"] = asdict(dark["offset"])
            dark["offset_per_site"] = [asdict(offset) for offset in dark["offset_per_site"]]
            if "rows" in dark:
                dark["rows"] = asdict(dark["rows"])
            entry["dark"] = dark
        entries.append(entry)
    return {
        "units": "gain in DN per electron, read in DN^2, offsets and standard deviations in DN; intervals are 95 %",
        "cfa": str(meta.cfa) if meta.cfa else None,
        "scale_dn": profile.scale,
        "isos": entries,
        "closed_form": closed_form(results),
    }


def describe(results: list[IsoResult], profile: NoiseProfile, meta: RawMetadata) -> list[str]:
    """The report, in lines."""
    lines = [f"{profile.sensor}, {meta.cfa or 'monochrome'}, {profile.scale:g} DN between black and white"]
    letters = str(meta.cfa) if meta.cfa else "...."
    for result in results:
        lines.append(f"ISO {result.iso:g}")
        if result.dark:
            lines.append(f"  dark offset     {result.dark['offset']} DN, {result.dark['frames']} frame(s)")
        if "variance_per_site" in result.dark:
            variances = ", ".join(f"{v:.3f}" for v in result.dark["variance_per_site"])
            lines.append(f"  dark variance   {variances} DN^2 over time (rounding included)")
        if result.transfer is None:
            assert result.estimate is not None
            k, read = result.estimate
            lines.append(f"  K {k:.4g} DN/e-, read variance {read:.4g} DN^2: a rough estimate from one frame")
        else:
            if result.transfer.agree:
                lines.append(f"  all sites       {transfer_line(result.transfer.shared)}  <- used")
            for plane, value in enumerate(result.transfer.planes):
                used = "" if result.transfer.agree else "  <- used"
                lines.append(f"  {letters[plane]} {SITES[plane]:<13} {transfer_line(value)}{used}")
        if result.rows is not None:
            rows = result.rows
            lines.append(
                f"  rows            std of row means {rows.row_means:.3f} DN, {rows.independent:.3f} if sites were "
                f"independent; frames drift by {rows.frames:.3f}, row noise beyond that {rows.row_noise} DN"
            )
        for (s, o), letter in zip(dng_rows(result, meta), "RGB" if meta.cfa else "-", strict=True):
            lines.append(f"  NoiseProfile    {letter}: S {s:.4e}  O {o:.4e}")
    if law := closed_form(results):
        lines.append(
            f"over ISO: K = {law['gain_per_iso']:.4g} ISO (within {law['gain_deviation']:.1%}); ln sigma = "
            f"{law['log_read_slope']:.4f} ln K + {law['log_read_bias']:.4f} "
            f"(sigma within {law['read_std_deviation']:.1%})"
        )
    return lines


def transfer_line(line: Line) -> str:
    return (
        f"K {line.gain} DN/e-   read variance {line.read} DN^2, {line.pixel_read.value:.3f} without 1/12   "
        f"misfit {line.misfit:.1%}"
    )


def plot(results: list[IsoResult], profile: NoiseProfile) -> Figure | None:
    """Variance over signal of every group, with the fitted lines, and the residuals; None where there is no matplotlib,
    or no burst."""
    import numpy as np

    from isp.output.plots import new_figure

    calibrated = [(result, result.transfer) for result in results if result.transfer is not None]
    figure = new_figure((8, 8)) if calibrated else None
    if figure is None:
        return None
    figure.set_layout_engine("constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    markers = ("o", "s", "^", "v")
    for number, (result, transfer) in enumerate(calibrated):
        colour = f"C{number}"
        groups = transfer.groups
        for plane in range(4):
            mine = groups.plane == plane
            m, v, error = groups.signal[mine], groups.variance[mine], groups.error[mine]
            line = transfer.line(plane)
            model = line.gain.value * m + line.read.value
            label = f"ISO {result.iso:g}, {SITES[plane]}"
            top.errorbar(m, v, 1.96 * error, fmt=markers[plane], ms=3, lw=0.8, color=colour, alpha=0.7, label=label)
            bottom.errorbar(
                m, 100 * (v / model - 1), 196 * error / model, fmt=markers[plane], ms=3, lw=0.8, color=colour, alpha=0.7
            )
            x = np.linspace(0, groups.signal.max() * 1.05, 50)
            top.plot(x, line.gain.value * x + line.read.value, color=colour, lw=1)
    top.set_ylabel("variance over time (DN²)")
    top.set_title(f"Photon transfer: {profile.name}")
    top.legend(fontsize="small", ncols=max(len(calibrated) // 4, 1))
    top.set_xlim(left=0)
    top.set_ylim(bottom=0)
    top.grid(alpha=0.3)
    bottom.axhline(0, color="k", lw=0.8)
    bottom.set_ylabel("off the line (%)")
    bottom.set_xlabel("signal above dark (DN)")
    bottom.grid(alpha=0.3)
    return figure


def make_page(
    results: list[IsoResult], profile: NoiseProfile, meta: RawMetadata, lines: list[str], fig: Figure | None
) -> str:
    """The figures and the plot, as HTML."""
    from isp.output.page import code, paragraph, skeleton, table
    from isp.output.plots import shown

    letters = str(meta.cfa) if meta.cfa else "-" * 4
    rows: list[tuple[str, ...]] = []
    for result in results:
        if result.transfer is None:
            assert result.estimate is not None
            k, read = result.estimate
            rows.append((f"ISO {result.iso:g}, one frame", f"{k:.4g}", "", f"{read:.4g}", "", "rough estimate"))
            continue
        places = [("all sites", result.transfer.shared)]
        places += [(f"{a} {b}", x) for a, b, x in zip(letters, SITES, result.transfer.planes, strict=True)]
        for number, (place, line) in enumerate(places):
            used = "used" if result.transfer.agree == (number == 0) else ""
            both = [(f"{x.value:#.4g}", f"{x.low:#.4g} to {x.high:#.4g}") for x in (line.gain, line.read)]
            rows.append((f"ISO {result.iso:g}, {place}", *both[0], *both[1], f"{line.misfit:.1%}", used))
    header = ("", "K, DN per electron", "95 %", "read variance, DN²", "95 %", "misfit", "")
    caption = (
        "Variance over time against the signal: its slope is K, its offset the read noise; below, the distance from "
        "the line. Bars are 95 % intervals"
    )
    single = all(result.transfer is None for result in results)
    sections = {
        "Photon transfer": paragraph("Single frames have no noise over time.") if single else shown(fig, caption),
        "Figures": table(rows, header),
        "Report": code("\n".join(lines)),
    }
    subtitle = f"{profile.sensor}, {meta.cfa or 'monochrome'}, {profile.scale:g} DN between black and white"
    return skeleton(f"Noise of {profile.name}", sections, subtitle=subtitle)


if __name__ == "__main__":
    sys.exit(main())
