"""Weights from files: what loads, and that nothing else does, in one line."""

import io
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from isp.nets import NETWORKS
from isp.nets.checkpoints import describe, fit, load_official, read_state

TRANSFORMER = {"dim": 8, "num_blocks": (1, 2, 1, 1), "num_refinement_blocks": 1}
OFFICIAL = {
    "nafnet-rgb": {"width": 4, "encoder": (1, 2), "middle": 3, "decoder": (2, 1)},
    "restormer-rgb": {**TRANSFORMER, "heads": (1, 2, 2, 4), "bias_free": True},
    "xrestormer-rgb": {**TRANSFORMER, "spatial_heads": (1, 2, 2, 4), "window_size": 4},
}


def small():
    torch.manual_seed(0)
    return NETWORKS["nafnet-rgb"](**OFFICIAL["nafnet-rgb"])


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("wrapper", ["params", "params_ema", None])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_released_files(tmp_path: Path, name, wrapper, prefix, zipped):
    """As BasicSR saves them, of every family, also in PyTorch's format before 1.6."""
    network = NETWORKS[name](**OFFICIAL[name])
    state = {prefix + k: v for k, v in network.state_dict().items()}
    path = tmp_path / "official.pth"
    torch.save(state if wrapper is None else {wrapper: state}, path, _use_new_zipfile_serialization=zipped)
    loaded = load_official(path, NETWORKS[name](**OFFICIAL[name]))
    assert same(loaded, network.state_dict())
    other = NETWORKS[name](**OFFICIAL[name])
    fit(other, loaded, "it")
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(other(x), network(x))


# of the modules in the authors' releases; one for each kind of layer
RELEASED = {
    "nafnet-rgb": """intro.weight intro.bias ending.weight encoders.0.1.conv1.weight encoders.3.7.conv2.bias
        encoders.1.0.sca.1.weight encoders.1.0.sca.1.bias encoders.0.0.norm1.weight encoders.0.0.norm2.bias
        encoders.0.0.beta encoders.0.0.gamma downs.3.weight downs.0.bias middle_blks.11.conv5.weight ups.0.0.weight
        decoders.3.1.conv4.bias""",
    "restormer-rgb": """patch_embed.proj.weight encoder_level1.3.norm1.body.weight encoder_level1.3.norm2.body.bias
        encoder_level2.0.attn.temperature encoder_level3.5.attn.qkv.weight latent.7.attn.qkv_dwconv.weight
        latent.0.attn.project_out.weight decoder_level3.0.ffn.project_in.weight decoder_level2.0.ffn.dwconv.weight
        decoder_level1.0.ffn.project_out.weight down1_2.body.0.weight up4_3.body.0.weight reduce_chan_level3.weight
        reduce_chan_level2.weight refinement.3.attn.temperature output.weight""",
    "xrestormer-rgb": """patch_embed.proj.weight encoder_level1.1.channel_attn.temperature
        encoder_level2.0.channel_ffn.project_in.weight latent.3.spatial_attn.qkv.weight
        latent.3.spatial_attn.rel_pos_emb.rel_height latent.3.spatial_attn.rel_pos_emb.rel_width
        latent.3.spatial_attn.project_out.weight latent.0.spatial_ffn.dwconv.weight latent.0.norm4.body.weight
        down3_4.body.0.weight output.weight""",
}


@pytest.mark.parametrize("name", RELEASED)
def test_names_of_releases(name):
    with torch.device("meta"):
        names = NETWORKS[name]().state_dict().keys()
    assert not set(RELEASED[name].split()) - names


def test_averaged_weights_first(tmp_path: Path):
    plain, averaged = {"a": torch.zeros(1)}, {"a": torch.ones(1)}
    torch.save({"params": plain, "params_ema": averaged}, tmp_path / "both.pth")
    assert same(read_state(tmp_path / "both.pth"), averaged)


def test_safetensors(tmp_path: Path):
    network = small()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    assert same(read_state(tmp_path / "model.safetensors"), network.state_dict())


