"""Where the weights of perceptual metrics are looked for, and the networks they were trained with.

Nothing is downloaded, and nothing is ever random: a missing file is an error that names it and where it goes. A file is
taken from the first of these folders that has it:

    the folder that the caller gives (then no other)
    the folder that the environment variable ISP_WEIGHTS names
    torch's cache, torch.hub.get_dir()/checkpoints (~/.cache/torch/hub/checkpoints unless TORCH_HOME says otherwise),
    where torchvision leaves the same files
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: what the trunks expect taken off


class File(NamedTuple):
    """names: any of them will do. source: where people get it."""

    names: tuple[str, ...]
    source: str


TORCHVISION = "https://download.pytorch.org/models/"
LPIPS_SOURCE = "https://github.com/richzhang/PerceptualSimilarity, lpips/weights/v0.1/"
FILES = {
    "squeeze": File(
        ("squeezenet1_1-b8a52dc0.pth", "squeezenet1_1_features_torchvision.pth"),
        TORCHVISION + "squeezenet1_1-b8a52dc0.pth",
    ),
    "alex": File(("alexnet-owt-7be5be79.pth", "alexnet-owt-4df8aa71.pth"), TORCHVISION + "alexnet-owt-7be5be79.pth"),
    "vgg16": File(("vgg16-397923af.pth",), TORCHVISION + "vgg16-397923af.pth"),
    "vgg19": File(("vgg19-dcbf9e9d.pth",), TORCHVISION + "vgg19-dcbf9e9d.pth"),
    "lpips-squeeze": File(("lpips_v0.1_squeeze.pth",), LPIPS_SOURCE + "squeeze.pth"),
    "lpips-alex": File(("lpips_v0.1_alex.pth",), LPIPS_SOURCE + "alex.pth"),
    "lpips-vgg": File(("lpips_v0.1_vgg.pth",), LPIPS_SOURCE + "vgg.pth"),
    "dists": File(("dists_alpha_beta.pt",), "https://github.com/dingkeyan93/DISTS, DISTS_pytorch/weights.pt"),
    "niqe": File(
        ("niqe_pris_params.npz",), "https://github.com/XPixelGroup/BasicSR, basicsr/metrics/niqe_pris_params.npz"
    ),
}


def weights_file(name: str, folder: Path | None = None) -> Path:
    """The path of one of FILES. FileNotFoundError names the file, where it comes from and where it goes."""
    file = FILES[name]
    if folder is not None:
        folders = [Path(folder)]
    else:
        folders = [Path(os.environ["ISP_WEIGHTS"])] if os.environ.get("ISP_WEIGHTS") else []
        folders += [Path(torch.hub.get_dir()) / "checkpoints"]
    for place in folders:
        for candidate in file.names:
            if (place / candidate).is_file():
                return place / candidate
    raise FileNotFoundError(
        f"no {' or '.join(file.names)} in {', '.join(map(str, folders))}; get it from {file.source}, save it as "
        f"{file.names[0]} in that folder, or in another one that ISP_WEIGHTS names"
    )


def load_state(name: str, folder: Path | None = None) -> dict[str, Tensor]:
    """The tensors of one of FILES, on the CPU; nothing in it is executed."""
    return torch.load(weights_file(name, folder), map_location="cpu", weights_only=True)


class Fire(nn.Module):
    """F. Iandola et al., "SqueezeNet", 2016, Sec. 3.2: a 1x1 squeeze, then 1x1 and 3x3 side by side."""

    def __init__(self, planes: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(planes, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


def squeezenet() -> nn.Sequential:
    """The features of SqueezeNet 1.1, numbered as torchvision numbers them."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *[nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool()],
        *[Fire(64, 16, 64), Fire(128, 16, 64), pool()],
        *[Fire(128, 32, 128), Fire(256, 32, 128), pool()],
        *[Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)],
    )


def alexnet() -> nn.Sequential:
    """The convolutions of A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014."""
    return nn.Sequential(
        *[nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()],
        *[nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()],
    )


def vgg(convolutions: tuple[int, ...]) -> nn.Sequential:
    """The features of K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks", 2015, with so many convolutions
    in each of the five stages, up to the last ReLU: (2, 2, 3, 3, 3) is VGG16, (2, 2, 4, 4, 4) VGG19."""
    layers: list[nn.Module] = []
    planes = 3
    for count, width in zip(convolutions, (64, 128, 256, 512, 512), strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(planes, width, 3, padding=1), nn.ReLU()]
            planes = width
    return nn.Sequential(*layers)


def build_trunk(name: str) -> nn.Sequential:
    """A trunk with random weights: load_trunk and tests fill it."""
    if name == "squeeze":
        return squeezenet()
    if name == "alex":
        return alexnet()
    return vgg({"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}[name])


def load_trunk(name: str, folder: Path | None = None) -> nn.Sequential:
    """A trunk of FILES ("squeeze", "alex", "vgg16", "vgg19") with its weights, frozen.

    The file is torchvision's, whole, or its features alone. ValueError where it is of another network.
    """
    state = load_state(name, folder)
    state = {key.removeprefix("features."): v for key, v in state.items() if not key.startswith("classifier.")}
    trunk = build_trunk(name)
    try:
        trunk.load_state_dict(state)
    except RuntimeError as error:
        path = weights_file(name, folder)
        raise ValueError(f"{path}: not the weights of {name}: {str(error).splitlines()[1].strip()}") from error
    return trunk.requires_grad_(False).eval()


class Features(nn.Module):
    """The outputs of some layers of a trunk: encoded sRGB B 3 H W in [0, 1] to one B C h w per layer, in order.

    layers: positions in the trunk, ascending; the rest of the trunk is dropped.
    """

    def __init__(
        self,
        trunk: nn.Sequential,
        layers: tuple[int, ...],
        mean: tuple[float, ...] = MEAN,
        deviation: tuple[float, ...] = DEVIATION,
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.deviation: Tensor
        self.parts = nn.ModuleList(trunk[a:b] for a, b in pairwise((0, *(layer + 1 for layer in layers))))
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = (x - self.mean) / self.deviation
        features = []
        for part in self.parts:
            x = part(x)
            features.append(x)
        return features


@cache
def loaded(metric: Callable[..., nn.Module], device: torch.device, *arguments: str) -> nn.Module:
    """A metric's network on a device, made once; what the metrics that are functions run."""
    with torch.inference_mode(False):  # else no gradient could be taken through it later
        return metric(*arguments).to(device)
