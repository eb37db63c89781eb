"""The digits data set: what is prepared, the published rule of its splits, and that changed data is refused."""

import hashlib
import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as sklearn_digits

from edm.config import SPLITS, DataConfig
from edm.data import prepare as preparation
from edm.data.catalogue import CATALOGUE, facts, split_indices
from edm.data.prepare import DataError, fingerprint, load_digits, open_prepared, prepare

SIZES = {"train": 1197, "val": 300, "test": 300}
FIRST_INDICES = {  # of each split, for good: results of other sizes or orders are not comparable
    "train": [3, 6, 9, 12, 13],
    "val": [2, 7, 8, 11, 24],
    "test": [0, 1, 4, 5, 10],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    return folder, prepare(DataConfig("digits"), folder)


@pytest.fixture(scope="module")
def digits(written):
    folder, record = written
    return open_prepared(folder, record["sigma_data"])


def test_images_and_labels_are_scikit_learns(digits):
    source = sklearn_digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.dtype == torch.uint8
    assert digits.labels.dtype == torch.int64
    assert np.array_equal(digits.labels.numpy(), source.target)
    levels = np.round(source.images * 255 / 16)
    assert np.array_equal(digits.images[:, 0].numpy(), levels)
    assert digits.images.min() == 0
    assert digits.images.max() == 255
    assert len(digits.images.unique()) == 17


def test_facts_are_those_of_the_data(digits):
    known = facts(DataConfig("digits"))
    assert digits.images.shape[1:] == (known.channels, known.resolution, known.resolution)
    assert known.num_classes == len(digits.labels.unique()) == int(digits.labels.max()) + 1
    assert known.splits == SIZES


def test_record_tells_what_was_prepared(written, digits):
    _, record = written
    direct = hashlib.sha256(digits.images.numpy().tobytes() + digits.labels.numpy().astype("<i8").tobytes())
    assert record["fingerprint"] == direct.hexdigest() == CATALOGUE["digits"].fingerprint
    assert record["name"] == "digits"
    assert record["images"] == 1797


def test_sigma_data_is_the_deviation_of_the_train_split(written, digits):
    _, record = written
    pixels = digits.images.numpy()[digits.splits["train"]].ravel().astype(np.float64) / 255 * 2 - 1
    direct = np.sqrt(np.mean((pixels - pixels.mean()) ** 2))
    assert record["sigma_data"] == pytest.approx(direct, rel=1e-12)
    assert record["sigma_data"] != pytest.approx((digits.images.double() / 127.5 - 1).std().item(), rel=1e-6)


def test_splits_are_disjoint_complete_and_of_their_sizes(digits):
    assert {name: len(indices) for name, indices in digits.splits.items()} == SIZES
    assert sorted(digits.splits["train"] + digits.splits["val"] + digits.splits["test"]) == list(range(1797))
    assert all(indices == sorted(indices) for indices in digits.splits.values())


@pytest.mark.parametrize(("name", "sizes"), [("digits", SIZES), ("other", {"train": 5, "val": 2, "test": 3})])
def test_splits_follow_the_published_rule(name, sizes):
    ranked = sorted((hashlib.sha256(f"{name}/{i}".encode()).hexdigest(), i) for i in range(sum(sizes.values())))
    order, num_test, num_held_out = [i for _, i in ranked], sizes["test"], sizes["test"] + sizes["val"]
    assert split_indices(name, sizes) == {
        "test": sorted(order[:num_test]),
        "val": sorted(order[num_test:num_held_out]),
        "train": sorted(order[num_held_out:]),
    }


def test_splits_begin_as_they_always_have(digits):
    assert digits.splits == split_indices("digits", SIZES)
    assert {name: indices[:5] for name, indices in digits.splits.items()} == FIRST_INDICES


def test_splits_depend_on_the_name():
    assert split_indices("digits", SIZES) != split_indices("other", SIZES)


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_is_its_images_and_labels(digits, name):
    images, labels = digits.split(name)
    assert len(images) == len(labels) == SIZES[name]
    assert torch.equal(images[-1], digits.images[digits.splits[name][-1]])
    assert labels.tolist() == [int(digits.labels[i]) for i in digits.splits[name]]
    assert set(labels.tolist()) == set(range(10))


@pytest.mark.parametrize("part", ["images", "labels"])
def test_changed_data_is_refused_with_a_remedy(monkeypatch, tmp_path, part):
    images, labels = load_digits()
    changed = images if part == "images" else labels
    changed.flat[1234] += 1
    monkeypatch.setitem(preparation.LOADERS, "digits", lambda: (images, labels))
    with pytest.raises(DataError) as refusal:
        prepare(DataConfig("digits"), tmp_path)
    message = str(refusal.value)
    assert "data.name: digits" in message
    assert fingerprint(images, labels)[:16] in message
    assert CATALOGUE["digits"].fingerprint[:16] in message
    assert "reinstall" in message
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_does_not_depend_on_the_memory_layout():
    images, labels = load_digits()
    expected = fingerprint(images, labels)
    assert fingerprint(np.asfortranarray(images), labels.astype(np.int32)) == expected
    assert fingerprint(images[::-1], labels) != expected


def test_prepared_data_cannot_be_changed_through_its_map(written):
    folder, record = written
    before = (folder / "images.npy").read_bytes()
    first = open_prepared(folder, record["sigma_data"])
    first.images[0] = 7
    assert (folder / "images.npy").read_bytes() == before
    assert not torch.equal(open_prepared(folder, record["sigma_data"]).images[0], first.images[0])


def test_splits_file_is_plain_json(written):
    folder, _ = written
    assert {name: len(found) for name, found in json.loads((folder / "splits.json").read_text()).items()} == SIZES
