"""What is trained on and what is kept from it, and validation's noise against its law."""

import pytest
import torch

from isp.datasets.sources import DeadLeaves, ImageFolder
from isp.train.config import Data, Validation
from isp.train.data import Batch, is_held_out, renoised, split, training_source, validation_set


def test_held_out_pictures_go_by_their_file_names():
    names = [f"photo-{i}.jpg" for i in range(2000)]
    held = [name for name in names if is_held_out(name, 0.1)]
    assert 160 < len(held) < 240
    assert set(held) <= {name for name in names if is_held_out(name, 0.2)}
    assert all(is_held_out(f"elsewhere/{name[:-4]}.png", 0.1) for name in held)
    assert not any(is_held_out(name, 0.0) for name in names)


def test_every_picture_is_on_one_side(photos):
    source = ImageFolder(photos)
    parts = [split(source, 0.3, held_out) for held_out in (False, True)]
    names = [{part[i].name for i in range(len(part))} for part in parts]
    assert names[0].isdisjoint(names[1])
    assert names[0] | names[1] == set(source.names)


def test_dead_leaves_are_trained_on_and_only_others_validated_on(photos):
    data = Data(sources=(str(photos), "dead-leaves"), dead_leaves=64, held_out=0.3)
    files = split(ImageFolder(photos), 0.3, False)
    assert len(training_source(data)) == 2 * len(files)
    assert split(DeadLeaves(64), 0.3, True) is None
    names = {pairs.records[0]["source"] for pairs in validation_set(data, Validation(size=16), 0)}
    assert names
    assert not any("dead" in name for name in names)
    only = validation_set(Data(sources=("dead-leaves",), dead_leaves=64), Validation(size=16, pictures=1), 0)
    assert only[0].records[0]["source"] == "dead-leaves/1/0"


def test_all_held_out_is_an_error(photos):
    with pytest.raises(ValueError, match=r"all pictures are held out; lower data\.held_out"):
        training_source(Data(sources=(str(photos),), held_out=0.999999))


def test_the_validation_set_is_fixed_and_its_noise_is_the_level_s(photos):
    data = Data(sources=(str(photos),), held_out=0.3)
    pairs, again = (validation_set(data, Validation(size=40, pictures=1), 3)[0] for _ in range(2))
    assert torch.equal(pairs.clean, again.clean)
    shot, read = 1e-2, 3e-4
    batch = renoised(pairs, shot, read, 0)
    assert torch.equal(batch.packed, renoised(again, shot, read, 0).packed)
    plain = renoised(pairs, 0.0, 0.0, 0)
    gains = pairs.gains[:, [0, 1, 1, 2]].view(1, 4, 1, 1)
    free = plain.packed / gains < 0.8  # far from where the sensor clips
    true = (shot * (plain.packed / gains).clamp(min=0) + read).sqrt() * gains
    normalised = ((batch.packed - plain.packed) / true)[free]
    assert float(normalised.std()) == pytest.approx(1, abs=0.05)
    expected = (shot * (batch.packed / gains).clamp(min=0) + read).sqrt() * gains
    torch.testing.assert_close(batch.sigma, expected)
    assert float(plain.sigma.max() / gains.max()) < 1e-3  # what the counts' steps add


def test_parts_make_up_the_batch():
    batch = Batch(*(torch.randn(4, 2, 3, 3) for _ in range(3)), torch.randn(4, 3, 3))
    parts = batch.parts(2)
    assert torch.equal(torch.cat([part.packed for part in parts]), batch.packed)
    assert parts[0].taught is None
    with pytest.raises(ValueError, match="4 pairs cannot be computed in 3 parts"):
        batch.parts(3)
