"""Each public data set on a tiny tree in its published layout, value by value."""

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from PIL import Image
from torch.utils.data import DataLoader

from isp.datasets.layouts import LAYOUTS, RAIM, SID, SIDD, FiveK, LayoutError, ZurichRawToRgb
from isp.raw import CFA, RawImage, RawMetadata, write_dng

BLACK, WHITE = 512.0, 16383.0
NEUTRAL = np.array([0.5, 1.0, 0.625])
RNG = np.random.default_rng(3)


def pack(mosaic):
    """4 h w of an RGGB mosaic, written out."""
    return np.stack([mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2]])


def balanced(packed):
    return packed / NEUTRAL[[0, 1, 1, 2], None, None]


def dng(path, counts, cfa="RGGB", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = RawMetadata(
        height=counts.shape[0],
        width=counts.shape[1],
        cfa=CFA(cfa),
        black_level=np.full((1, 1, 1), BLACK),
        white_level=[WHITE],
        calibration_illuminant1=21,
        color_matrix1=[[0.6797, -0.0419, -0.0807], [-0.4694, 1.1883, 0.3081], [-0.1217, 0.2478, 0.5641]],
        as_shot_neutral=NEUTRAL,
        unique_camera_model="test",
        **more,
    )
    write_dng(path, RawImage(counts.astype(np.uint16), meta))


def counts(height=24, width=32):
    return RNG.integers(400, 6000, (height, width))


def linear(frame):
    return (frame - BLACK) / (WHITE - BLACK)


class TestSIDD:
    @pytest.fixture
    def tree(self, tmp_path):
        frames = {}
        for folder in ("0001_001_S6_00100_00060_3200_L", "0013_001_IP_00800_01000_3200_N"):
            at = tmp_path / "SIDD_Medium_Raw" / "Data" / folder
            at.mkdir(parents=True)
            for number in ("010", "011"):
                instance = folder[:4]
                noisy, clean = RNG.random((2, 20, 26)).astype(np.float32)
                for kind, frame in (("NOISY", noisy), ("GT", clean)):
                    with h5py.File(at / f"{instance}_{kind}_RAW_{number}.MAT", "w") as file:
                        file["x"] = frame.T  # MATLAB's order
                frames[f"{folder}/{instance}_NOISY_RAW_{number}"] = noisy, clean
                if number == "010":
                    unknown = np.array(
                        [(51041, np.array([2e-3, 1e-5, 2e-3, 1e-5, 3e-3, 2e-5]))], [("ID", "O"), ("Value", "O")]
                    )
                    meta = {"AsShotNeutral": NEUTRAL, "SubIFDs": {"UnknownTags": unknown}, "Make": "x"}
                    scipy.io.savemat(at / f"{instance}_METADATA_RAW_{number}.MAT", {"metadata": meta}, appendmat=False)
        return tmp_path / "SIDD_Medium_Raw", frames

    def test_every_value(self, tree):
        root, frames = tree
        data = SIDD(root)
        assert len(data) == 4
        assert {item["name"] for item in data} == set(frames)
        for item in data:
            noisy, clean = frames[item["name"]]
            s6 = "_S6_" in item["name"]
            expected = [pack(frame[:, 1:25] if s6 else frame) for frame in (noisy, clean)]  # GRBG to RGGB by a column
            if item["name"].endswith("010"):
                expected = [balanced(x) for x in expected]
                torch.testing.assert_close(item["gains"], torch.tensor([2.0, 1.0, 1.6]))
                shot, read = np.array([2e-3, 2e-3, 2e-3, 3e-3]), np.array([1e-5, 1e-5, 1e-5, 2e-5])
                plain = pack(noisy[:, 1:25] if s6 else noisy)
                sigma = np.sqrt(shot[:, None, None] * plain + read[:, None, None])
                np.testing.assert_allclose(item["sigma"], balanced(sigma), rtol=1e-5)
            else:
                assert "gains" not in item
            np.testing.assert_allclose(item["packed"], expected[0], rtol=1e-6)
            np.testing.assert_allclose(item["target"], expected[1], rtol=1e-6)
            assert item["iso"] == (100 if s6 else 800)

    def test_crops_are_read_from_the_same_place(self, tree):
        root, frames = tree
        item = SIDD(root, crop=4)[1]
        noisy, clean = (pack(frame[:, 1:25]) for frame in frames[item["name"]])
        places = [
            (y, x) for y in range(7) for x in range(9) if np.array_equal(noisy[:, y : y + 4, x : x + 4], item["packed"])
        ]
        ((y, x),) = places
        np.testing.assert_array_equal(clean[:, y : y + 4, x : x + 4], item["target"])

    def test_errors(self, tree, tmp_path):
        root, _ = tree
        with pytest.raises(LayoutError, match="smaller than a crop of 40"):
            SIDD(root, crop=40)[0]
        path = sorted(root.glob("Data/*/*NOISY_RAW_010.MAT"))[0]
        path.write_bytes(b"MATLAB 5.0 MAT-file")
        with pytest.raises(LayoutError, match="is not a raw of SIDD"):
            SIDD(root)[0]
        next(root.glob("Data/*S6*/*GT_RAW_010.MAT")).unlink()
        with pytest.raises(LayoutError, match=r"has no 0001_GT_RAW_010\.MAT"):
            SIDD(root)
        (tmp_path / "Data").mkdir()
        with pytest.raises(LayoutError, match="NOISY_RAW"):
            SIDD(tmp_path)


class TestSID:
    @pytest.fixture
    def tree(self, tmp_path):
        frames = {}
        for name in (
            "short/00001_00_0.04s.ARW",
            "short/00001_01_0.1s.ARW",
            "long/00001_00_10s.ARW",
            "short/10003_00_0.1s.ARW",
        ):
            frames[name] = counts()
            dng(tmp_path / "Sony" / name, frames[name])
        frames["long/10003_00_10s.ARW"] = counts()
        dng(tmp_path / "Sony" / "long/10003_00_10s.ARW", frames["long/10003_00_10s.ARW"], noise_profile=[[1e-3, 1e-6]])
        (tmp_path / "Sony_train_list.txt").write_text(
            "./Sony/short/00001_00_0.04s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8\n"
            "./Sony/short/00001_01_0.1s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8\n"
        )
        return tmp_path, frames

    def test_every_value(self, tree):
        root, frames = tree
        data = SID(root)
        assert len(data) == 2
        for item, name, ratio in zip(data, ("00001_00_0.04s", "00001_01_0.1s"), (250, 100), strict=False):
            assert item["name"] == name
            assert item["ratio"] == pytest.approx(ratio)
            expected = balanced(pack(linear(frames[f"short/{name}.ARW"]))) * ratio
            np.testing.assert_allclose(item["packed"], expected, rtol=1e-4, atol=1e-4)
            truth = balanced(pack(linear(frames["long/00001_00_10s.ARW"])))
            measured = np.stack(
                [item["target"][c].numpy()[y::2, x::2] for c, y, x in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1))]
            )
            np.testing.assert_allclose(measured, truth, rtol=1e-4, atol=1e-5)  # demosaicking keeps what was measured

    def test_without_a_list_by_names_and_the_ratio_ends_at_300(self, tree):
        root, _ = tree
        data = SID(root, "test")
        assert [item["name"] for item in data] == ["10003_00_0.1s"]
        assert data[0]["ratio"] == pytest.approx(100)
        assert SID.seconds(root / "00001_00_0.033s.ARW") == 0.033
        with pytest.raises(LayoutError, match="a name such as"):
            SID.seconds(root / "photo.ARW")
        with pytest.raises(LayoutError, match=r"neither Sony_val_list\.txt"):
            SID(root, "val")

    def test_a_crop_is_the_whole_frame_s_part(self, tree):
        root, _ = tree
        whole, part = SID(root)[0], SID(root, crop=6)[0]
        ((y, x),) = [
            (y, x)
            for y in range(7)
            for x in range(11)
            if torch.equal(whole["packed"][:, y : y + 6, x : x + 6], part["packed"])
        ]
        torch.testing.assert_close(whole["target"][:, 2 * y : 2 * y + 12, 2 * x : 2 * x + 12], part["target"])


