"""Every data set from files in its real format: what torchvision reads from them, and what is refused."""

import pickle
import shutil
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edm.config import DataConfig
from edm.data.catalogue import CATALOGUE, split_indices
from edm.data.errors import DataError
from edm.data.loaders import Pictures, open_pictures
from edm.data.sources import Origin
from tests.datafiles import (
    cifar_batch,
    idx,
    image_tree,
    md5,
    tiny_celeba,
    tiny_cifar10,
    tiny_fashion_mnist,
    unpack_celeba,
    unpack_cifar10,
    unpack_fashion_mnist,
)


def quiet(_step: str, _done: int, _total: int) -> None:
    pass


def load(name: str, root: Path, **options: object) -> Pictures:
    return open_pictures(DataConfig(name, **options), Origin.given(root), quiet)


def everything(pictures: Pictures) -> np.ndarray:
    images = pictures.read(0, len(pictures.labels))
    pictures.close()
    return images


# Fashion-MNIST ------------------------------------------------------------------------------------


def test_fashion_mnist_is_what_torchvision_reads_padded_by_two(tmp_path: Path, monkeypatch) -> None:
    from torchvision.datasets import FashionMNIST

    tiny = tiny_fashion_mnist(tmp_path, monkeypatch)
    pictures = load("fashion_mnist", tmp_path)
    images = everything(pictures)
    assert images.shape == (40, 1, 32, 32) and images.dtype == np.uint8
    assert np.array_equal(images[:, 0, 2:-2, 2:-2], tiny.images)
    assert images.sum(dtype=int) == tiny.images.sum(dtype=int)  # nothing but black around them
    assert np.array_equal(pictures.labels, tiny.labels) and pictures.source["checked"] == "md5"
    unpack_fashion_mnist(tmp_path)
    theirs = [FashionMNIST(tmp_path, train=train) for train in (True, False)]
    assert np.array_equal(np.concatenate([part.data for part in theirs]), images[:, 0, 2:-2, 2:-2])
    assert np.array_equal(np.concatenate([part.targets for part in theirs]), pictures.labels)


def test_unpacked_fashion_mnist_is_the_same_but_unchecked(tmp_path: Path, monkeypatch) -> None:
    tiny_fashion_mnist(tmp_path, monkeypatch)
    before = everything(load("fashion_mnist", tmp_path))
    unpack_fashion_mnist(tmp_path)
    pictures = load("fashion_mnist", tmp_path)
    assert np.array_equal(everything(pictures), before) and pictures.source["checked"] == "counts and shapes"


def test_unpacked_fashion_mnist_of_another_size_is_refused(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_fashion_mnist(tmp_path, monkeypatch)
    folder = unpack_fashion_mnist(tmp_path)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(tiny.images[:29]))
    with pytest.raises(DataError, match="train-images-idx3-ubyte: holds 29x28x28 bytes, not 30x28x28"):
        load("fashion_mnist", tmp_path)


def test_labels_that_are_no_class_are_refused(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_fashion_mnist(tmp_path, monkeypatch)
    folder = unpack_fashion_mnist(tmp_path)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(tiny.labels[:30] + np.uint8(5)))
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: has labels outside 0 to 9"):
        load("fashion_mnist", tmp_path)


# CIFAR-10 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar10_is_what_torchvision_reads(tmp_path: Path, monkeypatch, unpacked: bool) -> None:
    from torchvision.datasets import CIFAR10

    tiny = tiny_cifar10(tmp_path, monkeypatch)
    if unpacked:
        unpack_cifar10(tmp_path)
    pictures = load("cifar10", tmp_path)
    images = everything(pictures)
    assert np.array_equal(images, tiny.images) and np.array_equal(pictures.labels, tiny.labels)
    assert pictures.source["checked"] == "md5"
    if unpacked:
        members, meta = CATALOGUE["cifar10"].members, pickle.dumps({"label_names": []})
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


def test_a_half_unpacked_cifar10_names_the_batch(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path, monkeypatch)
    folder = unpack_cifar10(tmp_path)
    content = (folder / "data_batch_4").read_bytes()
    (folder / "data_batch_4").write_bytes(content[:100])
    with pytest.raises(DataError, match=rf"data_batch_4: has 100 bytes with md5 .*, the published one {md5(content)}"):
        load("cifar10", tmp_path)
    (folder / "data_batch_4").unlink()
    with pytest.raises(DataError, match=rf"has no data_batch_4 \(md5 {md5(content)}\); unpack cifar-10-python.tar.gz"):
        load("cifar10", tmp_path)


def test_a_truncated_archive_is_refused_even_with_the_right_checksum(tmp_path: Path, monkeypatch) -> None:
    tiny_cifar10(tmp_path, monkeypatch)
    archive, known = tmp_path / "cifar-10-python.tar.gz", CATALOGUE["cifar10"]
    archive.write_bytes(archive.read_bytes()[:5000])
    file = replace(known.files[0], md5=md5(archive.read_bytes()))
    monkeypatch.setitem(CATALOGUE, "cifar10", replace(known, files=(file,)))
    with pytest.raises(DataError, match=r"cannot be unpacked .*; download it again"):
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


# CelebA -------------------------------------------------------------------------------------------


