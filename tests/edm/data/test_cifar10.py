"""CIFAR-10 however it is packed: what torchvision reads from it, and what is refused."""

import pickle
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from edm.config import DataConfig
from edm.data import sources
from edm.data.catalogue import CATALOGUE, SourceFile
from edm.data.errors import DataError
from edm.data.loaders import open_pictures
from edm.data.sources import MissingFilesError, Origin
from tests.datafiles import (
    CIFAR_BATCH,
    Tiny,
    binary_batch,
    cifar_batch,
    md5,
    parquet,
    tiny_cifar10,
    unpack_cifar10,
    zipped,
)
from tests.edm.data.opened import everything, load, quiet


@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar10_is_what_torchvision_reads(tmp_path: Path, monkeypatch, unpacked: bool) -> None:
    from torchvision.datasets import CIFAR10

    tiny = tiny_cifar10(tmp_path, monkeypatch)
    if unpacked:
        unpack_cifar10(tmp_path)
    pictures = load("cifar10", tmp_path)
    images = everything(pictures)
    assert np.array_equal(images, tiny.images) and np.array_equal(pictures.labels, tiny.labels)
    assert pictures.source["checked"] == "content"
    if unpacked:
        meta = pickle.dumps({"label_names": []})
        members = [(member.name, member.md5) for member in CATALOGUE["cifar10"].members]
        (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(meta)
        monkeypatch.setattr(CIFAR10, "train_list", members[:-1])
        monkeypatch.setattr(CIFAR10, "test_list", members[-1:])
        monkeypatch.setitem(CIFAR10.meta, "md5", md5(meta))
        with warnings.catch_warnings(action="ignore"):  # numpy's core has moved since these were pickled
            theirs = [CIFAR10(tmp_path, train=train) for train in (True, False)]
        assert np.array_equal(np.concatenate([part.data for part in theirs]), images.transpose(0, 2, 3, 1))
        assert [label for part in theirs for label in part.targets] == pictures.labels.tolist()


def test_the_folder_of_batches_may_be_given_itself(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_cifar10(tmp_path, monkeypatch)
    assert np.array_equal(everything(load("cifar10", unpack_cifar10(tmp_path))), tiny.images)


def test_any_packing_gives_the_same_images_in_the_same_order(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_cifar10(tmp_path / "published", monkeypatch)
    for packing, place in packings(tiny, tmp_path).items():
        pictures = load("cifar10", place)
        assert np.array_equal(everything(pictures), tiny.images), packing
        assert np.array_equal(pictures.labels, tiny.labels), packing
        assert pictures.source["checked"] == "content", packing


def packings(tiny: Tiny, root: Path) -> dict[str, Path]:
    """The data set as people have it, each in a place of its own; what to give for each."""
    names = [member.name for member in CATALOGUE["cifar10"].members]
    batches = {name: slice(i * CIFAR_BATCH, (i + 1) * CIFAR_BATCH) for i, name in enumerate(names)}
    binary = {f"{name}.bin": binary_batch(tiny.images[i], tiny.labels[i]) for name, i in batches.items()}
    rows = tiny.images.reshape(len(tiny.images), -1)
    anew = {name: pickle.dumps({"data": rows[i], "labels": tiny.labels[i].tolist()}, 4) for name, i in batches.items()}
    for kind, files in {"binary/cifar-10-batches-bin": binary, "anew": anew}.items():
        (root / kind).mkdir(parents=True)
        for name, content in files.items():
            (root / kind / name).write_bytes(content)
    with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as tar:
        tar.add(root / "binary" / "cifar-10-batches-bin", "cifar-10-batches-bin")
    zipped(root / "cifar.zip", {f"cifar-10-batches-py/{name}": content for name, content in anew.items()})
    # Hugging Face's train split has the batches in the order of the archive
    order = np.concatenate([np.arange(len(rows))[batches[f"data_batch_{i}"]] for i in (4, 3, 2, 5, 1)])
    splits = {"train": order, "test": np.arange(len(rows))[batches["test_batch"]]}
    for split, i in splits.items():
        path = root / "hf" / "plain_text" / f"{split}-00000-of-00001.parquet"
        parquet(path, "img", tiny.images[i].transpose(0, 2, 3, 1), tiny.labels[i], "RGB")
    return {
        "binary folder": root / "binary",
        "binary archive": root / "cifar-10-binary.tar.gz",
        "pickled anew": root / "anew",
        "zip": root / "cifar.zip",
        "hugging face": root / "hf",
    }


def test_the_folder_of_batches_wants_all_of_them(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path, monkeypatch)
    folder = unpack_cifar10(tmp_path)
    content = (folder / "data_batch_4").read_bytes()
    (folder / "data_batch_4").write_bytes(content[:100])
    with pytest.raises(DataError, match=r"data_batch_4: is not a pickled batch"):
        load("cifar10", tmp_path)
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match=r"cifar-10-batches-py: has no data_batch_4; download it again from"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("binary", [False, True])
def test_a_batch_with_other_images_is_refused(tmp_path: Path, monkeypatch, binary: bool) -> None:
    tiny_cifar10(tmp_path / "files", monkeypatch)
    images, labels = np.zeros((CIFAR_BATCH, 3, 32, 32), dtype=np.uint8), [0] * CIFAR_BATCH
    for member in CATALOGUE["cifar10"].members:
        content = binary_batch(images, np.array(labels)) if binary else cifar_batch(images, labels)
        (tmp_path / (member.name + ".bin" * binary)).write_bytes(content)
    digest = CATALOGUE["cifar10"].members[0].digest
    expected = rf"has different content than the published data_batch_1: .* have SHA-1 \w+, not {digest}; download"
    with pytest.raises(DataError, match=expected):
        load("cifar10", tmp_path)


def test_parquet_files_with_other_images_are_refused(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_cifar10(tmp_path / "files", monkeypatch)
    shuffled = np.random.default_rng(1).permutation(5 * CIFAR_BATCH)
    for split, i in {"train": shuffled, "test": np.arange(5 * CIFAR_BATCH, 6 * CIFAR_BATCH)}.items():
        images = tiny.images[i].transpose(0, 2, 3, 1)
        parquet(tmp_path / "hf" / f"{split}.parquet", "img", images, tiny.labels[i], "RGB")
    with pytest.raises(DataError, match="have different content than CIFAR-10, or its images in another order"):
        load("cifar10", tmp_path / "hf")


@pytest.mark.parametrize(
    ("column", "number", "expected"),
    [
        (
            "text",
            4,
            "train.parquet has the columns text, label, not image or img and label; rename them, or give another",
        ),
        (
            "img",
            4,
            r"the parquet files of train \(1 found\) hold 4 images, not 30; give all of its files, or",
        ),
    ],
)
def test_parquet_files_of_something_else_say_what_they_hold(
    tmp_path: Path, monkeypatch, column: str, number: int, expected: str
) -> None:
    tiny_cifar10(tmp_path / "files", monkeypatch)
    for split in ("train", "test"):
        images = np.zeros((number, 8, 8), np.uint8)
        parquet(tmp_path / "hf" / f"{split}.parquet", column, images, np.zeros(number), "L")
    with pytest.raises(DataError, match=f"hf: {expected}"):
        load("cifar10", tmp_path / "hf")


def test_parquet_files_of_something_else_do_not_keep_from_downloading(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path / "files", monkeypatch)
    parquet(tmp_path / "train.parquet", "text", np.zeros((4, 8, 8), np.uint8), np.zeros(4), "L")
    asked: list[str] = []

    def refused(file: SourceFile, *_: object) -> None:
        asked.append(file.name)
        raise OSError("no network")

    monkeypatch.setattr(sources, "fetch", refused)
    with pytest.raises(MissingFilesError):
        open_pictures(DataConfig("cifar10"), Origin.fetching(tmp_path), quiet)
    assert asked == ["cifar-10-python.tar.gz"]


def test_a_truncated_archive_is_refused(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path, monkeypatch)
    archive = tmp_path / "cifar-10-python.tar.gz"
    content = archive.read_bytes()
    archive.write_bytes(content[:5000])
    with pytest.raises(DataError, match=f"is cut short: 5,000 of {len(content):,} bytes; download it again"):
        load("cifar10", tmp_path)


def test_a_malicious_batch_does_not_run_even_with_the_right_checksum(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "ran"
    attack = f"cos\nsystem\n(S'touch {target}'\ntR.".encode()
    tiny_cifar10(tmp_path, monkeypatch, data_batch_2=attack)
    with pytest.raises(DataError, match=r"data_batch_2: tries to run code \(os.system\)"):
        load("cifar10", tmp_path)
    assert not target.exists()


def test_too_few_images_are_refused_even_with_the_right_checksum(tmp_path: Path, monkeypatch) -> None:
    few = cifar_batch(np.zeros((2, 3, 32, 32), dtype=np.uint8), [0, 1])
    tiny_cifar10(tmp_path, monkeypatch, data_batch_5=few)
    with pytest.raises(DataError, match="has 32 images, not 36"):
        load("cifar10", tmp_path)
