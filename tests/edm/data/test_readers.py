"""File formats: idx files, and CIFAR-10's batches, of which the pickled ones may run nothing."""

import gzip
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from edm.data.errors import DataError
from edm.data.readers import cifar_binary, idx_bytes, read_cifar_batch, read_cifar_binary, read_idx, unpack_idx
from tests.datafiles import cifar_batch, idx

RNG = np.random.default_rng(3)
BYTES = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
BATCH = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 0, 9, 1]


# idx ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("array", [BYTES, BYTES[:, 0, 0]])
def test_idx_files_are_read_packed_or_not(pack, array) -> None:
    unpacked = unpack_idx(pack(idx(array)), array.shape, "x")
    assert np.array_equal(read_idx(unpacked, array.shape, "x"), array)
    assert unpacked == idx(array) == idx_bytes(array)


def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10**7))
    assert len(unpack_idx(bomb, (5, 4, 3), "x")) < 100


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not an idx file of unsigned bytes"),
        (b"\0\0\x0d" + idx(BYTES)[3:], "is not an idx file of unsigned bytes (it begins with 00000d03)"),
        (b"\0\0\x08\x03\0\0", "is not an idx file of unsigned bytes"),
        (b"\0\0\x08\xff" + bytes(2000), "is not an idx file of unsigned bytes"),
        (idx(BYTES[:4]), "holds 4x4x3 bytes, not 5x4x3"),
        (idx(BYTES[:, 0]), "holds 5x3 bytes, not 5x4x3"),
        (idx(BYTES)[:-1], "has 59 bytes of data, not the 60 it announces"),
        (idx(BYTES) + b"\0", "has 61 bytes of data, not the 60 it announces"),
        (gzip.compress(idx(BYTES), mtime=0)[:-9], "cannot be read (Compressed file ended"),
        (gzip.compress(idx(BYTES), mtime=0)[:20] + b"junk", "cannot be read ("),
        (b"\x1f\x8bnothing", "cannot be read ("),
    ],
)
def test_broken_idx_files_are_refused(content: bytes, expected: str) -> None:
    with pytest.raises(DataError) as refusal:
        read_idx(unpack_idx(content, (5, 4, 3), "x"), (5, 4, 3), "x")
    assert expected in str(refusal.value) and "replace it" in str(refusal.value)


# CIFAR-10 -----------------------------------------------------------------------------------------


def test_a_batch_by_python_2_is_read_as_pickle_reads_it() -> None:
    content = cifar_batch(BATCH, LABELS)
    with warnings.catch_warnings(action="ignore"):  # of numpy, that its core has moved
        plain = pickle.loads(content, encoding="latin1")
    images, labels = read_cifar_batch(content, "x")
    assert np.array_equal(images.reshape(4, -1), plain["data"]) and np.array_equal(images, BATCH)
    assert labels.tolist() == plain["labels"] == LABELS and labels.dtype == np.int64


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
def test_a_batch_by_python_3_is_read_too(protocol: int) -> None:
    content = pickle.dumps({"data": BATCH.reshape(4, -1), "labels": LABELS}, protocol)
    images, labels = read_cifar_batch(content, "x")
    assert np.array_equal(images, BATCH) and labels.tolist() == LABELS


class Attack:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def attacks(target: Path) -> list[bytes]:
    """Pickles that would write `target`, or run what they name, if they were let."""
    command = f"touch {target}"
    return [
        pickle.dumps({"data": Attack(os.system, command), "labels": LABELS}, 2),
        pickle.dumps(Attack(eval, f"open({str(target)!r}, 'w')"), 4),
        f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.",
        b"cnumpy\nsave\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
    ]


@pytest.mark.parametrize("number", range(6))
def test_a_batch_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, number: int) -> None:
    target = tmp_path / "ran"
    with pytest.raises(DataError, match=r"tries to run code .*; replace it by the published file"):
        read_cifar_batch(attacks(target)[number], "data_batch_1")
    assert not target.exists()


def test_the_attack_would_have_run(tmp_path: Path) -> None:
    pickle.loads(attacks(tmp_path / "ran")[0])
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is not a pickled batch"),
        (b"not a pickle", "is not a pickled batch"),
        (cifar_batch(BATCH, LABELS)[:-500], "is not a pickled batch"),
        (pickle.dumps([1, 2]), "has no rows of 3,072 bytes under 'data'"),
        (pickle.dumps({"data": BATCH, "labels": LABELS}, 2), "has no rows of 3,072 bytes under 'data'"),
        (pickle.dumps({"data": BATCH.reshape(4, -1).astype(int), "labels": LABELS}, 2), "has no rows of 3,072"),
        (pickle.dumps({"data": BATCH.reshape(4, -1), "labels": LABELS[:3]}, 2), "has 4 images but no label for each"),
        (pickle.dumps({"data": BATCH.reshape(4, -1), "labels": [*LABELS[:3], "x"]}, 2), "no label for each"),
    ],
)
def test_broken_batches_are_refused(content: bytes, expected: str) -> None:
    with pytest.raises(DataError) as refusal:
        read_cifar_batch(content, "data_batch_3")
    assert expected in str(refusal.value) and str(refusal.value).startswith("data_batch_3: ")


def test_a_binary_batch_is_labels_and_pixels() -> None:
    content = b"".join(bytes([label]) + image.tobytes() for label, image in zip(LABELS, BATCH, strict=True))
    images, labels = read_cifar_binary(content, "x")
    assert np.array_equal(images, BATCH) and labels.tolist() == LABELS and labels.dtype == np.int64
    assert cifar_binary(images, labels) == content
    for broken in (b"", content[:-1]):
        with pytest.raises(DataError, match=r"x: has .* bytes, which is no multiple of 3,073; replace it"):
            read_cifar_binary(broken, "x")