class TestZurich:
    @pytest.fixture
    def tree(self, tmp_path):
        frames = {}
        for number in (0, 2, 10):
            for folder in ("huawei_raw", "canon"):
                (tmp_path / "train" / folder).mkdir(parents=True, exist_ok=True)
            frames[str(number)] = frame = RNG.integers(0, 1024, (28, 36)).astype(np.uint16)
            Image.fromarray(frame).save(tmp_path / f"train/huawei_raw/{number}.png")
            Image.new("RGB", (36, 28), (number * 20, 100, 50)).save(tmp_path / f"train/canon/{number}.jpg", quality=95)
        return tmp_path, frames

    def test_every_value(self, tree):
        root, frames = tree
        data = ZurichRawToRgb(root)
        assert [item["name"] for item in data] == ["0", "2", "10"]
        for item in data:
            np.testing.assert_allclose(item["packed"], pack((frames[item["name"]] - 63.0) / 960), atol=1e-6)
            colour = item["target"].mean((1, 2)).numpy() * 255
            np.testing.assert_allclose(colour, [int(item["name"]) * 20, 100, 50], atol=2)
        np.testing.assert_allclose(ZurichRawToRgb(root, black=0)[0]["packed"], pack(frames["0"] / 1023), atol=1e-6)
        batch = next(iter(DataLoader(ZurichRawToRgb(root, crop=8), batch_size=3)))
        assert batch["packed"].shape == (3, 4, 8, 8)
        assert batch["target"].shape == (3, 3, 16, 16)

    def test_errors(self, tree):
        root, _ = tree
        (root / "train/canon/2.jpg").unlink()
        with pytest.raises(LayoutError, match=r"2\.png: has no .*2\.jpg"):
            ZurichRawToRgb(root)
        with pytest.raises(LayoutError, match="huawei_raw"):
            ZurichRawToRgb(root, "test")


