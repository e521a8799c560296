"""Sources: what each gives, in which order, and what happens to damaged files."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import isp
from isp.cameras import load_camera
from isp.datasets.sources import (
    Crops,
    DeadLeaves,
    Hdf5,
    ImageFolder,
    Joined,
    RawFolder,
    SourceError,
    clean_from_raw,
    clean_metadata,
    full,
    open_source,
    random_crop,
    read_picture,
    shrink,
)
from isp.options import RenderOptions
from isp.parameters import resolve
from isp.pipeline import display_stages, run, unprocess
from isp.raw.cfa import CANONICAL, CFA
from isp.raw.image import RawImage
from isp.raw.metadata import RawMetadata

CHEQUER = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def write_images(folder: Path) -> None:
    """One picture in every format: 8 and 16 bits, float, grey and with alpha; and files that are none."""
    import OpenImageIO as oiio  # noqa: N813
    import tifffile
    from PIL import Image

    (folder / "b").mkdir(parents=True)
    Image.fromarray(CHEQUER).save(folder / "b" / "eight.PNG")
    Image.fromarray(CHEQUER).save(folder / "photo.jpg", quality=100, subsampling=0)
    Image.fromarray(CHEQUER[..., 0]).save(folder / "grey.png")
    tifffile.imwrite(folder / "sixteen.tif", CHEQUER.astype(np.uint16) * 257, photometric="rgb")
    buffer = oiio.ImageBuf(oiio.ImageSpec(32, 24, 3, oiio.FLOAT))
    buffer.set_pixels(oiio.ROI(0, 32, 0, 24), (CHEQUER / np.float32(255)) ** 2 * 2)
    assert buffer.write(str(folder / "linear.exr"))
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("none")


def test_images_of_every_format(tmp_path: Path) -> None:
    write_images(tmp_path)
    source = ImageFolder(tmp_path)
    assert source.names == ["b/eight.PNG", "grey.png", "linear.exr", "photo.jpg", "sixteen.tif"]
    expected = torch.from_numpy(CHEQUER.transpose(2, 0, 1) / np.float32(255))
    for index in range(len(source)):
        rgb, name, meta = source[index]
        assert rgb.dtype == (torch.uint8 if name in ("b/eight.PNG", "grey.png", "photo.jpg") else torch.float32), name
        rgb = full(rgb)
        assert rgb.shape == (3, 24, 32)
        assert meta is None
        if name == "grey.png":
            assert torch.equal(rgb, expected[:1].expand(3, -1, -1))
        elif name == "linear.exr":  # twice the square of the code, encoded by sRGB's formula, beyond 1 too
            light = 2 * expected**2
            curve = torch.where(light < 0.0031308, 12.92 * light, 1.055 * light.pow(1 / 2.4) - 0.055)
            assert torch.allclose(rgb, curve, atol=1e-4)
            assert rgb.max() > 1.2
        else:
            assert torch.allclose(rgb, expected, atol=0.05 if name == "photo.jpg" else 1e-6), name
    with pytest.raises(IndexError):
        source[5]


def test_damaged_files_fail_or_are_skipped(tmp_path: Path) -> None:
    """One line that begins with the path; or a warning and the next file, the same for every reader."""
    write_images(tmp_path)
    whole = (tmp_path / "b" / "eight.PNG").read_bytes()
    (tmp_path / "b" / "eight.PNG").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "grey.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"^[^\n]*eight\.PNG: [^\n]+$"):
        ImageFolder(tmp_path)[0]
    with pytest.raises(SourceError, match=r"^[^\n]*grey\.png: [^\n]+$"):
        ImageFolder(tmp_path)[1]
    source = ImageFolder(tmp_path, on_error="skip")
    with pytest.warns(UserWarning) as warned:  # noqa: PT030 - both messages are looked at
        assert source[0].name == "linear.exr"
    assert [Path(str(w.message).split(": ")[0]).name for w in warned] == ["eight.PNG", "grey.png"]
    with pytest.raises(ValueError, match="on_error is 'ignore'; expected fail or skip"):
        ImageFolder(tmp_path, on_error="ignore")
    only = tmp_path / "only"
    only.mkdir()
    with pytest.raises(SourceError, match=r"only: holds no file ending in \.png"):
        ImageFolder(only)
    (only / "a.png").write_bytes(b"no picture")
    with (
        pytest.warns(UserWarning, match="skipped"),
        pytest.raises(SourceError, match="none of its 1 files can be read"),
    ):
        ImageFolder(only, on_error="skip")[0]
    with pytest.raises(SourceError, match="expected a folder"):
        ImageFolder(tmp_path / "nowhere")


def test_a_cut_jpeg_is_damaged(tmp_path: Path) -> None:
    write_images(tmp_path)
    path = tmp_path / "photo.jpg"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(SourceError, match=r"photo\.jpg: "):
        read_picture(path)


def test_hdf5(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/images"] = np.stack([CHEQUER, 255 - CHEQUER])
        file["test/0007"] = CHEQUER.transpose(2, 0, 1).astype(np.uint16) * 257
        file["test/float"] = (CHEQUER / np.float32(255)) ** 2
        file["labels"] = np.arange(4)
    expected = torch.from_numpy(CHEQUER.transpose(2, 0, 1) / np.float32(255))
    source = Hdf5(tmp_path / "a.h5")
    names = [source[i].name for i in range(len(source))]
    assert names == ["a.h5/test/0007", "a.h5/test/float", "a.h5/train/images/0", "a.h5/train/images/1"]
    assert torch.allclose(source[0].rgb, expected, atol=1e-6)
    assert torch.allclose(full(source[3].rgb), 1 - expected, atol=1e-6)
    assert torch.equal(pickle.loads(pickle.dumps(source))[2].rgb, source[2].rgb)  # noqa: S301 - our own object
    assert len(Hdf5(tmp_path / "a.h5", "train/images")) == 2
    linear = Hdf5(tmp_path / "a.h5", "test", linear=True)[1].rgb
    assert torch.allclose(isp.stages.encode.decode(linear, "srgb"), expected**2, atol=1e-5)
    with pytest.raises(SourceError, match=r"a\.h5: .*nothing"):
        Hdf5(tmp_path / "a.h5", "nothing")
    with pytest.raises(SourceError, match="holds no pictures; expected datasets N H W 3"):
        Hdf5(tmp_path / "a.h5", "labels")
    (tmp_path / "b.h5").write_bytes(b"not HDF5")
    with pytest.raises(SourceError, match=r"^[^\n]*b\.h5: [^\n]+$"):
        Hdf5(tmp_path / "b.h5")


def test_dead_leaves_by_index() -> None:
    """Picture i is the same whatever came before it, from another object too."""
    one, two = DeadLeaves(48, seed=5), DeadLeaves(48, seed=5)
    third = one[3].rgb
    assert one[2].name == "dead-leaves/5/2"
    assert torch.equal(two[3].rgb, third)
    assert not torch.equal(DeadLeaves(48, seed=6)[3].rgb, third)
    assert DeadLeaves((20, 30), length=2)[1].rgb.shape == (3, 20, 30)
    with pytest.raises(IndexError):
        DeadLeaves(20, length=2)[2]


def test_joined_sources_count_on() -> None:
    joined = Joined([DeadLeaves(8, seed=1, length=2), DeadLeaves(8, seed=2, length=3)])
    assert [joined[i].name for i in range(len(joined))] == [
        f"dead-leaves/{seed}/{i}" for seed, length in ((1, 2), (2, 3)) for i in range(length)
    ]


def test_crops_are_seeded_and_endless() -> None:
    source = DeadLeaves(40, length=3)
    crops = Crops(source, 16, seed=9)
    rgb, name, _ = crops[7]
    assert name == "dead-leaves/0/1"
    assert rgb.shape == (3, 16, 16)
    whole = source[1].rgb
    places = [(y, x) for y in range(25) for x in range(25) if torch.equal(whole[:, y : y + 16, x : x + 16], rgb)]
    assert len(places) == 1
    assert torch.equal(Crops(source, 16, seed=9)[7].rgb, rgb)
    assert not torch.equal(crops[10].rgb, rgb)  # the same picture, another place
    assert Crops(source, 16, downscale=2)[0].rgb.shape == (3, 16, 16)
    with pytest.raises(SourceError, match=r"dead-leaves/0/0: 40 x 40 .* is smaller than a crop of 41"):
        Crops(source, 41)[0]
    assert random_crop(torch.zeros(3, 4, 5), 4, np.random.default_rng(0)).shape == (3, 4, 4)


def test_shrinking_averages_light() -> None:
    """Black and white make sRGB's code of half the light, 188 of 255."""
    chequers = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(3, 2, 2)
    assert abs(float(shrink(chequers, 2, encoded=True)[0]) - 0.7354) < 1e-3
    assert float(shrink(chequers, 2, encoded=False)[0]) == 0.5


