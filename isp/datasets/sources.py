"""Sources of clean pictures: folders of images or of raws, HDF5 files, dead leaves.

A source has a length, and source[i] is a Sample: the picture, its name, and for raws the metadata. The order is that of
the sorted names, the same on every machine. `Crops` makes an endless, seeded series of crops of any source.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from isp.raw.errors import RawFileError
from isp.raw.image import RawImage
from isp.raw.metadata import RawMetadata

if TYPE_CHECKING:
    import h5py

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".exr")
RAW_SUFFIXES = (
    ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr", ".iiq", ".raw", ".npy",
)  # fmt: skip
HDF5_SUFFIXES = (".h5", ".hdf5")
END_OF_JPEG = b"\xff\xd9"  # no data of a scan look like it


class SourceError(ValueError):
    """A picture that cannot be had, in one line that begins with its path."""


class Sample(NamedTuple):
    """rgb: 3 H W, float32, or uint8, which stands for 1/255 of it (see full). meta None: display-encoded sRGB, 0 to 1
    (beyond 1 from scene-linear files); else white-balanced linear camera RGB, float32, of a camera whose frames, with
    three samples at each pixel, meta describes."""

    rgb: Tensor
    name: str
    meta: RawMetadata | None = None


class Source(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Folder(ABC):
    """Pictures of a folder and the folders below it, by their relative names; what starts with a dot is left out.

    on_error: "fail" raises SourceError for a file that cannot be read; "skip" warns and gives the next one that can.
    """

    suffixes: tuple[str, ...] = ()

    def __init__(self, path: str | Path, on_error: str = "fail") -> None:
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error is {on_error!r}; expected fail or skip")
        self.path, self.on_error = Path(path), on_error
        if not self.path.is_dir():
            raise SourceError(f"{path}: expected a folder")
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if path.suffix.lower() in self.suffixes)
        self.names = sorted(
            name.as_posix()
            for name in found
            if not any(part.startswith(".") for part in name.parts) and (self.path / name).is_file()
        )
        if not self.names:
            raise SourceError(f"{path}: holds no file ending in {', '.join(self.suffixes)}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        start = range(len(self.names))[index]  # IndexError past the end
        for offset in range(len(self.names)):
            name = self.names[(start + offset) % len(self.names)]
            try:
                return self.load(name)
            except SourceError as error:
                if self.on_error == "fail":
                    raise
                warnings.warn(f"skipped {error}", stacklevel=2)
        raise SourceError(f"{self.path}: none of its {len(self.names)} files can be read")

    @abstractmethod
    def load(self, name: str) -> Sample:
        """The picture of that name; SourceError where it cannot be read."""


class ImageFolder(Folder):
    """8- and 16-bit PNG, TIFF and JPEG files, taken as display-encoded sRGB, and EXR, taken as scene-linear with sRGB's
    primaries and encoded. Grey pictures get three equal channels, alpha is left out, embedded profiles are not used."""

    suffixes = IMAGE_SUFFIXES

    def load(self, name: str) -> Sample:
        return Sample(_stored_picture(self.path / name), name)


class RawFolder(Folder):
    """Raws as clean pictures: see clean_from_raw for method and factor."""

    suffixes = RAW_SUFFIXES

    def __init__(self, path: str | Path, on_error: str = "fail", *, method: str = "bin", factor: int = 1) -> None:
        self.method, self.factor = method, factor
        super().__init__(path, on_error)

    def load(self, name: str) -> Sample:
        from isp.raw import read

        try:
            raw = read(self.path / name)
            rgb = clean_from_raw(raw, self.method, self.factor)
            return Sample(rgb, name, clean_metadata(raw.meta, *rgb.shape[-2:]))
        except RawFileError as error:
            raise SourceError(" ".join(str(error).split())) from error
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.path / name}: {' '.join(str(error).split())}") from error


class Hdf5:
    """Pictures in an HDF5 file: one dataset N H W 3 or N 3 H W, or a dataset H W 3 or 3 H W for each picture.

    key: the dataset or the group; None: the whole file. uint8 and uint16 are display-encoded over their range, floats
    display-encoded in 0..1, or scene-linear where linear is set, and then encoded. Each process opens the file anew.
    """

    def __init__(self, path: str | Path, key: str | None = None, *, linear: bool = False) -> None:
        import h5py

        self.path, self.key, self.linear = Path(path), key, linear
        self._file: h5py.File | None = None
        self._process = -1
        found: dict[str, tuple[int, ...]] = {}
        try:
            root = self._root()
            if isinstance(root, h5py.Dataset):
                found[""] = root.shape
            else:
                root.visititems(lambda n, item: found.update({n: item.shape}) if hasattr(item, "shape") else None)
        except (OSError, KeyError) as error:
            raise SourceError(f"{path}: {' '.join(str(error).split())}") from error
        self._places: list[tuple[str, int | None]] = []
        for name, shape in sorted(found.items()):
            if len(shape) == 4 and 3 in (shape[1], shape[3]):
                self._places += [(name, i) for i in range(shape[0])]
            elif len(shape) == 3 and 3 in (shape[0], shape[2]):
                self._places.append((name, None))
        if not self._places:
            raise SourceError(f"{path}: holds no pictures; expected datasets N H W 3, N 3 H W, H W 3 or 3 H W")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        name, place = self._places[index]
        label = "/".join(str(part) for part in (self.path.name, self.key, name, place) if part not in ("", None))
        try:
            dataset = self._root()[name] if name else self._root()
            pixels = np.asarray(dataset[place] if place is not None else dataset[()])
        except (OSError, KeyError) as error:
            raise SourceError(f"{self.path}: {label}: {' '.join(str(error).split())}") from error
        if pixels.shape[-1] == 3:
            pixels = pixels.transpose(2, 0, 1)
        return Sample(_picture(pixels, self.linear, f"{self.path}: {label}"), label)

    def _root(self) -> h5py.File | h5py.Group | h5py.Dataset:
        """The file, or what `key` names in it; opened by this process, as HDF5 handles must not cross a fork."""
        import h5py

        if self._file is None or self._process != os.getpid():
            self._file, self._process = h5py.File(self.path, "r"), os.getpid()
        return self._file if self.key is None else self._file[self.key]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_process": -1}


class DeadLeaves:
    """Pictures of isp.datasets.dead_leaves: `length` of them, H W or square; picture i depends on seed and i alone."""

    def __init__(self, size: int | tuple[int, int] = 512, *, seed: int = 0, length: int = 1_000_000) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        from isp.datasets.dead_leaves import dead_leaves

        index = range(self.length)[index]
        picture = dead_leaves(*self.size, np.random.default_rng([self.seed, index]))
        return Sample(torch.from_numpy(picture.transpose(2, 0, 1).copy()), f"dead-leaves/{self.seed}/{index}")


class Joined:
    """Several sources one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self.ends = np.cumsum([len(source) for source in self.sources])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        which = int(np.searchsorted(self.ends, index, side="right"))
        return self.sources[which][index - (int(self.ends[which - 1]) if which else 0)]


