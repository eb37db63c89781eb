"""File formats -> uint8 arrays: idx-ubyte, CIFAR-10's batches (no code of theirs is run), pictures."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edm.data.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

GZIP_MAGIC = b"\x1f\x8b"
CIFAR_SHAPE = (3, 32, 32)
CELEBA_SIZE = (178, 218)  # width and height of every aligned picture
CELEBA_CROP = 178


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An idx file of unsigned bytes, gzipped or not, which has to hold an array of `shape`; raises DataError.

    Format: two zero bytes, the type (8), the number of dimensions, each size in 4 bytes big-endian, the array.
    """
    content = _content(path)
    dimensions = content[3] if content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * dimensions
    if not 1 <= dimensions <= 3 or len(content) < start:
        raise DataError(f"{path}: is not an idx file of unsigned bytes (it begins with {content[:4].hex()}); {_ANEW}")
    found = struct.unpack(f">{dimensions}I", content[4:start])
    if found != shape:
        raise DataError(f"{path}: holds {_times(found)} bytes, not {_times(shape)}; {_ANEW}")
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: has {len(content) - start:,} bytes of data, not the {math.prod(shape):,} it announces; {_ANEW}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


_ANEW = "replace it by the published file"


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); {_ANEW}") from None


# CIFAR-10 -----------------------------------------------------------------------------------------


def read_cifar_batch(content: bytes, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) and labels of one of CIFAR-10's pickled batches; raises DataError, and never runs its code.

    Format: a dictionary with `data`, one row of 3,072 bytes an image (red, green, blue, each by rows), and `labels`.
    """
    batch = _unpickled(content, title)
    data = batch.get("data") if isinstance(batch, dict) else None
    labels = batch.get("labels") if isinstance(batch, dict) else None
    width = math.prod(CIFAR_SHAPE)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != width:
        raise DataError(f"{title}: has no rows of {width:,} bytes under 'data'; {_ANEW}")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(isinstance(n, int) for n in labels):
        raise DataError(f"{title}: has {len(data):,} images but no label for each; {_ANEW}")
    return data.reshape(-1, *CIFAR_SHAPE), np.array(labels, dtype=np.int64)


def _unpickled(content: bytes, title: str) -> Any:
    try:
        # latin1: its strings were written by Python 2, and numpy takes its bytes back from that alone
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except _ForeignCode as error:
        raise DataError(f"{title}: tries to run code ({error}), which no batch of CIFAR-10 does; {_ANEW}") from None
    except Exception as error:  # broken pickles raise nearly anything
        raise DataError(f"{title}: is not a pickled batch ({type(error).__name__}: {error}); {_ANEW}") from None


class _ForeignCode(Exception):
    """A pickle that names anything but what arrays and bytes are made of."""


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _ForeignCode(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


_RECONSTRUCT = np.zeros(0).__reduce__()[0]  # its module has another name in every numpy
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,  # how Python 3 writes bytes in Python 2's protocol
}


class _ArrayUnpickler(pickle.Unpickler):
    """Makes numbers, text, bytes, lists, dictionaries and arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _ForeignCode(f"{module}.{name}") from None


# pictures -----------------------------------------------------------------------------------------


def read_celeba(content: bytes, title: str, resolution: int) -> np.ndarray:
    """One of CelebA's aligned pictures, its central 178x178 resized: (3, resolution, resolution); raises DataError."""
    with _opened(content, title) as image:
        if image.size != CELEBA_SIZE:
            raise DataError(
                f"{title}: is {_times(image.size)} pixels, not the {_times(CELEBA_SIZE)} of CelebA's aligned pictures; "
                "replace img_align_celeba by the published one"
            )
        return _square(image.convert("RGB"), CELEBA_CROP, resolution)


def read_picture(content: bytes, title: str, channels: int, resolution: int) -> np.ndarray:
    """Any picture, turned upright, its largest central square resized: (channels, resolution, resolution).

    Transparent pixels are laid on white; 16-bit gray keeps its upper 8 bits. Raises DataError.
    """
    from PIL import ImageOps

    with _opened(content, title) as opened:
        image = _converted(ImageOps.exif_transpose(opened), "RGB" if channels == 3 else "L")
        return _square(image, min(image.size), resolution)


def _converted(image: Image, mode: str) -> Image:
    from PIL import Image as images

    if image.mode == "F":
        raise ValueError("its pixels are fractions; save it with 8 bits")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip
        image = images.fromarray((np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = images.alpha_composite(images.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _square(image: Image, side: int, resolution: int) -> np.ndarray:
    from PIL.Image import Resampling

    # the rounding of torchvision's CenterCrop; BILINEAR on a PIL image is its resize with antialias
    left, top = (round((size - side) / 2) for size in image.size)
    image = image.crop((left, top, left + side, top + side))
    pixels = np.asarray(image.resize((resolution, resolution), Resampling.BILINEAR))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@contextmanager
def _opened(content: bytes, title: str) -> Iterator[Image]:
    from PIL import Image as images
    from PIL import UnidentifiedImageError

    try:
        with images.open(io.BytesIO(content)) as image:
            yield image
    except DataError:
        raise
    except Exception as error:  # decoders raise nearly anything for a broken file
        reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{title}: cannot be decoded ({reason}); replace it or take it away") from None
