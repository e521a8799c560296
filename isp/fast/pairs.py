"""What making pairs spends its time on, compiled: noise, unprocessing 8-bit pictures, the sensor, blur.

Each function does what another one does in PyTorch or NumPy, which stays the truth, and gives None where it cannot:
where there is no compiler, or for tensors that are not float32 on the processor or ask for gradients. A generator is
asked for as many numbers as the other one asks for, or, where the result is None, for none.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isp.fast.library import library
from isp.noise.normal import raw_bits

SIZE, FLOAT, POINTER = ctypes.c_ssize_t, ctypes.c_float, ctypes.c_void_p
SIGNATURES: dict[str, list[Any]] = {
    "isp_normals": [POINTER, SIZE, POINTER],
    "isp_unprocess": [POINTER, POINTER, SIZE, SIZE, POINTER, POINTER, POINTER],
    "isp_expose": [POINTER, SIZE, SIZE, SIZE, POINTER, POINTER, POINTER, FLOAT, FLOAT, FLOAT, POINTER],
    "isp_pack": [POINTER, SIZE, SIZE, FLOAT, FLOAT, POINTER],
    "isp_counts": [POINTER, SIZE, FLOAT, FLOAT, POINTER],
    "isp_blur": [POINTER, SIZE, SIZE, SIZE, POINTER, SIZE, POINTER, SIZE, SIZE, POINTER, POINTER],
}


@cache
def _library() -> ctypes.CDLL | None:
    loaded = library()
    if not isinstance(loaded, ctypes.CDLL):
        return None
    for name, arguments in SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, None
    return loaded


def normals(raw: np.ndarray) -> np.ndarray | None:
    """isp.noise.normal.normals."""
    kernel = _library()
    if kernel is None:
        return None
    raw = np.ascontiguousarray(raw, dtype=np.uint64)
    z = np.empty(2 * len(raw), np.float32)
    kernel.isp_normals(raw.ctypes.data, len(raw), z.ctypes.data)
    return z


def unprocess(
    picture: Tensor,
    table: np.ndarray,
    matrix: np.ndarray,
    lift: np.ndarray,
    back: np.ndarray,
    white: float,
    near: float,
) -> Tensor | None:
    """Sensor-linear camera RGB 3 H W of a picture 3 H W, uint8, in any layout.

    table: 256, display-linear value of each byte. matrix: 3x3, to balanced camera RGB. lift: 3, by which whites rise.
    back: 3, what undoes gains and exposure. white: the grey of white; near: the share of it from which whites rise.
    """
    kernel = _library()
    if kernel is None or picture.dtype != torch.uint8 or picture.device.type != "cpu":
        return None
    _, height, width = picture.shape
    numbers = _floats([*matrix.ravel(), *(lift - 1), *back, 1 / (3 * white), near, 1 / (1 - near)])
    strides = np.array(picture.stride(), np.intp)
    levels, out = _floats(table), torch.empty((3, height, width))
    kernel.isp_unprocess(
        picture.data_ptr(), strides.ctypes.data, height, width, levels.ctypes.data, numbers.ctypes.data, out.data_ptr()
    )
    return out


def add_noise(x: Tensor, variance: float, generator: torch.Generator) -> Tensor | None:
    """An RGGB mosaic of RGB 1 3 H W of even sizes, with isp.noise.gaussian_noise of one variance: 1 1 H W."""
    return _mosaic(x, generator, np.zeros(4), np.full(4, variance), 1.0, 0.0, 0.0)


def expose(
    x: Tensor, generator: torch.Generator, shot: Tensor, read: Tensor, gain: float, scale: float, black: float
) -> Tensor | None:
    """isp.datasets.degradations.expose_short of isp.noise.gaussian_noise, of one frame of even sizes: 1 1 H W.

    x: a mosaic 1 1 H W, or RGB 1 3 H W, of which an RGGB mosaic is taken. shot, read: 1 1, or 1 4 for the sites of each
    2x2 block in reading order.
    """
    return _mosaic(x, generator, shot.numpy(), read.numpy(), gain, scale, black)


def _mosaic(
    x: Tensor, generator: torch.Generator, shot: np.ndarray, read: np.ndarray, gain: float, scale: float, black: float
) -> Tensor | None:
    """See isp_expose."""
    kernel = _library()
    _, planes, height, width = x.shape
    if kernel is None or not _plain(x) or height % 2 or width % 2:
        return None
    a, b = (_floats(np.broadcast_to(each, (1, 4))) for each in (shot, read))
    state, out = _state(generator), x.new_empty(1, 1, height, width)
    kernel.isp_expose(
        x.data_ptr(), planes, height, width, state.ctypes.data, a.ctypes.data, b.ctypes.data,
        gain, scale, black, out.data_ptr(),
    )  # fmt: skip
    return out


def pack(x: Tensor, scale: float, black: float) -> Tensor | None:
    """isp.datasets.degradations.quantise and pixel_unshuffle of one mosaic 1 1 H W of even sizes: 1 4 H/2 W/2."""
    kernel = _library()
    if kernel is None or not _plain(x):
        return None
    height, width = x.shape[2:]
    out = x.new_empty(1, 4, height // 2, width // 2)
    kernel.isp_pack(x.data_ptr(), height, width, scale, black, out.data_ptr())
    return out


def counts(noisy: Tensor, scale: float, black: float, out: np.ndarray) -> np.ndarray | None:
    """isp.datasets.synthesis.Pairs.counts of one pair, into `out`, uint16, contiguous, of as many numbers."""
    kernel = _library()
    if kernel is None or not _plain(noisy):
        return None
    kernel.isp_counts(noisy.data_ptr(), noisy.numel(), scale, black, out.ctypes.data)
    return out


def blur(x: Tensor, column: Tensor, kernel: Tensor) -> Tensor | None:
    """isp.datasets.degradations.blur of B C H W, all planes with a column k 1 and then with a kernel l m, all odd."""
    library = _library()
    if library is None or not _plain(x):
        return None
    (batch, channels, height, width), (rows, across) = x.shape, kernel.shape
    first, then, out = _floats(column.flip(0).numpy()), _floats(kernel.flip(0, 1).numpy()), torch.empty_like(x)
    buffer = np.empty(width + across, np.float32)
    library.isp_blur(
        x.data_ptr(), batch * channels, height, width, first.ctypes.data, len(first), then.ctypes.data, rows, across,
        buffer.ctypes.data, out.data_ptr(),
    )  # fmt: skip
    return out


def _state(generator: torch.Generator) -> np.ndarray:
    """4 numbers: where isp.noise.normal's raw bits begin."""
    state: np.ndarray = raw_bits(generator).state["state"]["state"]
    return np.ascontiguousarray(state, dtype=np.uint64)


def _plain(x: Tensor) -> bool:
    """Whether the kernels can read it."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous() and not x.requires_grad


def _floats(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)
