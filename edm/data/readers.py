"""Readers of file formats, which return uint8 arrays: idx, CIFAR-10's pickled batches (safely), and pictures."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from edm.data.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

REPLACE = "replace it by the published file"

GZIP_MAGIC = b"\x1f\x8b"
CIFAR_SHAPE = (3, 32, 32)
CELEBA_SIZE = (178, 218)  # width and height of every aligned picture
CELEBA_CROP = 178

Bytes = NDArray[np.uint8]


def read_idx(path: Path, shape: tuple[int, ...]) -> Bytes:
    """Read an idx file of unsigned bytes, gzipped or not; raises DataError unless it holds an array of `shape`.

    The format is: two zero bytes, the type (8), the number of dimensions, each size in 4 bytes big-endian, the array.
    """
    content = _content(path)
    dimensions = content[3] if content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * dimensions
    if not 1 <= dimensions <= 3 or len(content) < start:
        raise DataError(f"{path}: is not an idx file of unsigned bytes (it begins with {content[:4].hex()}); {REPLACE}")
    found = struct.unpack(f">{dimensions}I", content[4:start])
    if found != shape:
        raise DataError(f"{path}: holds {_size(found)} bytes, not {_size(shape)}; {REPLACE}")
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: has {len(content) - start:,} bytes of data, not the {math.prod(shape):,} it announces; {REPLACE}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); {REPLACE}") from None


# CIFAR-10 -----------------------------------------------------------------------------------------


def read_cifar_batch(content: bytes, title: str) -> tuple[Bytes, NDArray[np.int64]]:
    """Read one of CIFAR-10's pickled batches: images (n, 3, 32, 32) and labels (n). Code in it is never run.

    The format is: a dictionary with `data`, a row of 3,072 bytes per image (red, green, blue, each by rows), and
    `labels`. title: what error messages call the batch. Raises DataError.
    """
    unpickled = _unpickled(content, title)
    batch = cast(dict[str, Any], unpickled) if isinstance(unpickled, dict) else {}
    data, labels = batch.get("data"), batch.get("labels")
    width = math.prod(CIFAR_SHAPE)
    if not _is_rows_of_bytes(data, width):
        raise DataError(f"{title}: has no rows of {width:,} bytes under 'data'; {REPLACE}")
    if not _is_list_of_int(labels) or len(labels) != len(data):
        raise DataError(f"{title}: has {len(data):,} images but no label for each; {REPLACE}")
    return data.reshape(-1, *CIFAR_SHAPE), np.array(labels, dtype=np.int64)


def _is_rows_of_bytes(value: object, width: int) -> TypeGuard[Bytes]:
    if not isinstance(value, np.ndarray):
        return False
    array = cast(NDArray[Any], value)
    return array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] == width


def _is_list_of_int(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(item, int) for item in cast(list[object], value))


def _unpickled(content: bytes, title: str) -> object:
    try:
        # latin1: Python 2 wrote its strings, and numpy recovers bytes from that encoding only
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _ForeignCodeError as error:
        raise DataError(f"{title}: tries to run code ({error}), which no batch of CIFAR-10 does; {REPLACE}") from None
    except Exception as error:  # broken pickles raise nearly any class
        raise DataError(f"{title}: is not a pickled batch ({type(error).__name__}: {error}); {REPLACE}") from None


class _ForeignCodeError(Exception):
    """A pickle refers to something that arrays and bytes are not made of."""


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _ForeignCodeError(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


_RECONSTRUCT = np.zeros(0).__reduce__()[0]  # numpy moves the module of this function between releases
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,  # how Python 3 writes bytes in Python 2's protocol
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numbers, text, bytes, lists, dictionaries and arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> object:
        """Return the constructor of an array or of bytes; raises _ForeignCodeError for any other name."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _ForeignCodeError(f"{module}.{name}") from None


# pictures -----------------------------------------------------------------------------------------


def read_celeba(content: bytes, title: str, resolution: int) -> Bytes:
    """Decode one of CelebA's aligned pictures and resize its central 178x178: (3, resolution, resolution).

    title: what error messages call it. Raises DataError.
    """
    with _opened(content, title) as image:
        if image.size != CELEBA_SIZE:
            raise DataError(
                f"{title}: is {_size(image.size)} pixels, not the {_size(CELEBA_SIZE)} of CelebA's aligned pictures; "
                "replace img_align_celeba by the published one"
            )
        return _square(image.convert("RGB"), CELEBA_CROP, resolution)


def read_picture(content: bytes, title: str, channels: int, resolution: int) -> Bytes:
    """Decode any picture and resize its largest central square: (channels, resolution, resolution).

    It is turned upright first; transparent pixels become white; 16-bit grey keeps its upper 8 bits. title: what error
    messages call it. Raises DataError.
    """
    from PIL import ImageOps

    with _opened(content, title) as opened:
        image = _converted(ImageOps.exif_transpose(opened), "RGB" if channels == 3 else "L")
        return _square(image, min(image.size), resolution)


def _converted(image: Image, mode: str) -> Image:
    from PIL import Image as PIL_Image

    if image.mode == "F":
        raise ValueError("its pixels are fractions; save it with 8 bits")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip
        image = PIL_Image.fromarray((np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL_Image.alpha_composite(PIL_Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _square(image: Image, side: int, resolution: int) -> Bytes:
    """Return the central square of `side` pixels, resized as torchvision's CenterCrop and Resize do."""
    from PIL.Image import Resampling

    # rounded as by CenterCrop; BILINEAR on a PIL image is torchvision's resize with antialias
    left, top = (round((size - side) / 2) for size in image.size)
    image = image.crop((left, top, left + side, top + side))
    pixels = np.asarray(image.resize((resolution, resolution), Resampling.BILINEAR))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(content: bytes, title: str) -> Generator[Image, None, None]:
    """Open a picture; raises DataError for whatever goes wrong inside the block."""
    from PIL import Image as PIL_Image
    from PIL import UnidentifiedImageError

    try:
        with PIL_Image.open(io.BytesIO(content)) as image:
            yield image
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly any class for a broken file
        reason = "it is not a picture" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{title}: cannot be decoded ({reason}); replace it or remove it") from None