class Crops:
    """A series of square crops without an end: crop i is of picture i % len(source), at a place that depends on seed
    and i alone. downscale: crops that much larger, and the mean over downscale x downscale pixels in linear light:
    sharper and cleaner than the file, whose own noise, demosaicking and compression it averages away."""

    def __init__(self, source: Source, size: int, *, seed: int = 0, downscale: int = 1) -> None:
        self.source, self.size, self.seed, self.downscale = source, size, seed, downscale

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index % len(self.source)]
        rng = np.random.default_rng([self.seed, index])
        rgb = full(random_crop(sample.rgb, self.size * self.downscale, rng, sample.name))
        meta = sample.meta and replace(sample.meta, height=self.size, width=self.size)
        return Sample(shrink(rgb, self.downscale, encoded=sample.meta is None), sample.name, meta)


def open_source(place: str | Path, *, size: int = 512, seed: int = 0, on_error: str = "fail") -> Source:
    """The source that a user names: "dead-leaves", an HDF5 file, a folder of images or, if it holds none, of raws.

    size, seed: of dead leaves.
    """
    if str(place) == "dead-leaves":
        return DeadLeaves(size, seed=seed)
    path = Path(place)
    if path.suffix.lower() in HDF5_SUFFIXES:
        return Hdf5(path)
    if not path.is_dir():
        raise SourceError(f"{place}: expected a folder, a file ending in {' or '.join(HDF5_SUFFIXES)}, or dead-leaves")
    try:
        return ImageFolder(path, on_error)
    except SourceError:
        try:
            return RawFolder(path, on_error)
        except SourceError:
            raise SourceError(f"{place}: holds neither images nor raws") from None


