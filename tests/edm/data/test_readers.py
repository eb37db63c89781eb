"""File formats: idx files, pickled batches that may run nothing, pictures of every kind."""

import gzip
import io
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edm.data.errors import DataError
from edm.data.readers import read_celeba, read_cifar_batch, read_idx, read_picture
from tests.datafiles import cifar_batch, encoded, idx, picture

RNG = np.random.default_rng(3)
BYTES = RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8)
BATCH = RNG.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 0, 9, 1]


# idx ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("array", [BYTES, BYTES[:, 0, 0]])
def test_idx_files_are_read_packed_or_not(tmp_path: Path, pack, array) -> None:
    (tmp_path / "x").write_bytes(pack(idx(array)))
    assert np.array_equal(read_idx(tmp_path / "x", array.shape), array)


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
def test_broken_idx_files_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError) as refusal:
        read_idx(tmp_path / "x", (5, 4, 3))
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


# pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [128, 64, 256])
def test_celeba_is_cropped_and_resized_as_torchvision_does(resolution: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    content = encoded(picture(0), "JPEG", quality=90)
    original = Image.open(io.BytesIO(content))
    theirs = Compose([CenterCrop(178), Resize(resolution, antialias=True)])(original)
    ours = read_celeba(content, "x", resolution)
    assert ours.dtype == np.uint8 and np.array_equal(ours, np.asarray(theirs).transpose(2, 0, 1))


def test_celeba_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="x: is 178x178 pixels, not the 178x218 of CelebA's aligned pictures"):
        read_celeba(encoded(picture(0, (178, 178)), "JPEG"), "x", 128)


@pytest.mark.parametrize("size", [(20, 20), (33, 20), (20, 33), (34, 20), (8, 8), (3, 5)])
def test_pictures_are_cropped_to_their_central_square(size: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    image = picture(1, size)
    theirs = Compose([CenterCrop(min(size)), Resize(16, antialias=True)])(image)
    assert np.array_equal(read_picture(encoded(image, "PNG"), "x", 3, 16), np.asarray(theirs).transpose(2, 0, 1))


def plain(image: Image.Image, channels: int = 3) -> np.ndarray:
    return read_picture(encoded(image, "PNG"), "x", channels, image.size[0])


def test_gray_pictures_become_three_channels_and_colour_becomes_gray() -> None:
    image = picture(2, (16, 16))
    gray = image.convert("L")
    assert np.array_equal(plain(gray), np.stack([np.asarray(gray)] * 3))
    assert np.array_equal(plain(image, 1), np.asarray(gray)[None])
    assert np.array_equal(plain(gray, 1), np.asarray(gray)[None])


def test_transparent_pixels_are_white() -> None:
    image = picture(3, (16, 16)).convert("RGBA")
    alpha = np.zeros((16, 16), dtype=np.uint8)
    alpha[:, :8] = 255
    image.putalpha(Image.fromarray(alpha))
    found, original = plain(image), np.asarray(image)[..., :3].transpose(2, 0, 1)
    assert np.array_equal(found[:, :, :8], original[:, :, :8])
    assert (found[:, :, 8:] == 255).all() and (original[:, :, 8:] != 255).any()


def test_palettes_are_colours_also_with_a_transparent_one() -> None:
    image = picture(4, (16, 16)).quantize(8)
    assert np.array_equal(plain(image), np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    found = read_picture(encoded(image, "PNG", transparency=bytes([0, *[255] * 7])), "x", 3, 16)
    assert (found[:, np.asarray(image) == 0] == 255).all()


def test_16_bit_gray_keeps_its_upper_bits() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    assert np.array_equal(plain(Image.fromarray(values), 1)[0], values >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    from PIL import ImageOps

    image = picture(5, (24, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(read_picture(content, "x", 3, 16), read_picture(encoded(upright, "PNG"), "x", 3, 16))
    if orientation != 1:
        assert not np.array_equal(read_picture(content, "x", 3, 16), read_picture(encoded(image, "PNG"), "x", 3, 16))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is not a picture"),
        (b"not a picture", "it is not a picture"),
        (encoded(picture(0), "JPEG")[:3000], "truncated"),
        (encoded(picture(0), "PNG")[:3000], "truncated"),
    ],
)
def test_broken_pictures_are_named(content: bytes, expected: str) -> None:
    for read in (lambda: read_picture(content, "a/b.png", 3, 16), lambda: read_celeba(content, "a/b.png", 16)):
        with pytest.raises(DataError, match=f"a/b.png: cannot be decoded .*{expected}.*; replace it or remove it"):
            read()


def test_pixels_that_are_fractions_are_refused() -> None:
    content = encoded(Image.fromarray(np.zeros((8, 8), dtype=np.float32)), "TIFF")
    with pytest.raises(DataError, match="its pixels are fractions; save it with 8 bits"):
        read_picture(content, "x", 3, 16)
