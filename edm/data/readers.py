"""Readers of formats that hold arrays: idx files, and CIFAR-10's batches, pickled (read safely) or binary."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import struct
import zlib
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from edm.data.errors import DataError

REPLACE = "replace it by the published file"

GZIP_MAGIC = b"\x1f\x8b"
MAX_HEADER = 16  # bytes before the array of an idx file
CIFAR_SHAPE = (3, 32, 32)

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


def unpack_idx(content: bytes, shape: tuple[int, ...], title: str) -> bytes:
    """Return an idx file that may be gzipped, without unpacking much more than an array of `shape` can have.

    title: what error messages call the file. Raises DataError.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return file.read(MAX_HEADER + math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{title}: cannot be read ({error}); {REPLACE}") from None


def read_idx(content: bytes, shape: tuple[int, ...], title: str) -> Bytes:
    """Read an idx file of unsigned bytes; raises DataError unless it holds an array of `shape`.

    The format is: two zero bytes, the type (8), the number of dimensions, each size in 4 bytes big-endian, the array.
    """
    dimensions = content[3] if content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * dimensions
    if not 1 <= dimensions <= 3 or len(content) < start:
        raise DataError(
            f"{title}: is not an idx file of unsigned bytes (it begins with {content[:4].hex()}); {REPLACE}"
        )
    found = struct.unpack(f">{dimensions}I", content[4:start])
    if found != shape:
        raise DataError(f"{title}: holds {size_text(found)} bytes, not {size_text(shape)}; {REPLACE}")
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{title}: has {len(content) - start:,} bytes of data, not the {math.prod(shape):,} it announces; {REPLACE}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def idx_bytes(array: Bytes) -> bytes:
    """Return an array as the content of an idx file; the inverse of `read_idx`."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def size_text(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as 28x28."""
    return "x".join(map(str, shape))


# CIFAR-10 -----------------------------------------------------------------------------------------


def read_cifar_batch(content: bytes, title: str) -> tuple[Bytes, Labels]:
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


def read_cifar_binary(content: bytes, title: str) -> tuple[Bytes, Labels]:
    """Read one of CIFAR-10's binary batches: images (n, 3, 32, 32) and labels (n).

    The format is: for each image a byte with its label, then its 3,072 bytes. title: what error messages call the
    batch. Raises DataError.
    """
    width = 1 + math.prod(CIFAR_SHAPE)
    if not content or len(content) % width:
        raise DataError(f"{title}: has {len(content):,} bytes, which is no multiple of {width:,}; {REPLACE}")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    return rows[:, 1:].reshape(-1, *CIFAR_SHAPE), rows[:, 0].astype(np.int64)


def cifar_binary(images: Bytes, labels: Labels) -> bytes:
    """Return images and labels as the content of a binary batch; the inverse of `read_cifar_binary`."""
    return np.column_stack([labels.astype(np.uint8), images.reshape(len(images), -1)]).tobytes()


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