class Hostile:
    """A pickle that runs a command when it is loaded without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle 2", "pickle 4"])
def test_a_pickle_with_code_does_not_run(tmp_path: Path, name, form):
    mark, path = tmp_path / "ran", tmp_path / name
    hostile = {"params": {"intro.weight": torch.zeros(1), "intro.bias": Hostile(mark)}}
    if form.startswith("pickle"):
        path.write_bytes(pickle.dumps(hostile["params"]["intro.bias"], protocol=int(form[-1])))
    else:
        torch.save(hostile, path, _use_new_zipfile_serialization=form == "zip")
    expected = "it holds Python objects.*never loaded" if name.endswith("pth") else "under the name of safetensors"
    with pytest.raises(ValueError, match=expected) as error:
        read_state(path)
    assert "\n" not in str(error.value)
    assert not mark.exists()
    if form == "pickle 2" and name.endswith("pth"):  # that it would have, in other hands
        assert "system" in str(error.value)
        pickle.loads(path.read_bytes())  # noqa: S301 - our own, and the control of this test
        assert mark.exists()


def archive() -> bytes:
    file = io.BytesIO()
    torch.save({"params": small().state_dict()}, file)
    return file.getvalue()


def legacy() -> bytes:
    file = io.BytesIO()
    torch.save(small().state_dict(), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def safe(path: Path) -> bytes:
    save_file(small().state_dict(), path)
    return path.read_bytes()


def other_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("readme.txt", "weights")
    return file.getvalue()


def script(path: Path) -> bytes:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_checkpoint(tmp_path: Path):
    scratch = tmp_path / "scratch"
    cases = {
        "an empty file": b"",
        "a web page": b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>Sign in</body></html>",
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n",
        "not a checkpoint": b"GIF89a and so on",
        "cut short or damaged; download it again": archive()[:-200],
        "cut short or damaged; download it again ": legacy()[:-200],
        "cut short or damaged": other_zip(),
        "cut short or damaged (": safe(scratch)[:-200],
        "cut short; download": safe(scratch)[:100],
        "a TorchScript program": script(scratch),
    }
    for suffix in (".pth", ".safetensors"):
        for expected, content in cases.items():
            path = tmp_path / f"model{suffix}"
            path.write_bytes(content)
            if suffix == ".safetensors" and (content[:2] == b"PK" or content[:1] == b"\x80"):
                expected = "a PyTorch file under the name of safetensors; rename it to .pth"
            with pytest.raises(ValueError, match=re.escape(expected.strip())) as error:
                read_state(path)
            assert str(error.value).startswith(f"{path}: ")
            assert "\n" not in str(error.value)


def test_no_such_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no such file; expected weights"):
        read_state(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"epoch": 3, "iter": 1000}, "'epoch' is int; expected nothing but dense tensors"),
        ([torch.zeros(1)], "holds list with no weights in it"),
        ({"params": {}}, "holds dict with no weights in it"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "'a' is a tensor without values"),
        ({"a": torch.zeros(2, device="meta")}, "'a' is a tensor without values"),
    ],
)
def test_what_holds_no_weights(tmp_path: Path, content, expected):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=expected):
        read_state(tmp_path / "model.pth")


def test_missing_extra_and_other_shapes():
    network = small()
    state = network.state_dict()
    for name in list(state)[2:7]:
        del state[name]
    state |= {"more": torch.zeros(1), "intro.weight": torch.zeros(8, 3, 3, 3)}
    expected = (
        "a.pth: does not fit NAFNetRGB: 5 missing (ending.weight, ending.bias, encoders.0.0.beta, ...), "
        "1 too many (more), 1 of another shape (intro.weight is (8, 3, 3, 3) for (4, 3, 3, 3))"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        fit(network, state, "a.pth")


def test_a_wrong_state_changes_nothing():
    network = small()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    state.pop("ending.bias")
    with pytest.raises(ValueError, match="1 missing"):
        fit(network, state, "a.pth")
    assert same(network.state_dict(), before)


def test_half_precision_loads_into_single():
    network = small()
    state = {k: v.half() for k, v in network.state_dict().items()}
    fit(network, state, "a.pth")
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_error_says_what_would_fit():
    state = NETWORKS["nafnet-rgb"](**{**OFFICIAL["nafnet-rgb"], "gate": "cross"}).state_dict()
    expected = "it fits network nafnet-rgb with width = 4, encoder = (1, 2), middle = 3, decoder = (2, 1), gate = cross"
    with pytest.raises(ValueError, match=re.escape(expected)):
        fit(small(), state, "a.pth")


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("nafnet", {}, "its default arguments"),
        ("nafnet", {"planes": 8, "width": 16}, "width = 16, planes = 8"),
        ("nafnet-rgb", {"width": 64}, "width = 64"),
        ("restormer", {}, "its default arguments"),
        ("restormer-rgb", {"bias_free": True}, "bias_free = True"),
        ("xrestormer", {"num_blocks": (1, 1, 1, 1)}, "num_blocks = (1, 1, 1, 1)"),
        ("xrestormer-rgb", {"window_size": 4, "dim": 32}, "dim = 32, window_size = 4"),
    ],
)
def test_describe(name, arguments, told):
    with torch.device("meta"):
        state = NETWORKS[name](**arguments).state_dict()
    assert describe(state) == f"network {name} with {told}"


def test_describe_of_the_unknown():
    assert describe({"weight": torch.zeros(3)}) is None
    assert describe(NETWORKS["flat"](width=8).state_dict()) is None
    state = small().state_dict()
    assert describe({**state, "more": torch.zeros(1)}) is None
    assert describe({k: v.flatten() for k, v in state.items()}) is None
