"""Fashion-MNIST however it is packed: what torchvision reads from it, and what is refused."""

import gzip
import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from edm.data.errors import DataError
from tests.datafiles import Tiny, idx, parquet, tiny_fashion_mnist, unpack_fashion_mnist, zipped
from tests.edm.data.opened import everything, load

DEBIANS = Path("/usr/share/datasets/fashion-mnist")


def test_fashion_mnist_is_what_torchvision_reads_padded_by_two(tmp_path: Path, monkeypatch) -> None:
    from torchvision.datasets import FashionMNIST

    tiny = tiny_fashion_mnist(tmp_path, monkeypatch)
    pictures = load("fashion_mnist", tmp_path)
    images = everything(pictures)
    assert images.shape == (40, 1, 32, 32) and images.dtype == np.uint8
    assert np.array_equal(images[:, 0, 2:-2, 2:-2], tiny.images)
    assert images.sum(dtype=int) == tiny.images.sum(dtype=int)  # nothing but black around them
    assert np.array_equal(pictures.labels, tiny.labels) and pictures.source["checked"] == "content"
    unpack_fashion_mnist(tmp_path)
    theirs = [FashionMNIST(tmp_path, train=train) for train in (True, False)]
    assert np.array_equal(np.concatenate([part.data for part in theirs]), images[:, 0, 2:-2, 2:-2])
    assert np.array_equal(np.concatenate([part.targets for part in theirs]), pictures.labels)


def packings(tiny: Tiny, root: Path) -> dict[str, Path]:
    """The data set as people have it, each in a place of its own; what to give for each."""
    raw = tiny.root / "FashionMNIST" / "raw"
    gzipped = {path.name: path.read_bytes() for path in raw.glob("*.gz")}
    plain = {name.removesuffix(".gz"): gzip.decompress(content) for name, content in gzipped.items()}
    found = {"gzip": raw, "one file": raw / "train-images-idx3-ubyte.gz"}
    anew = {name: gzip.compress(gzip.decompress(content), 1) for name, content in gzipped.items()}
    for kind, files in {"anew": anew, "plain": plain, "usr/share/datasets/fashion-mnist": gzipped}.items():
        (root / kind).mkdir(parents=True)
        for name, content in files.items():
            (root / kind / name).write_bytes(content)
        found[kind] = root / kind
    found["debian"] = root / "usr/share/datasets"
    found["zip"] = zipped(root / "archive.zip", {"fashion-mnist_train.csv": b"1,2", **plain})
    found["zip of gzip"] = zipped(root / "mine.zip", {f"data/fashion/{name}": c for name, c in gzipped.items()})
    with tarfile.open(root / "files.tgz", "w:gz") as tar:
        tar.add(raw, "raw")
    found["tar"] = root / "files.tgz"
    parts = {"train": slice(0, 30), "test": slice(30, None)}
    for layout in ("hub/datasets--zalando-datasets--fashion_mnist/snapshots/abc/fashion_mnist", "hf/fashion_mnist"):
        for split, rows in parts.items():
            path = root / layout / f"{split}-00000-of-00001.parquet"
            parquet(path, "image", tiny.images[rows], tiny.labels[rows], "L")
    for split, rows in parts.items():  # as Hugging Face converts data sets
        parquet(root / "converted" / split / "0000.parquet", "image", tiny.images[rows], tiny.labels[rows], "L")
    return {**found, "hub": root / "hub", "hugging face": root / "hf", "converted": root / "converted"}


def test_any_packing_gives_the_same_images(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_fashion_mnist(tmp_path / "torchvision", monkeypatch)
    expected = np.pad(tiny.images[:, None], ((0, 0), (0, 0), (2, 2), (2, 2)))
    for packing, place in packings(tiny, tmp_path).items():
        pictures = load("fashion_mnist", place)
        assert np.array_equal(everything(pictures), expected), packing
        assert np.array_equal(pictures.labels, tiny.labels), packing
        assert pictures.source["checked"] == "content", packing


def test_other_images_in_the_same_format_are_refused(tmp_path: Path, monkeypatch) -> None:
    """MNIST has the same file names and shapes."""
    tiny = tiny_fashion_mnist(tmp_path, monkeypatch)
    path = tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"
    other = idx(255 - tiny.images[:30])
    path.write_bytes(gzip.compress(other))
    with pytest.raises(DataError) as refusal:
        load("fashion_mnist", tmp_path)
    assert f"{path}: has different content than the published train-images-idx3-ubyte" in str(refusal.value)
    assert hashlib.sha256(other).hexdigest() in str(refusal.value) and "download it again" in str(refusal.value)


def test_parquet_files_with_other_images_are_refused(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_fashion_mnist(tmp_path / "files", monkeypatch)
    for split, rows in {"train": slice(0, 30), "test": slice(30, None)}.items():
        parquet(tmp_path / "hf" / f"{split}-0.parquet", "image", tiny.images[rows], (tiny.labels + 1)[rows] % 10, "L")
    with pytest.raises(DataError, match="has different content than the published train-labels"):
        load("fashion_mnist", tmp_path / "hf")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<!DOCTYPE html><html>", "is an HTML page, as servers send instead of a file that they refuse; replace"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS, not the file itself"),
    ],
)
def test_what_is_there_instead_of_a_file_is_said(tmp_path: Path, monkeypatch, content: bytes, expected: str) -> None:
    tiny_fashion_mnist(tmp_path, monkeypatch)
    (tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=f"t10k-labels-idx1-ubyte.gz: {expected}"):
        load("fashion_mnist", tmp_path)


def test_an_archive_that_lacks_a_file_names_it(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_fashion_mnist(tmp_path / "files", monkeypatch)
    archive = zipped(tmp_path / "x.zip", {"train-images-idx3-ubyte": idx(tiny.images[:30])})
    with pytest.raises(DataError, match=r"x.zip: has no train-labels-idx1-ubyte; pack all four files"):
        load("fashion_mnist", archive)


@pytest.mark.slow
@pytest.mark.skipif(not DEBIANS.exists(), reason="needs Debian's package dataset-fashion-mnist, which .ci/run installs")
def test_debians_files_are_what_torchvision_reads(tmp_path: Path) -> None:
    """Debian packs the published bytes anew, so that only their content is the same."""
    from torchvision.datasets import FashionMNIST

    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in DEBIANS.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    theirs = [FashionMNIST(tmp_path, train=train) for train in (True, False)]
    pictures = load("fashion_mnist", DEBIANS)
    images = everything(pictures)
    assert np.array_equal(np.concatenate([part.data for part in theirs]), images[:, 0, 2:-2, 2:-2])
    assert np.array_equal(np.concatenate([part.targets for part in theirs]), pictures.labels)


def test_unpacked_fashion_mnist_of_another_size_is_refused(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_fashion_mnist(tmp_path, monkeypatch)
    folder = unpack_fashion_mnist(tmp_path)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(tiny.images[:29]))
    with pytest.raises(DataError, match="train-images-idx3-ubyte: holds 29x28x28 bytes, not 30x28x28"):
        load("fashion_mnist", tmp_path)