def celeba_square(image: np.ndarray, resolution: int) -> np.ndarray:
    cropped = Image.fromarray(image[20:198])
    return np.asarray(cropped.resize((resolution, resolution), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize(("splits", "kept"), [("study", [*range(12), *range(16, 21)]), ("official", range(21))])
def test_celeba_is_cropped_resized_and_in_the_order_of_its_parts(
    tmp_path: Path, monkeypatch, unpacked: bool, splits: str, kept
) -> None:
    tiny = tiny_celeba(tmp_path, monkeypatch)
    if unpacked:
        unpack_celeba(tmp_path)
    pictures = load("celeba", tmp_path, splits=splits, resolution=64)
    expected = np.stack([celeba_square(tiny.images[i], 64) for i in kept])
    assert np.array_equal(everything(pictures), expected) and not pictures.labels.any()
    assert pictures.source["checked"] == ("counts and shapes" if unpacked else "md5")
    indices = split_indices(DataConfig("celeba", splits=splits))
    assert sorted(i for part in indices.values() for i in part) == list(range(len(kept)))


def test_celeba_is_128_pixels_wide_by_default(tmp_path: Path, monkeypatch) -> None:
    tiny = tiny_celeba(tmp_path, monkeypatch)
    assert np.array_equal(load("celeba", tmp_path).read(3, 4)[0], celeba_square(tiny.images[3], 128))


def test_the_folder_of_pictures_wins_over_a_bad_archive_beside_it(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    before = everything(load("celeba", tmp_path))
    folder = unpack_celeba(tmp_path)
    (folder.parent / "img_align_celeba.zip").write_bytes(b"packed anew")
    assert np.array_equal(everything(load("celeba", folder)), before)
    with pytest.raises(DataError, match="is cut short"):
        load("celeba", tmp_path)


def test_a_folder_in_a_folder_of_the_same_name_is_entered(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    before = everything(load("celeba", tmp_path))
    folder = unpack_celeba(tmp_path)
    folder.rename(tmp_path / "inner")
    folder.mkdir()
    (tmp_path / "inner").rename(folder / "img_align_celeba")
    assert np.array_equal(everything(load("celeba", tmp_path)), before)


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    folder = unpack_celeba(tmp_path)
    for number in (4, 19):
        (folder / f"{number:06d}.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 2 of 17 pictures, the first of them 000004.jpg"):
        load("celeba", tmp_path)


def test_a_damaged_picture_in_the_archive_is_named(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    archive, known = tmp_path / "celeba" / "img_align_celeba.zip", CATALOGUE["celeba"]
    with zipfile.ZipFile(archive) as opened:
        start = opened.getinfo("img_align_celeba/000002.jpg").header_offset
    content = bytearray(archive.read_bytes())
    content[start + 300] ^= 255
    archive.write_bytes(content)
    files = (replace(known.files[0], md5=md5(bytes(content))), known.files[1])
    monkeypatch.setitem(CATALOGUE, "celeba", replace(known, files=files))
    with pytest.raises(DataError, match=r"000002.jpg: cannot be read \(Bad CRC-32"):
        everything(load("celeba", tmp_path))


def test_an_archive_that_is_none_is_refused_even_with_the_right_checksum(tmp_path: Path, monkeypatch) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    archive, known = tmp_path / "celeba" / "img_align_celeba.zip", CATALOGUE["celeba"]
    archive.write_bytes(archive.read_bytes()[:9000])
    files = (replace(known.files[0], md5=md5(archive.read_bytes())), known.files[1])
    monkeypatch.setitem(CATALOGUE, "celeba", replace(known, files=files))
    with pytest.raises(DataError, match=r"img_align_celeba.zip: cannot be read \(File is not a zip file\)"):
        load("celeba", tmp_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace("000003.jpg 0", "000003.jpg 7"), ":3: is not a file name and 0, 1 or 2"),
        (lambda text: text.replace("000013.jpg 1", "000013.jpg 0"), "has 13 images, not 12"),
    ],
)
def test_another_partition_is_refused_even_with_the_right_checksum(
    tmp_path: Path, monkeypatch, change, expected: str
) -> None:
    tiny_celeba(tmp_path, monkeypatch)
    path, known = tmp_path / "celeba" / "list_eval_partition.txt", CATALOGUE["celeba"]
    path.write_text(change(path.read_text()))
    files = (known.files[0], replace(known.files[1], md5=md5(path.read_bytes())))
    monkeypatch.setitem(CATALOGUE, "celeba", replace(known, files=files))
    with pytest.raises(DataError, match=expected):
        load("celeba", tmp_path)


# a folder of images -------------------------------------------------------------------------------


def test_a_folder_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    root = image_tree(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(10)))
    config = DataConfig("folder", resolution=8, path=str(root))
    pictures = open_pictures(config, Origin(root), quiet)
    assert pictures.labels.tolist() == [0] * 10 + [1] * 10
    everything(pictures)
    pictures.verify("")
    shutil.copy(root / "a" / "1.png", root / "b" / "1.png")
    everything(pictures)
    with pytest.raises(DataError, match="has changed while it was read; leave it alone and run this again"):
        pictures.verify("")
