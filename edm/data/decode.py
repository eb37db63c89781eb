"""Decodes pictures: any format that Pillow reads, upright, cropped to a square and resized. Refuses huge ones."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from edm.data.errors import DataError, FileProblem, FilesError
from edm.data.files import HTML, LFS
from edm.data.notices import DARK, Notice
from edm.data.readers import Bytes, size_text

if TYPE_CHECKING:
    from PIL.Image import Image

CELEBA_SIZE = (178, 218)  # width and height of every aligned picture
CELEBA_CROP = 178
MAX_PIXELS = 89_478_485  # of one picture: 256 MiB as RGB; Pillow takes larger ones for attacks, too
HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1")  # where phones give pictures the name of a JPEG
LARGE_PIXELS = 2**24  # pictures above this are decoded one at a time, as each takes hundreds of megabytes

_one_large_at_a_time = threading.Lock()


def read_celeba(content: bytes, title: str, resolution: int) -> Bytes:
    """Decode one of CelebA's aligned pictures and resize its central 178x178: (3, resolution, resolution).

    title: what error messages call it. Raises DataError.
    """
    with _opened(content, title) as image:
        if image.size != CELEBA_SIZE:
            expected = f"the {size_text(CELEBA_SIZE)} of CelebA's aligned pictures"
            problem = f"is {size_text(image.size)} pixels, not {expected}"
            remedy = "replace img_align_celeba by the published one"
            raise FilesError(FileProblem(title, problem, remedy, remedy))
        return _square(_in_mode(image, "RGB"), CELEBA_CROP, resolution)


def read_same_size(contents: Sequence[bytes], mode: Literal["L", "RGB"], size: tuple[int, int], title: str) -> Bytes:
    """Decode pictures that all have one mode and size, width and height, unchanged: uint8 (n, c, h, w).

    title: what error messages call them. Raises DataError.
    """
    channels = 1 if mode == "L" else 3
    decoded = np.empty((len(contents), size[1], size[0], channels), dtype=np.uint8)
    for i, content in enumerate(contents):
        with _opened(content, f"{title}: image {i}") as image:
            if (image.mode, image.size) != (mode, size):
                raise ValueError(f"it is {size_text(image.size)}, {image.mode}, not {size_text(size)}, {mode}")
            decoded[i] = np.asarray(image).reshape(size[1], size[0], channels)
    return decoded.transpose(0, 3, 1, 2)


def read_picture(content: bytes, title: str, channels: int, resolution: int) -> tuple[Bytes, tuple[Notice, ...]]:
    """Decode any picture and resize its largest central square; also return what a person should know of it.

    The square has the shape (channels, resolution, resolution). The picture is turned upright first; transparent pixels
    become white; 16-bit grey keeps its upper 8 bits. title: what error messages call it. Raises DataError.
    """
    from PIL import ImageOps

    with _opened(content, title) as opened:
        noticed = tuple(_noticed(opened, resolution))
        ImageOps.exif_transpose(opened, in_place=True)
        image = _converted(opened, "RGB" if channels == 3 else "L")
        return _square(image, min(image.size), resolution), noticed


def _noticed(image: Image, resolution: int) -> Iterator[Notice]:
    if min(image.size) < resolution:
        yield "small"
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a camera's JPEG with a preview in it
        yield "frames"
    if image.mode.startswith("I") and (np.asarray(image) < DARK).all():
        yield "dark"


def _converted(image: Image, mode: str) -> Image:
    from PIL import Image as PIL_Image

    if image.mode == "F":
        raise ValueError("its pixels are fractions; save it with 8 bits")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip
        image = PIL_Image.fromarray((np.asarray(image).clip(0, 2**16 - 1) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PIL_Image.alpha_composite(PIL_Image.new("RGBA", image.size, "white"), image)
    return _in_mode(image, mode)


def _in_mode(image: Image, mode: str) -> Image:
    """Return an image in a mode; one that has it already is not copied, as `convert` does."""
    return image if image.mode == mode else image.convert(mode)


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
    """Open a picture; raises DataError for whatever goes wrong inside the block, and for one that is too large."""
    from PIL import Image as PIL_Image
    from PIL import UnidentifiedImageError

    _silence_pillow()
    try:
        with PIL_Image.open(io.BytesIO(content)) as image:
            pixels = image.size[0] * image.size[1]
            if pixels > MAX_PIXELS:
                raise _too_large(title, size_text(image.size))
            with _one_large_at_a_time if pixels > LARGE_PIXELS else nullcontext():
                yield image
    except DataError:
        raise
    except (PIL_Image.DecompressionBombError, PIL_Image.DecompressionBombWarning) as error:
        raise _too_large(title, f"{int(re.findall(r'[0-9]+', str(error))[0]):,}") from None
    except Exception as error:  # decoders raise nearly any class for a broken file
        reason = _kind_of(content) if isinstance(error, UnidentifiedImageError) else error
        raise FilesError(FileProblem(title, f"cannot be decoded ({reason})", "replace it or remove it")) from None


def _kind_of(content: bytes) -> str:
    """Return what the content of a file is that no decoder knows."""
    head = content[:512].lstrip().lower()
    if head.startswith(LFS):
        return "it is a pointer of Git LFS; get the picture with 'git lfs pull'"
    if content[4:12] in HEIC:
        return "it is a HEIC picture; save it as JPEG or PNG"
    return "it is an HTML page" if head.startswith(HTML) else "it is empty" if not content else "it is not a picture"


@cache
def _silence_pillow() -> None:
    """Let Pillow say nothing of large pictures, which are refused here. Once: changing filters is not thread-safe."""
    from PIL import Image as PIL_Image

    warnings.simplefilter("ignore", PIL_Image.DecompressionBombWarning)


def _too_large(title: str, size: str) -> FilesError:
    limit = f"above the {MAX_PIXELS:,} that are decoded, as larger ones would fill the memory"
    problem = f"has {size} pixels, {limit}"
    return FilesError(FileProblem(title, problem, "make it smaller or remove it"))
