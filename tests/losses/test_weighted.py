"""The table of losses and their sum: what holds for every loss that a recipe can name."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from isp.losses import LOSSES, Loss
from isp.losses.weighted import DOMAINS
from isp.metrics.lpips import TRUNKS
from isp.metrics.weights import FILES, build_trunk

HEADS = {"lpips-squeeze": (64, 128, 256, 384, 384, 512, 512), "lpips-alex": (64, 192, 384, 256, 256)}
HEADS["lpips-vgg"] = (64, 128, 256, 512, 512)
AT_EQUALITY = dict.fromkeys(LOSSES, 0.0) | {"psnr": -80.0}
# The paper's 256 projections take their time on a processor; test_fdl.py has the quick tests
SLOW = ("fdl", "fdl-squeeze")
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in LOSSES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file of weights, of random numbers: what is tested here holds for any."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("squeeze", "alex", "vgg16", "vgg19"):
        torch.save(build_trunk(name).state_dict(), folder / FILES[name].names[0])
    for name, widths in HEADS.items():
        heads = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(widths)}
        torch.save(heads, folder / FILES[name].names[0])
    torch.save({k: torch.rand(1, 1475, 1, 1) for k in ("alpha", "beta")}, folder / FILES["dists"].names[0])
    return folder


def pair(name: str) -> tuple[Tensor, Tensor]:
    """Two different truths with structure, as large as the loss needs, and noise that is not 0 in the mean."""
    side = {"ms-ssim": 161, "fdl": 80, "fdl-squeeze": 84}.get(name, 32)
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, side // 4, side // 4, generator=generator)
    truth = torch.nn.functional.interpolate(truth, (side, side), mode="bicubic").clamp(0, 1)
    return truth, 0.2 * torch.randn(2, 3, side, side, generator=generator) + 0.2


@pytest.mark.parametrize("name", EVERY)
def test_smallest_at_equality_and_falling_towards_it(name: str, folder: Path) -> None:
    loss = Loss({name: 1}, "encoded", folder)
    truth, noise = pair(name)
    with torch.no_grad():
        far, near, equal = (loss(truth + t * noise, truth) for t in (1, 0.25, 0))
    assert far.shape == near.shape == equal.shape == (2,)
    assert equal.tolist() == pytest.approx([AT_EQUALITY[name]] * 2, abs=2e-6 if name != "psnr" else 1e-4)
    assert (far > near).all()
    assert (near > equal).all()


@pytest.mark.parametrize("name", EVERY)
def test_each_image_has_its_value_and_gradient(name: str, folder: Path) -> None:
    loss = Loss({name: 1}, "encoded", folder)
    truth, noise = pair(name)
    x = (truth + noise * torch.tensor([1.0, 0.3]).view(2, 1, 1, 1)).requires_grad_()
    both = loss(x, truth)
    with torch.no_grad():
        alone = [loss(x[i : i + 1], truth[i : i + 1]).item() for i in range(2)]
    # A phase of pi is as good as one of -pi, and rounding decides
    assert both.tolist() == pytest.approx(alone, rel=1e-2 if name.startswith("fdl") else 1e-4, abs=1e-6)
    both[0].backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[0].abs().sum() > 0
    assert (x.grad[1] == 0).all()


@pytest.mark.parametrize("name", EVERY)
def test_a_step_down_the_gradient_lowers_it(name: str, folder: Path) -> None:
    loss = Loss({name: 1}, "encoded", folder)
    truth, noise = pair(name)
    x = (truth[:1] + noise[:1] / 4).requires_grad_()
    before = loss(x, truth[:1])
    before.sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        after = loss(x - 0.02 * x.grad / x.grad.abs().max(), truth[:1])
    assert after.item() < before.item()


def test_sum_by_hand() -> None:
    loss = Loss({"l1": 2, "l2": 0.5}, "linear")
    truth = torch.zeros(2, 3, 4, 4)
    x = truth + torch.tensor([0.5, -2.0]).view(2, 1, 1, 1)
    assert loss(x, truth).tolist() == [2 * 0.5 + 0.5 * 0.25, 2 * 2 + 0.5 * 4]
    terms = loss.terms(x, truth)
    assert {name: v.tolist() for name, v in terms.items()} == {"l1": [0.5, 2], "l2": [0.25, 4]}


def test_networks_move_and_stay_frozen(folder: Path) -> None:
    loss = Loss({"lpips-squeeze": 1, "perceptual": 1, "dists": 1, "l1": 1}, "encoded", folder).double()
    truth, noise = pair("dists")
    value = loss((truth + noise).double(), truth.double())
    assert value.dtype == torch.float64
    assert not any(p.requires_grad for p in loss.parameters())
    assert len(loss.networks) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, folder: Path) -> None:
    loss = Loss({"l2": 1, "fft": 1, "sobel": 1, "lpips-squeeze": 1}, "encoded", folder)
    truth, noise = pair("l2")
    x = (truth + noise).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(x, truth)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(x.float(), truth))


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown loss 'lpips'; known losses: l1, l2, .*lpips-squeeze"):
        Loss({"l1": 1, "lpips": 1}, "encoded")
    with pytest.raises(ValueError, match="domain is 'srgb'; expected one of linear, encoded"):
        Loss({"l1": 1}, "srgb")
    with pytest.raises(ValueError, match="ssim is defined on encoded sRGB; these pictures are linear"):
        Loss({"ssim": 1}, "linear")
    with pytest.raises(ValueError, match="no loss is named"):
        Loss({}, "linear")
    for weight in (0, -1, float("nan"), float("inf"), "1", True):
        with pytest.raises(ValueError, match=r"the weight of l1 is .*; expected a number above 0"):
            Loss({"l1": weight}, "linear")  # type: ignore[dict-item]
    with pytest.raises(FileNotFoundError, match=r"squeezenet1_1-b8a52dc0.pth .* in "):
        Loss({"lpips-squeeze": 1}, "encoded", tmp_path)


def test_every_domain_is_known() -> None:
    assert {term.domain for term in LOSSES.values()} <= {"any", *DOMAINS}
    assert {f"lpips-{trunk}" for trunk in TRUNKS} <= set(LOSSES)