def test_open_source(tmp_path: Path) -> None:
    write_images(tmp_path / "images")
    assert isinstance(open_source(tmp_path / "images"), ImageFolder)
    (tmp_path / "raws").mkdir()
    np.save(tmp_path / "raws" / "a.npy", np.zeros((4, 4), np.uint16))
    assert isinstance(open_source(tmp_path / "raws"), RawFolder)
    assert open_source("dead-leaves", size=8, seed=3)[0].name == "dead-leaves/3/0"
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: holds neither images nor raws"):
        open_source(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"expected a folder, a file ending in \.h5 or \.hdf5, or dead-leaves"):
        open_source(tmp_path / "missing.png")


# --- raws as clean pictures ---


def noisy_raw(cfa: CFA, seed: int, size: int = 96) -> RawImage:
    """A grey card under 3500 K, camera RGB times 0.4, with noise of 100 DN in 4000."""
    meta = load_camera("nikon-z-6").metadata(size, size, temperature=3500, cfa=cfa)
    meta = replace(meta, black_level=np.full((1, 1, 1), 1000.0), white_level=np.array([5000.0]))
    neutral = meta.as_shot_neutral
    assert neutral is not None
    flat = 0.4 * neutral[cfa.channel_map(size, size)]
    noise = np.random.default_rng(seed).normal(0, 100, (size, size))
    return RawImage((1000 + 4000 * flat + noise).astype(np.float32), meta)


