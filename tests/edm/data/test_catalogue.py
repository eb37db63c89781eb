"""What is known of the data sets by name: torchvision's checksums, the study's sizes, splits fixed for good."""

import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest

from edm.config import SPLITS, DataConfig
from edm.data.catalogue import CATALOGUE, facts, source_fingerprint, split_indices, without_defaults
from tests.planning import source_of

PUBLISHED = ("fashion_mnist", "cifar10", "celeba")
CONFIGS = [DataConfig(name) for name in CATALOGUE] + [DataConfig("celeba", splits="official")]
STUDY = {  # of the 2023 study's files; digits are ours
    "digits": {"train": 1197, "val": 300, "test": 300},
    "fashion_mnist": {"train": 50_000, "val": 10_000, "test": 10_000},
    "cifar10": {"train": 40_000, "val": 10_000, "test": 10_000},
    "celeba": {"train": 150_000, "val": 12_770, "test": 19_962},
}
PINNED = {  # SHA-256 of the index lists as JSON, for good: results on other splits are not comparable
    ("digits", "study"): "a6a45b5759afdf9dea3481d29ec757ff9f14297c1f0f4f19065863d49ba4a754",
    ("fashion_mnist", "study"): "959e17805e0eb0fea0ada0be1b4e3325bdc100e09d3fb91612564ce4df2b4ff3",
    ("cifar10", "study"): "4978a5212f3ef0525d405b894e48d6a5565911046c500804293f69853a81a2f7",
    ("celeba", "study"): "8078ae7b23f4d9a19126db175317390dcd399476ca9bede7dd9d83d598e9e108",
    ("celeba", "official"): "b115f951d6cca2b280454c86597296837baa3f81cc2f6ec44c27208e816c4455",
}

each = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.name}-{config.splits}")


def test_checksums_are_torchvisions() -> None:
    from torchvision.datasets import CIFAR10, CelebA, FashionMNIST

    ours = {name: [(file.name, file.md5) for file in CATALOGUE[name].files] for name in PUBLISHED}
    assert ours["fashion_mnist"] == FashionMNIST.resources
    assert [file.url for file in CATALOGUE["fashion_mnist"].files] == [
        f"{FashionMNIST.mirrors[0]}{name}" for name, _ in FashionMNIST.resources
    ]
    assert ours["cifar10"] == [(CIFAR10.filename, CIFAR10.tgz_md5)]
    assert CATALOGUE["cifar10"].files[0].url == CIFAR10.url
    batches = [[member.name, member.md5] for member in CATALOGUE["cifar10"].members]
    assert batches == CIFAR10.train_list + CIFAR10.test_list
    assert CATALOGUE["cifar10"].files[0].unpacked == CIFAR10.base_folder
    celeba = {(file.drive_id, file.md5, file.name) for file in CATALOGUE["celeba"].files}
    assert celeba < set(CelebA.file_list) and CATALOGUE["celeba"].layouts[0] == CelebA.base_folder


@each
def test_sizes_are_the_studys_or_the_official_ones(config) -> None:
    expected = STUDY[config.name] if config.splits == "study" else {"train": 162_770, "val": 19_867, "test": 19_962}
    assert facts(config).splits == expected


@each
def test_splits_are_pinned_disjoint_and_complete(config) -> None:
    splits = split_indices(config)
    assert tuple(splits) == SPLITS
    assert {name: len(indices) for name, indices in splits.items()} == facts(config).splits
    everything = [i for indices in splits.values() for i in indices]
    assert sorted(everything) == list(range(len(everything)))
    assert all(indices == sorted(indices) for indices in splits.values())
    assert hashlib.sha256(json.dumps(splits).encode()).hexdigest() == PINNED[config.name, config.splits]


@pytest.mark.parametrize("name", STUDY)
def test_splits_follow_the_published_rule(name) -> None:
    """Carved from the train part by the rank of SHA-256("NAME/i"): first test (of digits alone), then val."""
    pool = sum(STUDY[name].values()) - (STUDY[name]["test"] if name != "digits" else 0)
    order = [i for _, i in sorted((hashlib.sha256(f"{name}/{i}".encode()).hexdigest(), i) for i in range(pool))]
    num_test, num_val = (STUDY[name]["test"] if name == "digits" else 0), STUDY[name]["val"]
    splits = split_indices(DataConfig(name))
    assert splits["val"] == sorted(order[num_test : num_test + num_val])
    assert splits["train"] == sorted(order[num_test + num_val :])
    own_test = list(range(pool, pool + STUDY[name]["test"]))
    assert splits["test"] == (sorted(order[:num_test]) if name == "digits" else own_test)


def test_digits_splits_begin_as_they_always_have() -> None:
    assert {name: indices[:5] for name, indices in split_indices(DataConfig()).items()} == {
        "train": [3, 6, 9, 12, 13],
        "val": [2, 7, 8, 11, 24],
        "test": [0, 1, 4, 5, 10],
    }


def test_official_celeba_is_its_own_partition_in_order() -> None:
    splits = split_indices(DataConfig("celeba", splits="official"))
    assert splits["train"] == list(range(162_770)) and splits["test"][0] == 182_637


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_plan_needs_no_data_but_depends_on_every_published_checksum(name, monkeypatch) -> None:
    known, before = CATALOGUE[name], source_of(DataConfig(name)).signature
    for i, file in enumerate(known.files):
        changed = (*known.files[:i], replace(file, md5="0" * 32), *known.files[i + 1 :])
        monkeypatch.setitem(CATALOGUE, name, replace(known, files=changed))
        assert source_of(DataConfig(name)).signature != before
        moved = (*known.files[:i], replace(file, url="https://mirror.example"), *known.files[i + 1 :])
        monkeypatch.setitem(CATALOGUE, name, replace(known, files=moved))
        assert source_of(DataConfig(name)).signature == before


def test_a_resolution_that_goes_without_saying_is_the_same_data_set() -> None:
    named = [DataConfig("celeba"), DataConfig("celeba", resolution=128), DataConfig("celeba", resolution=64)]
    assert [without_defaults(config).resolution for config in named] == [None, None, 64]
    signatures = Counter(source_of(config).signature for config in named)
    assert sorted(signatures.values()) == [1, 2]
    assert [facts(config).resolution for config in named] == [128, 128, 64]


def test_celebas_partitions_are_two_data_sets() -> None:
    study, official = (DataConfig("celeba", splits=splits) for splits in ("study", "official"))
    assert source_of(study).signature != source_of(official).signature
    assert source_fingerprint(study) == source_fingerprint(official)


@pytest.mark.parametrize(
    ("config", "signature"),
    [
        (DataConfig("digits"), "4f1adccf99f780bd1d6a"),
        (DataConfig("fashion_mnist"), "93e57d5214ae339865f7"),
        (DataConfig("cifar10"), "c3f853a48ba54fd276ea"),
        (DataConfig("celeba"), "adbd38b6c153e3e1ebb3"),
        (DataConfig("celeba", splits="official", resolution=64), "f9cc08357bf182a18a49"),
    ],
)
def test_signatures_of_named_data_sets_stay(config: DataConfig, signature: str) -> None:
    assert source_of(config).signature == signature