def full(rgb: Tensor) -> Tensor:
    """A Sample's picture as float32; the same shape."""
    return rgb.float() / 255 if rgb.dtype == torch.uint8 else rgb.float()


def read_picture(path: str | Path) -> Tensor:
    """3 H W, float32: a picture file as display-encoded sRGB, 0 to 1; EXR and other half and float files are taken as
    scene-linear. Raises SourceError, in one line, for a file that is damaged or no picture."""
    return full(_stored_picture(path)).contiguous()


def _stored_picture(path: str | Path) -> Tensor:
    """The same, uint8 for files of 8 bits."""
    if Path(path).suffix.lower() in (".jpg", ".jpeg"):
        return _read_jpeg(path)
    import OpenImageIO as oiio  # noqa: N813

    file = oiio.ImageInput.open(str(path))
    if file is None:
        raise SourceError(f"{path}: {' '.join(oiio.geterror().split()) or 'cannot be read'}")
    try:
        kind = file.spec().format
        floating = kind.basetype in (oiio.HALF, oiio.FLOAT, oiio.DOUBLE)
        pixels = file.read_image(oiio.FLOAT if floating else oiio.UINT8 if kind == oiio.UINT8 else oiio.UINT16)
        if pixels is None:
            raise SourceError(f"{path}: {' '.join(file.geterror().split()) or 'cannot be read'}")
    finally:
        file.close()
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1].repeat(3, axis=-1)
    return _picture(pixels.transpose(2, 0, 1), floating, str(path))


def _read_jpeg(path: str | Path) -> Tensor:
    """As _stored_picture; by libjpeg-turbo itself where the file ends as it should, for half the time. The rest is left
    to Pillow: other readers fill what a cut JPEG misses with grey and say nothing."""
    from imagecodecs import Jpeg8Error, jpeg8_decode
    from PIL import Image

    pixels = None
    try:
        data = Path(path).read_bytes()
        if data.endswith(END_OF_JPEG):
            with suppress(Jpeg8Error):
                pixels = jpeg8_decode(data)
        if pixels is None or pixels.shape[2:] != (3,):
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())
        raise SourceError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    return _picture(pixels.transpose(2, 0, 1), False, str(path))


def _picture(pixels: np.ndarray, linear: bool, name: str) -> Tensor:
    """3 H W of any type as float32, uint8 as it is; display-encoded. linear: floats are scene-linear."""
    from isp.stages.encode import encode

    if pixels.dtype == np.uint8:
        return torch.from_numpy(pixels)
    if pixels.dtype == np.uint16:
        return torch.from_numpy(np.divide(pixels, np.iinfo(pixels.dtype).max, dtype=np.float32, order="C"))
    if pixels.dtype.kind != "f":
        raise SourceError(f"{name}: holds {pixels.dtype}; expected uint8, uint16 or floating-point pixels")
    if not np.isfinite(pixels).all():
        raise SourceError(f"{name}: holds values that are not finite numbers")
    rgb = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
    return encode(rgb, "srgb") if linear else rgb