@pytest.mark.parametrize(
    "cfa", [CFA("RGGB"), CFA("GBRG"), *(CFA(*CANONICAL[k]) for k in ("quad-bayer", "x-trans"))], ids=str
)
def test_a_binned_raw_is_grey_and_cleaner(cfa: CFA) -> None:
    """Every channel at the card's level; the variance that the samples of a block leave, to 10 %."""
    raw = noisy_raw(cfa, 0, 384)
    rgb = clean_from_raw(raw)
    block, samples = {"bayer": (2, (1, 2, 1)), "quad-bayer": (4, (4, 8, 4)), "x-trans": (3, (2, 5, 2))}[cfa.kind]
    assert rgb.shape == (3, 384 // block, 384 // block)
    assert torch.allclose(rgb.mean((1, 2)), torch.tensor(0.4), atol=2e-3)
    gains = resolve(raw.meta, RenderOptions()).gains
    for channel in range(3):
        expected = (100 / 4000 * gains[channel]) ** 2 / samples[channel]
        assert abs(float(rgb[channel].var()) / expected - 1) < 0.1


def test_a_burst_is_averaged() -> None:
    burst = [noisy_raw(CFA("RGGB"), seed) for seed in range(8)]
    one, eight = clean_from_raw(burst[0]), clean_from_raw(burst)
    assert torch.allclose(one.var((1, 2)) / eight.var((1, 2)), torch.tensor(8.0), rtol=0.15)
    with pytest.raises(ValueError, match="a burst needs frames of one size and CFA"):
        clean_from_raw([burst[0], noisy_raw(CFA("RGGB"), 1, 64)])
    with pytest.raises(ValueError, match="method is 'mean', factor 1"):
        clean_from_raw(burst[0], "mean")


def test_a_demosaicked_raw_gives_its_mosaic_back() -> None:
    """Measured samples survive: mosaicking the clean picture for the same camera gives the counts again."""
    raw = noisy_raw(CFA("GRBG"), 3)
    rgb = clean_from_raw(raw, "demosaic")
    assert rgb.shape == (3, 96, 96)
    counts = unprocess(rgb[None], raw.meta, RenderOptions(space="camera", look="neutral", linear=True))
    assert np.abs(counts[0, 0].numpy() - raw.mosaic).max() < 0.01
    assert clean_from_raw(raw, "demosaic", 2).shape == (3, 48, 48)


def test_raw_folders_render(tmp_path: Path) -> None:
    """From a DNG: the clean picture of a grey card, with metadata whose display stages show it grey and as bright as
    sRGB's formula says."""
    raw = noisy_raw(CFA("RGGB"), 0)
    frame = RawMetadata(**{**raw.meta.as_dict(), "orientation": 6})
    isp.raw.write_dng(tmp_path / "card.dng", RawImage(raw.mosaic.astype(np.uint16), frame))
    (tmp_path / "cut.dng").write_bytes((tmp_path / "card.dng").read_bytes()[:3000])
    source = RawFolder(tmp_path)
    rgb, name, meta = source[0]
    assert (name, rgb.shape) == ("card.dng", (3, 48, 48))
    assert meta is not None
    assert (meta.kind, meta.height, meta.width, meta.orientation) == ("linear", 48, 48, 1)
    p = resolve(meta, RenderOptions(look="neutral"))
    picture = run(display_stages(meta, p), rgb[None])
    expected = 1.055 * 0.4 ** (1 / 2.4) - 0.055
    assert torch.allclose(picture.mean((0, 2, 3)), torch.tensor(expected), atol=0.01)
    crop = Crops(source, 16)[0]
    assert crop.meta is not None
    assert (crop.meta.height, crop.meta.width) == (16, 16)
    with pytest.raises(SourceError, match=r"^[^\n]*cut\.dng: [^\n]+$"):
        source[1]


def test_clean_metadata_needs_no_correction() -> None:
    meta = clean_metadata(noisy_raw(CFA("BGGR"), 0).meta, 10, 12)
    assert (meta.height, meta.width, meta.cfa, meta.samples) == (10, 12, None, 3)
    assert meta.opcode_list1 == meta.opcode_list2 == meta.opcode_list3 == ()
    assert meta.white_level.tolist() == [1, 1, 1]
