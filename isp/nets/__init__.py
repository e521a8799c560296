"""Networks: one file each, named by their papers; `NETWORKS` lists them by name.

A network is a plain module of one tensor. A raw network takes B planes h w (packed RGGB, with a noise map or a
classical demosaic behind it where it was built for more than four planes) and gives B 3 2h 2w; an RGB network takes and
gives B 3 H W. Each says, as data:

    kind        "raw" or "rgb"
    multiple    height and width of its input must be multiples of this
    minimum     and at least this
    reach       samples of the input around a site that its output depends on; None: the whole input

What turns a mosaic and its noise into such a tensor, and the result into camera RGB, is isp.nets.model; padding and
tiling is isp.nets.inference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isp.nets.b2fnet import B2FNet
from isp.nets.dwt_hybrid import DWTHybrid
from isp.nets.flat import Flat
from isp.nets.mialgo_student import MiAlgoStudent
from isp.nets.msunet import MSUnet
from isp.nets.mw_ispnet import MWISPNet, MWISPNetRGB
from isp.nets.nafnet import NAFNet, NAFNetRGB
from isp.nets.pyramid import Pyramid
from isp.nets.refinement import Refined
from isp.nets.restormer import Restormer, RestormerRGB
from isp.nets.span import SPAN
from isp.nets.tiny_unet import TinyUNet, TinyUNetRGB
from isp.nets.wavelet_fusion import WaveletFusionNet
from isp.nets.xrestormer import XRestormer, XRestormerRGB

NETWORKS: dict[str, Callable[..., Any]] = {
    "b2fnet": B2FNet,
    "dwt-hybrid": DWTHybrid,
    "flat": Flat,
    "mialgo-student": MiAlgoStudent,
    "msunet": MSUnet,
    "mw-ispnet": MWISPNet,
    "mw-ispnet-rgb": MWISPNetRGB,
    "nafnet": NAFNet,
    "nafnet-rgb": NAFNetRGB,
    "pyramid": Pyramid,
    "refined": Refined,
    "restormer": Restormer,
    "restormer-rgb": RestormerRGB,
    "span": SPAN,
    "tiny-unet": TinyUNet,
    "tiny-unet-rgb": TinyUNetRGB,
    "wavelet-fusion": WaveletFusionNet,
    "xrestormer": XRestormer,
    "xrestormer-rgb": XRestormerRGB,
}
