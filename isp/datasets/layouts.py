"""Public data sets in the folders that they are published in, as PyTorch datasets.

Each item is a dict. `packed` is 4 h w, float32: the RGGB mosaic (other phases are brought to it by cropping), linear,
black 0, white level 1, unclipped; white-balanced where the data set states gains, which then stand in `gains` (3,
smallest 1). `target` is what the data set holds as truth, and each class says in which domain. `name` names the item.
Where `shot` and `read` (4 each, before white balance) are known, `sigma` 4 h w is the noise's standard deviation.

crop: side of a random window on the packed side, drawn by PyTorch's default generator, the target's cut to match; None:
the whole frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from isp.datasets.augment import unify
from isp.datasets.sources import read_picture
from isp.noise.dng import from_dng_noise_profile
from isp.noise.gaussian import amplify, noise_std
from isp.raw import read
from isp.raw.cfa import CFA
from isp.raw.image import RawImage

RGGB = CFA("RGGB")
PLANES = [0, 1, 1, 2]  # channel of each packed plane
SIDD_CFAS = {"GP": "BGGR", "IP": "RGGB", "S6": "GRBG", "N6": "BGGR", "G4": "BGGR"}  # of the phones by their codes
SID_SPLITS = {"train": "0", "test": "1", "val": "2"}  # first digit of the scene's number
SID_LARGEST_RATIO = 300.0
ZURICH_WHITE = 1023.0


class LayoutError(ValueError):
    """A folder or a file that is not as the data set is published, in one line that begins with its path."""


class _Layout(Dataset[dict[str, Any]]):
    """What the data sets share: their items by name, and windows."""

    def __init__(self, root: str | Path, crop: int | None = None) -> None:
        self.root, self.crop = Path(root), crop
        if not self.root.is_dir():
            raise LayoutError(f"{root}: expected the data set's folder")
        self.items: list[Any] = []

    def __len__(self) -> int:
        return len(self.items)

    def window(self, height: int, width: int, name: str) -> tuple[int, int, int, int]:
        """top, left, height, width of this access, in packed sites."""
        if self.crop is None:
            return 0, 0, height, width
        if self.crop > min(height, width):
            raise LayoutError(
                f"{name}: packed {height} x {width} (rows x columns) is smaller than a crop of {self.crop}"
            )
        top, left = (int(torch.randint(size - self.crop + 1, ())) for size in (height, width))
        return top, left, self.crop, self.crop


class SIDD(_Layout):
    """SIDD, raw-RGB (Small, Medium): Data/0001_001_S6_00100_00060_3200_L/0001_NOISY_RAW_010.MAT and so on.

    A. Abdelhamed et al., "A High-Quality Denoising Dataset for Smartphone Cameras", CVPR 2018. The folder's name is
    scene instance, scene, phone, ISO, shutter, illuminant, brightness; the .MAT files are HDF5 (MATLAB 7.3), one
    variable x, already black 0 and white 1; METADATA_RAW holds AsShotNeutral and the DNG's NoiseProfile.
    target: the clean packed mosaic 4 h w, like packed. Also `iso`.
    """

    def __init__(self, root: str | Path, crop: int | None = None) -> None:
        super().__init__(root, crop)
        for noisy in sorted(self.root.glob("Data/*/*_NOISY_RAW_*.MAT")):
            parts = noisy.parent.name.split("_")
            if len(parts) != 7 or parts[2] not in SIDD_CFAS or not parts[3].isdecimal():
                raise LayoutError(f"{noisy.parent}: expected a name such as 0001_001_S6_00100_00060_3200_L")
            clean, metadata = (noisy.with_name(noisy.name.replace("NOISY", kind)) for kind in ("GT", "METADATA"))
            if not clean.is_file():
                raise LayoutError(f"{noisy}: has no {clean.name} beside it")
            self.items.append((noisy, clean, metadata, CFA(SIDD_CFAS[parts[2]]), float(parts[3])))
        if not self.items:
            raise LayoutError(f"{root}: holds no Data/*/*_NOISY_RAW_*.MAT")

    def __getitem__(self, i: int) -> dict[str, Any]:
        noisy, clean, metadata, cfa, iso = self.items[i]
        import h5py

        try:
            with h5py.File(noisy, "r") as a, h5py.File(clean, "r") as b:
                x, y = a["x"], b["x"]  # MATLAB stores columns first: transposed
                down, right = next((d, r) for d in (0, 1) for r in (0, 1) if cfa.shifted(d, r) == RGGB)
                height, width = (x.shape[1] - down) // 2, (x.shape[0] - right) // 2
                top, left, h, w = self.window(height, width, noisy.name)
                rows = slice(down + 2 * top, down + 2 * (top + h))
                cols = slice(right + 2 * left, right + 2 * (left + w))
                frames = [torch.from_numpy(np.asarray(z[cols, rows], dtype=np.float32).T.copy()) for z in (x, y)]
        except (OSError, KeyError, StopIteration) as error:
            raise LayoutError(f"{noisy}: is not a raw of SIDD ({' '.join(str(error).split())})") from error
        packed, target = (F.pixel_unshuffle(frame[None], 2) for frame in frames)
        neutral, profile = _sidd_metadata(metadata) if metadata.is_file() else (None, None)
        item: dict[str, Any] = {
            "packed": packed,
            "target": target,
            "name": f"{noisy.parent.name}/{noisy.stem}",
            "iso": iso,
        }
        gains = torch.ones(3)
        if neutral is not None:
            gains = torch.from_numpy(neutral.max() / neutral).float()
            item |= {"packed": _balance(packed, gains), "target": _balance(target, gains), "gains": gains}
        return item | (_noise(item["packed"], gains, profile) if profile is not None else {})


def _sidd_metadata(path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """AsShotNeutral (3) and NoiseProfile (planes 2) wherever they stand in the struct; None for what it has not."""
    from scipy.io import loadmat

    try:
        values = loadmat(str(path), simplify_cells=True)["metadata"]
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise LayoutError(f"{path}: is not a metadata file of SIDD ({' '.join(str(error).split())})") from error
    neutral: np.ndarray | None = None
    profile: np.ndarray | None = None
    left = [values]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "AsShotNeutral" in value:
                neutral = np.asarray(value["AsShotNeutral"], dtype=np.float64).ravel()
            if value.get("ID") == 51041:  # NoiseProfile, which MATLAB does not know by name
                profile = np.asarray(value["Value"], dtype=np.float64).reshape(-1, 2)
            left += value.values()
        elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype.kind == "O"):
            left += list(value)
    return neutral, profile


class SID(_Layout):
    """SID, the Sony part: Sony/short/00001_00_0.04s.ARW, Sony/long/00001_00_10s.ARW, and Sony_train_list.txt.

    C. Chen et al., "Learning to See in the Dark", CVPR 2018. Without the lists, every short frame goes with the long
    one of its scene; scenes 0.... train, 1.... test, 2.... validate. Pairs are made of whatever raw files stand there.
    packed: the short exposure times the ratio of the exposure times (at most 300), not clipped above, as the paper
    amplifies it; `ratio`. target: the long exposure, white-balanced linear camera RGB 3 2h 2w, demosaicked.
    """

    def __init__(self, root: str | Path, split: str = "train", crop: int | None = None) -> None:
        super().__init__(root, crop)
        if split not in SID_SPLITS:
            raise ValueError(f"split is {split!r}; expected train, test or val")
        listing = self.root / f"Sony_{split}_list.txt"
        if listing.is_file():
            for line in listing.read_text().splitlines():
                if words := line.split():
                    if len(words) < 2:
                        raise LayoutError(f"{listing}: line {line!r} does not name a short and a long exposure")
                    self.items.append((self.root / words[0], self.root / words[1]))
        else:
            longs = {path.name[:5]: path for path in sorted((self.root / "Sony" / "long").glob("*"))}
            for short in sorted((self.root / "Sony" / "short").glob(f"{SID_SPLITS[split]}*")):
                if short.name[:5] not in longs:
                    raise LayoutError(f"{short}: has no long exposure in Sony/long")
                self.items.append((short, longs[short.name[:5]]))
        if not self.items:
            raise LayoutError(f"{root}: holds neither {listing.name} nor raws in Sony/short and Sony/long")

    @staticmethod
    def seconds(path: Path) -> float:
        """The exposure time in a name such as 00001_00_0.04s.ARW."""
        try:
            return float(path.name.split("_")[2].split("s.")[0])
        except (IndexError, ValueError):
            raise LayoutError(f"{path}: expected a name such as 00001_00_0.04s.ARW") from None

    def __getitem__(self, i: int) -> dict[str, Any]:
        short, long = self.items[i]
        ratio = min(self.seconds(long) / self.seconds(short), SID_LARGEST_RATIO)
        packed, gains, raw = _packed(short)
        window = self.window(packed.shape[1], packed.shape[2], short.name)
        packed = _cut(packed, window) * ratio
        item: dict[str, Any] = {"packed": packed, "gains": gains, "ratio": ratio, "name": short.stem}
        item["target"] = _camera_rgb(long, window)
        if raw.meta.noise_profile is not None:
            item |= _noise(packed, gains * ratio, raw.meta.noise_profile)
        return item


class ZurichRawToRgb(_Layout):
    """Zurich RAW to RGB: train/huawei_raw/0.png, 16-bit files of 10-bit mosaics, and train/canon/0.jpg, both 448 wide.

    A. Ignatov et al., "Replacing Mobile Camera ISP with a Single Deep Learning Model", CVPR workshops 2020. The phone's
    mosaics are RGGB with the black level in them; gains are not published, so packed is not white-balanced.
    target: the camera's picture, display-encoded sRGB 3 2h 2w, aligned to a few pixels.
    """

    def __init__(self, root: str | Path, split: str = "train", crop: int | None = None, *, black: float = 63.0) -> None:
        super().__init__(root, crop)
        self.black = black
        folder = self.root / split
        for path in sorted((folder / "huawei_raw").glob("*.png"), key=lambda p: (len(p.stem), p.stem)):
            if not (picture := folder / "canon" / f"{path.stem}.jpg").is_file():
                raise LayoutError(f"{path}: has no {picture}")
            self.items.append((path, picture))
        if not self.items:
            raise LayoutError(f"{folder}: holds no huawei_raw/*.png")

    def __getitem__(self, i: int) -> dict[str, Any]:
        path, picture = self.items[i]
        counts = (read_picture(path)[:1] * 65535).round()
        packed = F.pixel_unshuffle((counts - self.black) / (ZURICH_WHITE - self.black), 2)
        target = read_picture(picture)
        if target.shape[1:] != (2 * packed.shape[1], 2 * packed.shape[2]):
            raise LayoutError(f"{picture}: is {tuple(target.shape[1:])}, its raw {tuple(counts.shape[1:])}")
        window = self.window(packed.shape[1], packed.shape[2], path.name)
        return {"packed": _cut(packed, window), "target": _cut(target, window, 2), "name": path.stem}


class FiveK(_Layout):
    """MIT-Adobe FiveK: raw_photos/HQa1to700/photos/a0001-jmac_DSC1459.dng, and an expert's tiff16_c/a0001-... .tif.

    V. Bychkovsky et al., "Learning Photographic Global Tonal Adjustment with a Database of Input / Output Image Pairs",
    CVPR 2011. Also where the DNGs lie in dng/, as the single files are offered. target: the expert's picture, 3 2h 2w,
    ProPhoto RGB with that space's encoding, turned back to the sensor's orientation. Frames whose picture has another
    size than the raw's default crop raise LayoutError: the experts cropped them. Non-Bayer sensors do too.
    """

    def __init__(self, root: str | Path, expert: str = "c", crop: int | None = None) -> None:
        super().__init__(root, crop)
        if expert not in tuple("abcde"):
            raise ValueError(f"expert is {expert!r}; expected a, b, c, d or e")
        raws = {p.stem: p for folder in ("raw_photos", "dng") for p in sorted((self.root / folder).rglob("*.dng"))}
        for path in sorted((self.root / f"tiff16_{expert}").glob("*.tif")):
            if path.stem in raws:
                self.items.append((raws[path.stem], path))
        if not self.items:
            raise LayoutError(
                f"{root}: holds no tiff16_{expert}/*.tif with a DNG of the same name in raw_photos or dng"
            )

    def __getitem__(self, i: int) -> dict[str, Any]:
        from isp.stages.geometry import unorient

        path, picture = self.items[i]
        packed, gains, raw = _packed(path, default_crop=True)
        target = unorient(read_picture(picture)[None], raw.meta.orientation)[0]
        t, l, b, r = raw.meta.crop  # noqa: E741
        if tuple(target.shape[1:]) != (b - t, r - l):
            raise LayoutError(f"{picture}: is {tuple(target.shape[1:])}, the raw's default crop {(b - t, r - l)}")
        assert raw.meta.cfa is not None
        target = unify(target, raw.meta.cfa.shifted(t, l), RGGB)
        window = self.window(packed.shape[1], packed.shape[2], path.name)
        item = {"packed": _cut(packed, window), "gains": gains, "target": _cut(target, window, 2), "name": path.stem}
        profile = raw.meta.noise_profile
        return item | (_noise(item["packed"], gains, profile) if profile is not None else {})


class RAIM(_Layout):
    """RAIM, the raw track: a folder of raws and a folder of pictures with the same names (suffixes aside).

    J. Liang et al., "NTIRE 2025 the 2nd Restore Any Image Model (RAIM) in the Wild Challenge", CVPR workshops 2025. How
    the archives are laid out inside is not published beside them: name the two folders as they lie. Raws are whatever
    isp.raw.read takes; headerless .raw and .npy files need their YAML (see isp.raw.headerless).
    targets None: frames without truth (phase 2). target: display-encoded 3 2h 2w, of the default crop.
    """

    def __init__(
        self, root: str | Path, crop: int | None = None, *, inputs: str = "input", targets: str | None = "gt"
    ) -> None:
        super().__init__(root, crop)
        from isp.datasets.sources import IMAGE_SUFFIXES, RAW_SUFFIXES

        raws = sorted(p for p in (self.root / inputs).rglob("*") if p.suffix.lower() in RAW_SUFFIXES)
        if not raws:
            raise LayoutError(f"{self.root / inputs}: holds no raws")
        pictures: dict[str, Path] = {}
        if targets is not None:
            found = sorted(p for p in (self.root / targets).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            pictures = {p.stem: p for p in found}
            if missing := [p for p in raws if p.stem not in pictures]:
                raise LayoutError(f"{missing[0]}: has no picture of its name in {self.root / targets}")
        self.items = [(p, pictures.get(p.stem)) for p in raws]

    def __getitem__(self, i: int) -> dict[str, Any]:
        path, picture = self.items[i]
        packed, gains, raw = _packed(path, default_crop=True)
        window = self.window(packed.shape[1], packed.shape[2], path.name)
        item: dict[str, Any] = {"packed": _cut(packed, window), "gains": gains, "name": path.stem}
        if picture is not None:
            target = read_picture(picture)
            t, l, b, r = raw.meta.crop  # noqa: E741
            if tuple(target.shape[1:]) != (b - t, r - l):
                raise LayoutError(f"{picture}: is {tuple(target.shape[1:])}, the raw's default crop {(b - t, r - l)}")
            assert raw.meta.cfa is not None
            item["target"] = _cut(unify(target, raw.meta.cfa.shifted(t, l), RGGB), window, 2)
        profile = raw.meta.noise_profile
        return item | (_noise(item["packed"], gains, profile) if profile is not None else {})


LAYOUTS: dict[str, type[_Layout]] = {
    "sidd": SIDD,
    "sid": SID,
    "zurich": ZurichRawToRgb,
    "fivek": FiveK,
    "raim": RAIM,
}


@lru_cache(maxsize=2)
def _linear(path: Path) -> tuple[Tensor, RawImage]:
    """The linear mosaic of a raw, 1 1 H W, and the raw; the last ones are kept, for several windows of a frame."""
    from isp.pipeline import run, sensor_stages

    raw = read(path)
    if raw.meta.kind != "bayer":
        raise LayoutError(f"{path}: is a {raw.meta.kind} frame; only Bayer frames have four packed planes")
    with torch.no_grad():
        return run(sensor_stages(raw.meta), raw.tensor()), raw


def _gains(raw: RawImage) -> np.ndarray:
    from isp.options import RenderOptions
    from isp.parameters import resolve

    return resolve(raw.meta, RenderOptions()).gains


def _packed(path: Path, default_crop: bool = False) -> tuple[Tensor, Tensor, RawImage]:
    """White-balanced packed mosaic 4 h w in RGGB, its gains (3), and the raw. default_crop: of that part alone."""
    x, raw = _linear(path)
    assert raw.meta.cfa is not None
    cfa = raw.meta.cfa
    if default_crop:
        t, l, b, r = raw.meta.crop  # noqa: E741
        x, cfa = x[..., t:b, l:r], cfa.shifted(t, l)
    gains = torch.from_numpy(_gains(raw)).float()
    return _balance(F.pixel_unshuffle(unify(x, cfa, RGGB), 2)[0], gains), gains, raw


def _camera_rgb(path: Path, window: Sequence[int]) -> Tensor:
    """White-balanced linear camera RGB 3 2h 2w of a window in packed sites, demosaicked with what lies around it."""
    from isp.stages.demosaic import default_method, demosaic, halo_of
    from isp.stages.white_balance import white_balance

    x, raw = _linear(path)
    assert raw.meta.cfa is not None
    x = unify(x, raw.meta.cfa, RGGB)
    method = default_method("bayer")
    halo = -(-(halo_of(method, RGGB) or 16) // 2) * 2
    top, left, height, width = (2 * value for value in window)
    above, before = min(halo, top), min(halo, left)
    part = x[..., top - above : top + height + halo, left - before : left + width + halo]
    with torch.no_grad():
        rgb = demosaic(white_balance(part, _gains(raw), RGGB), RGGB, method)[0]
    return rgb[:, above : above + height, before : before + width]


def _balance(packed: Tensor, gains: Tensor) -> Tensor:
    return packed * gains[PLANES][:, None, None]


def _cut(x: Tensor, window: Sequence[int], scale: int = 1) -> Tensor:
    """C scale*h scale*w of a window in packed sites."""
    top, left, height, width = (scale * value for value in window)
    return x[:, top : top + height, left : left + width].contiguous()


def _noise(packed: Tensor, gains: Tensor, profile: np.ndarray) -> dict[str, Tensor]:
    """shot and read of each plane before the gains, and sigma after them."""
    shot, read = (torch.from_numpy(v).float() for v in from_dng_noise_profile(profile, RGGB))  # 4, per site
    return {"shot": shot, "read": read, "sigma": noise_std(packed[None], *amplify(shot, read, gains[PLANES]))[0]}