class TestFiveK:
    @pytest.mark.parametrize("place", ["raw_photos/HQa1to700/photos", "dng"])
    def test_every_value(self, tmp_path, place):
        frame = counts(20, 28)
        dng(tmp_path / place / "a0001-jmac_DSC1459.dng", frame, "GRBG", orientation=6, default_crop_size=(26.0, 20.0))
        dng(tmp_path / place / "a0002-dgw_005.dng", frame)
        upright = RNG.integers(0, 65536, (26, 20, 3), dtype=np.uint16)
        (tmp_path / "tiff16_c").mkdir()
        tifffile.imwrite(tmp_path / "tiff16_c/a0001-jmac_DSC1459.tif", upright, photometric="rgb")
        data = FiveK(tmp_path)
        assert len(data) == 1  # the second has no picture
        item = data[0]
        np.testing.assert_allclose(item["packed"], balanced(pack(linear(frame[:, 1:25]))), rtol=1e-4, atol=1e-6)
        turned = np.rot90(upright, 1)  # orientation 6 is shown turned clockwise
        np.testing.assert_allclose(item["target"], turned[:, 1:25].transpose(2, 0, 1) / 65535, atol=1e-6)

    def test_errors(self, tmp_path):
        dng(tmp_path / "dng/a0001.dng", counts())
        with pytest.raises(LayoutError, match="tiff16_a"):
            FiveK(tmp_path, "a")
        (tmp_path / "tiff16_a").mkdir()
        tifffile.imwrite(tmp_path / "tiff16_a/a0001.tif", np.zeros((10, 12, 3), np.uint16), photometric="rgb")
        with pytest.raises(LayoutError, match="the raw's default crop"):
            FiveK(tmp_path, "a")[0]
        with pytest.raises(ValueError, match="a, b, c, d or e"):
            FiveK(tmp_path, "f")


class TestRAIM:
    def test_every_value(self, tmp_path):
        frame = counts()
        dng(tmp_path / "noisy/0001.dng", frame, "BGGR", noise_profile=[[1e-3, 1e-6]])
        picture = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        (tmp_path / "clean").mkdir()
        Image.fromarray(picture).save(tmp_path / "clean/0001.png")
        item = RAIM(tmp_path, inputs="noisy", targets="clean")[0]
        np.testing.assert_allclose(item["packed"], balanced(pack(linear(frame[1:23, 1:31]))), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(item["target"], picture[1:23, 1:31].transpose(2, 0, 1) / 255, atol=1e-6)
        variance = 1e-3 * pack(linear(frame[1:23, 1:31])).clip(0) + 1e-6
        np.testing.assert_allclose(item["sigma"], balanced(np.sqrt(variance)), rtol=1e-3)
        assert "target" not in RAIM(tmp_path, inputs="noisy", targets=None)[0]

    def test_errors(self, tmp_path):
        dng(tmp_path / "input/0001.dng", counts())
        (tmp_path / "gt").mkdir()
        with pytest.raises(LayoutError, match=r"0001\.dng: has no picture"):
            RAIM(tmp_path)
        with pytest.raises(LayoutError, match="holds no raws"):
            RAIM(tmp_path, inputs="gt")


@pytest.mark.parametrize("layout", LAYOUTS.values())
def test_a_folder_that_is_not_there(tmp_path, layout):
    with pytest.raises(LayoutError, match="expected the data set's folder"):
        layout(tmp_path / "none")
