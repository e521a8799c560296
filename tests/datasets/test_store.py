"""The pair store: bytes, checksums, resumption, damage, and reading it for training."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from isp.datasets.recipes import Isos, load_recipe
from isp.datasets.store import (
    ROWS,
    PairStore,
    Plan,
    StoreError,
    compression_options,
    locked,
    missing,
    prepare,
    read_plan,
    shard_path,
    shards,
    verify_shard,
    write_shard,
)
from isp.datasets.synthesis import CameraChoice, make_pair


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((120, 100), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def plan(pictures):
    return Plan(
        load_recipe("mialgo"), "random", (str(pictures),), size=12, seed=4, per_shard=4, isos=Isos.parse("3200")
    )


def fill(folder, plan, pairs):
    with locked(folder):
        prepare(folder, plan, pairs)
        todo, complaints = missing(folder, pairs, plan.per_shard)
        for number, indices in todo:
            write_shard(str(folder), plan.as_dict(), number, indices.start, indices.stop)
    return todo, complaints


def problems(folder):
    content = read_plan(folder)
    ranges = shards(content["pairs"], content["plan"]["per_shard"])
    return [line for n, r in enumerate(ranges) for line in verify_shard(str(folder), n, r.start, r.stop)]


def contents(folder):
    """index: everything that is stored of a pair."""
    pairs = {}
    for path in sorted(folder.glob("shard-*.h5")):
        with h5py.File(path) as file:
            for row, index in enumerate(file["index"][()].tolist()):
                assert index not in pairs
                pairs[index] = tuple(np.asarray(file[name][row]).tobytes() for name in sorted(file) if name != "record")
                pairs[index] += (file["record"].asstr()[row],)
    return pairs


def test_the_plan_survives_json(plan):
    assert Plan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan


def test_stored_pairs_are_the_synthesised_ones(tmp_path, plan):
    fill(tmp_path, plan, 6)
    pair = make_pair(
        plan.open_source(), plan.recipe, CameraChoice("random"), seed=4, index=5, size=12, isos=Isos.parse("3200")
    )
    with h5py.File(shard_path(tmp_path, 1)) as file:
        assert file["index"][()].tolist() == [4, 5]
        np.testing.assert_array_equal(file["noisy"][1], pair.counts()[0].numpy())
        np.testing.assert_array_equal(file["clean"][1], pair.clean[0].half().numpy())
        for name in set(ROWS) - {"index", "seed"}:
            np.testing.assert_array_equal(file[name][1], getattr(pair, name)[0].double().numpy())
        record = json.loads(file["record"].asstr()[1])
    assert record["source"] == "2.png"
    assert {"seed", "camera", "iso", "noise", "steps", "version", "window", "exposure_ev"} <= set(record)


def test_pairs_do_not_depend_on_shards_or_on_the_order_of_work(tmp_path, plan):
    fill(tmp_path / "a", plan, 9)
    other = Plan(**{**vars(plan), "per_shard": 2})
    with locked(tmp_path / "b"):
        prepare(tmp_path / "b", other, 9)
        for number, indices in reversed(missing(tmp_path / "b", 9, 2)[0]):
            write_shard(str(tmp_path / "b"), other.as_dict(), number, indices.start, indices.stop)
    a = contents(tmp_path / "a")
    assert sorted(a) == list(range(9))
    assert a == contents(tmp_path / "b")


def test_the_same_shard_twice_is_the_same_file(tmp_path, plan):
    fill(tmp_path, plan, 4)
    first = shard_path(tmp_path, 0).read_bytes()
    shard_path(tmp_path, 0).unlink()
    fill(tmp_path, plan, 4)
    assert shard_path(tmp_path, 0).read_bytes() == first


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_past_the_system_s_cache_or_through_it_the_pairs_are_the_same(tmp_path, plan, monkeypatch, compression):
    """With a size of which every row is whole pages of memory, and with one of which none is."""
    written = []
    for size in (32, 12):
        the = Plan(**{**vars(plan), "size": size, "compression": compression})
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda *a, pwrite=os.pwrite: written.append(pwrite(*a)) or written[-1])
            fill(tmp_path / f"past-{size}", the, 2)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", lambda *a: 0)
            fill(tmp_path / f"through-{size}", the, 2)
        assert contents(tmp_path / f"past-{size}") == contents(tmp_path / f"through-{size}")
        assert not problems(tmp_path / f"past-{size}")
    if compression == "gzip":
        assert not written
    elif not written:
        pytest.skip("this disk cannot be written to past the cache")


def test_a_store_grows_and_does_not_shrink(tmp_path, plan):
    fill(tmp_path, plan, 6)
    before = contents(tmp_path)
    todo, complaints = fill(tmp_path, plan, 11)
    assert [number for number, _ in todo] == [1, 2]  # the short one is filled up
    assert not complaints
    after = contents(tmp_path)
    assert sorted(after) == list(range(11))
    assert all(after[i] == before[i] for i in before)
    assert not problems(tmp_path)
    with pytest.raises(StoreError, match="begun for 11 pairs, now 6"):
        prepare(tmp_path, plan, 6)


@pytest.mark.parametrize("damage", ["truncated", "emptied", "zeroed", "foreign"])
def test_damaged_shards_are_named_and_made_again(tmp_path, plan, damage):
    fill(tmp_path, plan, 8)
    before = contents(tmp_path)
    path = shard_path(tmp_path, 1)
    data = path.read_bytes()
    if damage == "foreign":
        shutil.copy(shard_path(tmp_path, 0), path)
    else:
        path.write_bytes({"truncated": data[: len(data) // 2], "emptied": b"", "zeroed": bytes(len(data))}[damage])
    assert any(str(path) in line for line in problems(tmp_path))
    todo, complaints = fill(tmp_path, plan, 8)
    assert [number for number, _ in todo] == [1]
    assert len(complaints) == 1
    assert str(path) in complaints[0]
    assert "\n" not in complaints[0]
    assert contents(tmp_path) == before
    assert not problems(tmp_path)


@pytest.mark.parametrize("dataset", ["noisy", "clean", "shot", "record", "exposure_ev"])
def test_a_changed_byte_fails_its_checksum(tmp_path, plan, dataset):
    fill(tmp_path, plan, 4)
    with h5py.File(shard_path(tmp_path, 0), "r+") as file:
        if dataset == "record":
            file["record"][2] = file["record"].asstr()[2].replace("3200", "3201", 1)
        else:
            value = file[dataset][2]
            file[dataset][2] = value + 1
    found = problems(tmp_path)
    assert len(found) == 1
    assert "pair 2 does not match its checksum" in found[0]


def test_another_plan_is_refused(tmp_path, plan):
    fill(tmp_path, plan, 4)
    for change, message in (
        ({"seed": 5}, "seed 4, now 5"),
        ({"recipe": load_recipe("upi")}, "recipe mialgo, now upi"),
        ({"size": 16}, "size 12, now 16"),
        ({"isos": None}, "isos 3200, now None"),
    ):
        with pytest.raises(StoreError, match=message):
            prepare(tmp_path, Plan(**{**vars(plan), **change}), 4)


def test_one_writer_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(StoreError, match="another process"), locked(tmp_path):
        pass


def test_what_a_killed_process_left_is_cleared(tmp_path, plan):
    fill(tmp_path, plan, 4)
    (tmp_path / ".shard-00001.abc.h5").write_bytes(b"half")
    fill(tmp_path, plan, 8)
    assert not list(tmp_path.glob(".shard*"))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 9}', '{"format": 1, "pairs": 1, "version": "0", "plan": {}}']
)
def test_a_damaged_store_json_is_an_error_in_one_line(tmp_path, text):
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r"store\.json") as caught:
        PairStore(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="no pair store"):
        read_plan(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["gzip", "lzf"])
def test_compressed_stores_hold_the_same_pairs(tmp_path, plan, name):
    fill(tmp_path / "plain", plan, 2)
    fill(tmp_path / "packed", Plan(**{**vars(plan), "compression": name}), 2)
    assert contents(tmp_path / "plain") == contents(tmp_path / "packed")
    assert not problems(tmp_path / "packed")
    with pytest.raises(StoreError, match="none, gzip, lzf"):
        compression_options("zip")


class TestReading:
    @pytest.fixture
    def folder(self, tmp_path, plan):
        fill(tmp_path, plan, 6)
        return tmp_path

    def test_items_are_white_balanced_and_cropped_together(self, folder):
        whole, cropped = PairStore(folder), PairStore(folder, crop=4)
        assert len(whole) == 6
        item = whole[3]
        assert item["index"] == 3
        assert item["packed"].shape == item["sigma"].shape == (4, 12, 12)
        assert item["target"].shape == (3, 24, 24)
        part = cropped[3]
        assert part["packed"].shape == (4, 4, 4)
        places = [
            (y, x)
            for y in range(9)
            for x in range(9)
            if torch.equal(item["packed"][:, y : y + 4, x : x + 4], part["packed"])
        ]
        assert len(places) == 1
        y, x = places[0]
        assert torch.equal(item["target"][:, 2 * y : 2 * y + 8, 2 * x : 2 * x + 8], part["target"])

    def test_values_are_those_of_the_pair(self, folder, plan):
        item = PairStore(folder)[5]
        pair = make_pair(
            plan.open_source(), plan.recipe, CameraChoice("random"), seed=4, index=5, size=12, isos=Isos.parse("3200")
        )
        packed, sigma, target = (x[0] for x in pair.balanced())
        torch.testing.assert_close(item["packed"], packed, atol=1e-6, rtol=0)
        torch.testing.assert_close(item["sigma"], sigma, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(item["target"], target, atol=1e-6, rtol=2**-11)

    def test_loader_processes(self, folder):
        store = PairStore(folder, crop=8)
        store[0]  # a file that is open here already
        loader = DataLoader(store, batch_size=3, num_workers=2)
        indices = torch.cat([batch["index"] for batch in loader])
        assert sorted(indices.tolist()) == list(range(6))

    def test_a_damaged_shard_is_named(self, folder):
        shard_path(folder, 0).write_bytes(b"x")
        with pytest.raises(StoreError, match=r"shard-00000\.h5: cannot be read"):
            PairStore(folder)
        with pytest.raises(ValueError, match="does not fit"):
            PairStore(folder, crop=13)
