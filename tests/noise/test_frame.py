"""Where a frame's noise comes from, and that it is right."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isp.noise import gaussian_noise, load_profile, profile_names
from isp.noise.frame import frame_noise
from isp.noise.profile import camera_profile
from isp.raw.cfa import CFA
from isp.raw.metadata import RawMetadata
from isp.raw.opcodes import GainMap

META = RawMetadata(height=300, width=300, cfa=CFA("GRBG"))
SHOT, READ = 2e-3, 1e-5


def noisy(size: int = 300, gain: torch.Tensor | None = None, contrast: float = 0.5) -> torch.Tensor:
    """1 1 H W, smooth, with noise of SHOT and READ, both raised by a gain."""
    y = torch.linspace(0, 9, size).sin() * contrast / 2 + contrast / 2 + 0.02
    clean = (y[:, None] * y).expand(1, 1, size, size)
    frame = gaussian_noise(clean, SHOT, READ, generator=torch.Generator().manual_seed(0))
    return frame if gain is None else frame * gain


def test_the_tag_comes_first() -> None:
    tag = np.array([[1e-4, 1e-6], [2e-4, 2e-6], [3e-4, 3e-6]])
    meta = replace(META, noise_profile=tag, model="NIKON D850", iso=800.0, origins={"noise_profile": "IFD0 tag 51041"})
    values, origin = frame_noise(meta, noisy())
    assert np.array_equal(values, tag)
    assert origin == "IFD0 tag 51041"


@pytest.mark.parametrize(
    ("names", "profile"),
    [
        ({"make": "NIKON CORPORATION", "model": "NIKON D850"}, "nikon-d850"),
        ({"make": "Nikon", "model": "D850"}, "nikon-d850"),
        ({"make": "SONY", "model": "ILCE-7SM2"}, "sony-a7s2"),
        ({"unique_camera_model": "Sony ILCE-7SM2"}, "sony-a7s2"),
        ({"make": "Canon", "model": "Canon EOS 70D"}, "canon-70d"),
        ({"make": "Canon", "model": "Canon EOS REBEL T5i"}, "canon-700d"),
        ({"make": "Xiaomi", "model": "Redmi K20 Pro"}, "imx586"),
    ],
)
def test_then_the_camera_at_its_iso(names: dict[str, str], profile: str) -> None:
    values, origin = frame_noise(replace(META, iso=1600.0, **names), None)
    shot, read = load_profile(profile).at_iso(1600)
    assert values is not None
    assert values.shape == (3, 2)
    assert values[1] == pytest.approx([shot.mean(), read.mean()])
    assert origin == f"profile {profile} at ISO 1600"


def test_other_cameras_are_not_taken_for_it() -> None:
    for name in ("NIKON D85", "D8500", "Canon EOS 7D", "ILCE-7M4", "", None):  # of the A7 IV only K is known
        assert camera_profile(name) is None
    names = [name for n in profile_names() for name in load_profile(n).cameras]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("shaded", [False, True])
def test_then_the_frame_itself(shaded: bool) -> None:
    """Within 25 %; with lens shading the figures are those of the sensor, before it."""
    meta, gain = META, None
    if shaded:
        doubling = GainMap(top=0, left=0, bottom=300, right=300, plane=0, planes=1, row_pitch=1, col_pitch=1,
                           map_spacing_v=1.0, map_spacing_h=1.0, map_origin_v=0.0, map_origin_h=0.0,
                           map_gains=np.full((1, 1, 1), 2.0))  # fmt: skip
        meta, gain = replace(META, opcode_list2=(doubling,)), torch.tensor(2.0)
    values, origin = frame_noise(meta, noisy(gain=gain))
    assert values == pytest.approx(np.broadcast_to([SHOT, READ], (3, 2)), rel=0.25)
    assert origin == "estimated from the frame"
    assert frame_noise(meta, None)[0] is None


@pytest.mark.parametrize("size", [300, 40])
def test_an_even_or_small_frame_gets_the_variance_it_shows(size: int) -> None:
    frame = torch.full((1, 1, size, size), 0.25)
    frame = gaussian_noise(frame, SHOT, READ, generator=torch.Generator().manual_seed(0))
    values, origin = frame_noise(META, frame)
    assert values is not None
    assert origin.startswith("estimated from the frame, one variance for all (" if size == 40 else "estimated from the")
    assert values[:, 0] * 0.25 + values[:, 1] == pytest.approx(SHOT * 0.25 + READ, rel=0.2)


def test_a_tiny_frame_counts_as_clean() -> None:
    values, _ = frame_noise(META, torch.rand(1, 1, 2, 3))
    assert values == pytest.approx(np.zeros((1, 2)))
