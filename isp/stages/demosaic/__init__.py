"""Demosaicing: from the white-balanced mosaic to camera RGB, and back.

Our methods interpolate under a curve (curve.py) and know nothing of it; every measured sample comes through unchanged,
so that `mosaic` undoes `demosaic` exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from isp.options import default_method as default_method
from isp.raw.cfa import CFA
from isp.stages.demosaic import bilinear, curve, dlmmse, libraw, malvar2004, menon2007, msg, quad_bayer, rcd, xtrans


class Method(NamedTuple):
    function: Callable[[Tensor, CFA], Tensor]  # B 1 H W and its CFA to B 3 H W
    kinds: tuple[str, ...]  # of CFA that it treats
    halo: int | None  # pixels around a site that its result may depend on; None: the whole frame


BAYER = ("bayer",)
METHODS = {
    "bilinear": Method(bilinear.bilinear, BAYER, bilinear.HALO),
    "malvar2004": Method(malvar2004.malvar2004, BAYER, malvar2004.HALO),
    "menon2007": Method(menon2007.menon2007, BAYER, menon2007.HALO),
    "rcd": Method(rcd.rcd, BAYER, rcd.HALO),
    "dlmmse": Method(dlmmse.dlmmse, BAYER, dlmmse.HALO),
    "msg": Method(msg.msg, BAYER, msg.HALO),
    "xtrans": Method(xtrans.xtrans, ("x-trans",), xtrans.HALO),
    "quad-bayer": Method(quad_bayer.quad_bayer, ("quad-bayer",), quad_bayer.HALO),
}
LIBRAW = {f"libraw:{name}": Method(partial(libraw.libraw, name=name), BAYER, None) for name in libraw.NAMES}


def demosaic(x: Tensor, cfa: CFA, method: str, noise: tuple[float, float] | None = None) -> Tensor:
    """Camera RGB B 3 H W, linear, from a white-balanced linear mosaic B 1 H W, whose samples it keeps.

    method: a name in METHODS, or in LIBRAW ("libraw:AHD"), which works on the linear mosaic as LibRaw does.
    noise: (shot, read) of the mosaic before white balance, variance = shot * x + read; None: unknown.
    Values below 0 and above 1 are welcome.
    """
    chosen = _method(method, cfa)
    if x.ndim != 4 or x.shape[1] != 1 or min(x.shape[-2:]) < 2:
        raise ValueError(f"demosaic needs a mosaic B 1 H W of at least 2x2, got {tuple(x.shape)}")
    if method in LIBRAW:
        y = chosen.function(x, cfa)
    else:
        t = curve.toe(noise)
        y = curve.decode(chosen.function(curve.encode(x, t), cfa), t)
    return torch.lerp(y, x.expand_as(y), _measured(x, cfa))


def mosaic(x: Tensor, cfa: CFA) -> Tensor:
    """What a sensor with this CFA measures of camera RGB: B 3 H W to B 1 H W. The inverse of `demosaic`."""
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(f"mosaic needs an image B 3 H W, got {tuple(x.shape)}")
    y = x.new_empty(len(x), 1, *x.shape[-2:])
    for row, channels in enumerate(cfa.channels):
        for column, channel in enumerate(channels):
            y[:, 0, row :: cfa.rows, column :: cfa.cols] = x[:, channel, row :: cfa.rows, column :: cfa.cols]
    return y


def halo_of(method: str, cfa: CFA) -> int | None:
    """Pixels around a site that the method looks at; None: the whole frame."""
    return _method(method, cfa).halo


def _method(name: str, cfa: CFA) -> Method:
    known = METHODS | LIBRAW
    if name not in known:
        raise ValueError(f"demosaic method {name!r} is unknown; known: {', '.join(known)}")
    if cfa.kind not in known[name].kinds:
        suited = ", ".join(n for n, m in known.items() if cfa.kind in m.kinds)
        raise ValueError(f"demosaic method {name!r} does not treat {cfa.kind} arrays; those that do: {suited}")
    return known[name]


def _measured(x: Tensor, cfa: CFA) -> Tensor:
    """1 3 H W: 1 where each channel was measured, 0 elsewhere."""
    mask = x.new_zeros(1, 3, *x.shape[-2:])
    for row, channels in enumerate(cfa.channels):
        for column, channel in enumerate(channels):
            mask[:, channel, row :: cfa.rows, column :: cfa.cols] = 1
    return mask
