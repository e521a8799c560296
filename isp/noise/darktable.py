"""darktable's noiseprofiles.json, as a file of the user's own; NumPy only.

Format (version 0 and 1): noiseprofiles -> maker, models -> model, profiles -> {name, iso, a: [R, G, B], b: [R, G, B]},
with variance = a x + b of camera RGB before white balance, black 0, white 1: a is shot and b is read. darktable fits
them to demosaicked pictures of its own, so that they are rougher than a calibration of the mosaic. Its numbers are
under the GPL and do not ship with this library.
"""

from __future__ import annotations

import json
from pathlib import Path

from isp.noise.profile import NoiseProfile, TableRow


def read_darktable(path: str | Path, model: str, maker: str | None = None) -> NoiseProfile:
    """The profile of one camera, with a table of 3 figures (R, G, B) per ISO.

    model, maker: as the file spells them, capitals aside. A negative a or b, an artefact of the fit, becomes 0. Raises
    ValueError in one line for a file of another kind and for a camera that is not in it.
    """
    path = Path(path)
    try:
        makers = json.loads(path.read_text(encoding="utf-8"))["noiseprofiles"]
        cameras = {
            (entry["maker"].lower(), camera["model"].lower()): (entry["maker"], camera)
            for entry in makers
            for camera in entry["models"]
        }
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is not a noiseprofiles.json of darktable ({error!r})") from error
    brand_wanted = maker.lower() if maker is not None else None
    found = [key for key in cameras if key[1] == model.lower() and brand_wanted in (None, key[0])]
    if len(found) != 1:
        near = sorted({camera["model"] for key, (_, camera) in cameras.items() if model.lower() in key[1]})[:8]
        what = "more than one maker has a" if found else "no"
        hint = f"; state the maker: {', '.join(key[0] for key in found)}" if found else ""
        hint = hint or (f"; near it: {', '.join(near)}" if near else "")
        raise ValueError(f"{path}: {what} camera model {model!r}{hint}")
    brand, camera = cameras[found[0]]
    try:
        rows = tuple(
            TableRow(
                iso=float(entry["iso"]),
                shot=tuple(max(float(value), 0.0) for value in entry["a"]),
                read=tuple(max(float(value), 0.0) for value in entry["b"]),
            )
            for entry in camera["profiles"]
            if not entry.get("skip")
        )
        isos = [row.iso for row in rows]
        return NoiseProfile(
            name=f"{brand} {camera['model']}",
            sensor=f"{brand} {camera['model']}",
            source=f"{path.name} of darktable; {camera.get('comment', 'no comment')}",
            licence="GPL-3.0-or-later",
            scale=1.0,
            bits=0,
            iso_range=(min(isos), max(isos)),
            note="fitted by darktable to demosaicked pictures; bits and the DN scale are not stated",
            table=rows,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the profiles of {camera['model']!r} do not hold iso, a and b ({error!r})") from error