def random_crop(rgb: Tensor, size: int, rng: np.random.Generator, name: str = "picture") -> Tensor:
    """3 size size at a place that rng draws, uniformly. Raises SourceError for a picture that is smaller."""
    height, width = rgb.shape[-2:]
    if height < size or width < size:
        raise SourceError(f"{name}: {height} x {width} (rows x columns) is smaller than a crop of {size}")
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    return rgb[..., top : top + size, left : left + size]


def shrink(rgb: Tensor, factor: int, *, encoded: bool) -> Tensor:
    """3 H/factor W/factor: means over factor x factor pixels, of light. encoded: rgb is display-encoded sRGB, and so is
    the result; else linear. Rows and columns left over are dropped."""
    from isp.stages.encode import decode, encode

    if factor == 1:
        return rgb
    light = decode(rgb, "srgb") if encoded else rgb
    small = torch.nn.functional.avg_pool2d(light[None], factor)[0]
    return encode(small, "srgb") if encoded else small


def clean_from_raw(raw: RawImage | Sequence[RawImage], method: str = "bin", factor: int = 1) -> Tensor:
    """White-balanced linear camera RGB, 3 h w, unclipped, with less noise than the raw: a source for synthesis.

    raw: one frame, or a burst of one static scene, which is averaged first.
    method: "bin" takes the means of each colour over a block of the CFA (2x2 for Bayer: half the size, nothing
    interpolated; red and blue of a block lie a pixel apart in both directions). "demosaic" interpolates with the best
    method, to be mosaicked again at full size.
    factor: shrinks the result by means; after "demosaic" the colours stay aligned.
    The active area is taken, in the sensor's own orientation.

    What is left of the variance of the noise: 1 / n of a burst of n; with "bin", half of it in green and all of it in
    red and blue; 1 / factor^2 on top where neighbours are independent, as after "bin".
    """
    from isp.options import RenderOptions
    from isp.parameters import resolve
    from isp.pipeline import camera_stages, run, sensor_stages
    from isp.stages.white_balance import white_balance

    frames = [raw] if isinstance(raw, RawImage) else list(raw)
    if method not in ("bin", "demosaic") or factor < 1:
        raise ValueError(f"method is {method!r}, factor {factor}; expected bin or demosaic, and a factor from 1")
    meta = frames[0].meta
    if any(frame.mosaic.shape != frames[0].mosaic.shape or frame.meta.cfa != meta.cfa for frame in frames):
        raise ValueError("a burst needs frames of one size and CFA")
    with torch.no_grad():
        x = torch.stack([run(sensor_stages(frame.meta), frame.tensor()) for frame in frames]).mean(0)
        p = resolve(meta, RenderOptions(highlights="none"), x)
        if method == "bin" and meta.cfa is not None:
            block = {"bayer": 2, "quad-bayer": 4, "x-trans": 3}[meta.cfa.kind]
            height, width = (size // block * block for size in x.shape[-2:])
            x = white_balance(x, p.gains, meta.cfa)[..., :height, :width]
            sites = torch.from_numpy(meta.cfa.channel_map(height, width)) == torch.arange(3).view(3, 1, 1)
            pool = torch.nn.functional.avg_pool2d
            rgb = pool(torch.where(sites, x, torch.zeros_like(x)), block) / pool(sites.to(x.dtype)[None], block)
        else:
            rgb = run(camera_stages(replace(meta, opcode_list3=()), p), x)
        return shrink(rgb[0], factor, encoded=False)


def clean_metadata(meta: RawMetadata, height: int, width: int) -> RawMetadata:
    """The frame that clean_from_raw makes of a raw: a linear one of the same camera under the same light, of any size.

    Its display stages (isp.pipeline.display_stages) render the clean picture; the frame of a mosaic made of it is
    Camera("...", meta).metadata(height, width), with meta that of the raw.
    """
    from isp.cameras import Camera

    return replace(Camera("clean", meta).metadata(height, width, linear=True), opcode_list3=())
