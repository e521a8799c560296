"""What papers and reports state about their networks, and the configurations that reproduce it.

The table of docs/networks.md and the tests are both made from ROWS. MACs are multiply-accumulates, counted by
torch.utils.flop_counter (which counts two operations each) on the meta device; they are those of convolutions and
matrix products, as the reports count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from isp.nets import NETWORKS


class Row(NamedTuple):
    system: str  # as its report names it
    network: str  # a name in NETWORKS
    arguments: dict[str, Any]
    parameters: int  # of this configuration, exactly
    published_parameters: float | None  # as printed, in units; None: not stated
    published_macs: float | None  # as printed, converted to MACs
    shape: tuple[int, int, int]  # planes, height and width of the input that published_macs is for
    source: str  # where it is printed, and the convention of its FLOPs
    macs_within: float = 0.03
    copies: int = 1  # of the network in the system
    attention: bool = True  # published_macs counts the matrix products of attention, not convolutions alone


RAW = "RAIM 2025 report, Track 1 (raw)"
RGB = "RAIM 2025 report, Track 2 (RGB)"

ROWS: tuple[Row, ...] = (
    Row(
        "MW-ISPNet / MWRCAN (MiAlgo, stage 2)",
        "mw-ispnet",
        {},
        29_219_249,
        None,
        None,
        (4, 512, 512),
        f"{RAW}: named as an alternative generator, without figures",
    ),
    Row(
        "B2FNet (TongJi-IPOE)",
        "b2fnet",
        {},
        393_703,
        0.39e6,
        23.45e9,
        (4, 512, 512),
        f'{RAW}: 0.39 M, 23.45 "GFLOPs" at 1024x1024, which are MACs',
    ),
    Row(
        "Phase-3 student (MiAlgo)",
        "mialgo-student",
        {},
        4_637_628,
        4.62e6,
        372.09e9 / 2,
        (4, 512, 512),
        f"{RAW}: 4.62 M, 372.09 GFLOPs at 1024x1024, which are two per MAC",
    ),
    Row(
        "DWT hybrid (NJUST-KMG)",
        "dwt-hybrid",
        {},
        828_260,
        0.83e6,
        None,
        (4, 512, 512),
        f"{RAW}: 0.83 M",
    ),
    Row(
        "Tiny wavelet UNet (MiAlgo)",
        "tiny-unet-rgb",
        {},
        75_093,
        0.075e6,
        19.83e9,
        (3, 1024, 1024),
        f'{RGB}: 0.075 M, 19.83 "GFLOPs" at 3x1024x1024, which are MACs',
    ),
    Row(
        "Tiny wavelet UNet, packed raw",
        "tiny-unet",
        {},
        76_542,
        None,
        None,
        (4, 512, 512),
        "ours: the RGB form on packed planes, with a PixelShuffle",
    ),
    Row(
        "WaveletFusionNet (NulltoZero)",
        "wavelet-fusion",
        {},
        300_571,
        0.303e6,
        None,
        (3, 1024, 1024),
        f"{RGB}: 0.303 M; the blocks are reconstructed",
    ),
    Row(
        "MSUnet (TongJi-IPOE)",
        "msunet",
        {},
        260_518,
        0.26e6,
        54.96e9,
        (3, 1024, 1024),
        f'{RGB}: 0.26 M, 54.96 "GFLOPs" at 1024x1024, which are MACs',
    ),
    Row(
        "MW-ISPNet lite (NJUST-KMG), one block",
        "mw-ispnet-rgb",
        {},
        240_063,
        0.240e6,
        12.8e9,
        (3, 1024, 1024),
        f'{RGB}: 0.240 M, 12.8 "G" at 1024x1024, which are MACs',
    ),
    Row(
        "MW-ISPNet lite (NJUST-KMG), two blocks",
        "mw-ispnet-rgb",
        {"blocks": 2},
        324_073,
        0.324e6,
        18.2e9,
        (3, 1024, 1024),
        f'{RGB}: 0.324 M, 18.2 "G" at 1024x1024, which are MACs',
    ),
    Row(
        "NAFNet (PolyU-AISP)",
        "nafnet-rgb",
        {},
        29_159_715,
        29e6,
        3000e9,
        (3, 3072, 4096),
        f'{RAW}: 29 M, "3K GFLOPs" at 4096x3072, which are MACs of the RGB form at full size',
    ),
    Row(
        "NAFNet (PolyU-AISP), packed raw",
        "nafnet",
        {},
        29_162_604,
        29e6,
        None,
        (4, 1536, 2048),
        f"{RAW}: 29 M; 4 planes in, 12 out, PixelShuffle",
    ),
    Row(
        "NAFNet of the paper",
        "nafnet-rgb",
        {"encoder": [1, 1, 1, 28], "middle": 1, "decoder": [1, 1, 1, 1]},
        17_111_907,
        None,
        16e9,
        (3, 256, 256),
        "NAFNet, ECCV 2022, Sec. 5: MACs of width 32, the configuration of its release",
    ),
    Row(
        "NAFNet with CrossGate (iAM_IR)",
        "nafnet-rgb",
        {"gate": "cross"},
        48_768_931,
        None,
        None,
        (3, 256, 256),
        f"{RGB}; sizes and gate reconstructed",
    ),
    Row(
        "SPAN (TeleAI), as trained",
        "span",
        {},
        2_600_859,
        2.60e6,
        None,
        (3, 256, 256),
        f"{RGB}: 52 planes, x1; the fused kernels are stored too",
    ),
    Row(
        "SPAN (TeleAI), merged",
        "span",
        {"merged": True},
        477_103,
        0.477e6,
        None,
        (3, 256, 256),
        f"{RGB}: 52 planes, x1, after re-parameterisation",
    ),
    Row(
        "Restormer stage 1 (MiAlgo)",
        "restormer",
        {},
        26_119_876,
        None,
        None,
        (4, 512, 512),
        f"{RAW}; half of the two stages, sizes of the paper with bias-free norms",
    ),
    Row(
        "Restormer, two stages (MiAlgo)",
        "restormer",
        {},
        52_239_752,
        52.24e6,
        5351e9,
        (4, 1024, 1024),
        f'{RAW}: 52.24 M, "5351 GFLOPs" @1024; the MACs of two networks, with attention, on packed planes of 1024x1024 '
        "are 7 % below it, and we do not know why",
        macs_within=0.08,
        copies=2,
    ),
    Row(
        "Restormer",
        "restormer-rgb",
        {},
        26_126_644,
        26.13e6,
        140.99e9,
        (3, 256, 256),
        "Restormer, CVPR 2022, with norms that have a bias: MACs of convolutions; 154.9 G with attention",
        attention=False,
    ),
    Row(
        "X-Restormer",
        "xrestormer-rgb",
        {},
        26_041_208,
        26.0e6,
        164.3e9,
        (3, 256, 256),
        "X-Restormer, arXiv 2310.11881, supplement: MACs of convolutions; 178.8 G with attention",
        attention=False,
    ),
    Row(
        "X-Restormer (IID-AI)",
        "xrestormer",
        {},
        26_049_416,
        None,
        None,
        (4, 512, 512),
        f"{RAW} names the network; sizes of its paper",
    ),
)


def count(
    network: str, arguments: dict[str, Any], shape: tuple[int, int, int], attention: bool = True
) -> tuple[int, int]:
    """Parameters, and MACs for one input of this shape (planes, height, width); those of convolutions alone, or with
    the matrix products of attention."""
    with torch.device("meta"):
        module = NETWORKS[network](**arguments).eval()
        x = torch.empty(1, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(x)
    convolutions = counter.get_flop_counts()["Global"].get(torch.ops.aten.convolution, 0)
    flops = counter.get_total_flops() if attention else convolutions
    return sum(p.numel() for p in module.parameters()), flops // 2


def measure(row: Row) -> tuple[int, int]:
    """Parameters and MACs of a row's whole system, by the convention of its published figure."""
    parameters, macs = count(row.network, row.arguments, row.shape, row.attention)
    return row.copies * parameters, row.copies * macs
