"""Pictures of every kind, as torchvision crops and resizes them; and those that are refused."""

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from edm.data.decode import read_celeba, read_picture
from edm.data.errors import DataError
from tests.datafiles import encoded, picture


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
    assert np.array_equal(read_picture(encoded(image, "PNG"), "x", 3, 16)[0], np.asarray(theirs).transpose(2, 0, 1))


def plain(image: Image.Image, channels: int = 3) -> np.ndarray:
    return read_picture(encoded(image, "PNG"), "x", channels, image.size[0])[0]


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
    found = read_picture(encoded(image, "PNG", transparency=bytes([0, *[255] * 7])), "x", 3, 16)[0]
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
    assert np.array_equal(read_picture(content, "x", 3, 16)[0], read_picture(encoded(upright, "PNG"), "x", 3, 16)[0])
    if orientation != 1:
        assert not np.array_equal(
            read_picture(content, "x", 3, 16)[0], read_picture(encoded(image, "PNG"), "x", 3, 16)[0]
        )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html>", "it is an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "it is a pointer of Git LFS; get the picture with 'git lfs pull'",
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is a HEIC picture; save it as JPEG or PNG"),
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


# sizes --------------------------------------------------------------------------------------------


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that announces a size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + checksum + b"\0\0\0\x64IDAT" + bytes(104)


@pytest.mark.parametrize("size", [(13_000, 13_000), (9_460, 9_460), (2**31 - 1, 2**31 - 1), (1, 89_478_486)])
def test_a_picture_that_would_fill_the_memory_is_refused(size: tuple[int, int]) -> None:
    with warnings.catch_warnings(action="error"), pytest.raises(DataError) as refusal:
        read_picture(png_of_size(*size), "a/b.png", 3, 16)
    assert re.fullmatch(
        r"a/b.png: has [\d,]+(x\d+)? pixels, above the 89,478,485 that are decoded, "
        r"as larger ones would fill the memory; make it smaller or remove it",
        str(refusal.value),
    )


def test_a_picture_below_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(picture(0, (20, 20)), "PNG")
    monkeypatch.setattr("edm.data.decode.MAX_PIXELS", 400)
    monkeypatch.setattr("edm.data.decode.LARGE_PIXELS", 399)  # and takes its turn
    assert read_picture(content, "x", 3, 16)[0].shape == (3, 16, 16)
    monkeypatch.setattr("edm.data.decode.MAX_PIXELS", 399)
    with pytest.raises(DataError, match="x: has 20x20 pixels, above the 399 that are decoded"):
        read_picture(content, "x", 3, 16)
