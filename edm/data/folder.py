"""A folder of images: its layout (splits, classes), how it is split, and the fingerprint of its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from edm.checksums import sha256_of
from edm.config import SPLITS, Split
from edm.data.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision's ImageFolder
MAX_DEPTH = 32  # of nested folders
CARVED_SHARE = 10  # one image in ten becomes test, one in ten val
MIN_IMAGES = 20  # so that every split has two images, as one alone has no covariance


@dataclass(frozen=True, eq=False)  # compared by identity, so that caches keyed by it need not hash all paths
class ImageFolder:
    """The images of a folder.

    root: the folder. paths: of all images, relative to it and with slashes, sorted; images are prepared in this order.
    A path is [train|val|test/][class/]anything. has_splits: whether it begins with a split. classes: names of the class
    folders, sorted; empty where there are fewer than two.
    """

    root: Path
    paths: tuple[str, ...]
    has_splits: bool
    classes: tuple[str, ...]

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """Number of the class of every image; 0 for all where there are no classes."""
        if not self.classes:
            return (0,) * len(self.paths)
        number = {name: i for i, name in enumerate(self.classes)}
        return tuple(number[_class_of(path, self.has_splits)] for path in self.paths)


def carve(keys: Iterable[bytes], sizes: dict[Split, int]) -> dict[Split, list[int]]:
    """Divide images among splits by the rank of the SHA-256 of their keys; return the indices of each split, sorted.

    The first ranks go to the splits in `sizes`, in its order; the rest is train. No random generator is involved, so
    that no release of a library changes a split.
    """
    digests = [hashlib.sha256(key).digest() for key in keys]
    ranked = sorted(range(len(digests)), key=digests.__getitem__)
    splits: dict[Split, list[int]] = {}
    for split, size in sizes.items():
        splits[split], ranked = sorted(ranked[:size]), ranked[size:]
    return {**splits, "train": sorted(ranked)}


def open_folder(path: str) -> ImageFolder:
    """Return the images of a folder, read once per process; a relative path starts at the current directory.

    Raises DataError if the folder is absent, holds too few images, or has a layout that can be read in two ways.
    """
    return _open(Path(path).expanduser().absolute())


@lru_cache(maxsize=16)
def folder_splits(folder: ImageFolder, seed: int) -> dict[Split, list[int]]:
    """Return the indices of each split: the folder's own train, val and test, or a tenth each of test and val.

    In the latter case images rank by SHA-256("SEED/path"): the first ranks are test, the next val, the rest train.
    """
    if folder.has_splits:
        first = [path.partition("/")[0] for path in folder.paths]
        return {split: [i for i, part in enumerate(first) if part == split] for split in SPLITS}
    share = len(folder.paths) // CARVED_SHARE
    return carve((os.fsencode(f"{seed}/{path}") for path in folder.paths), {"test": share, "val": share})


@lru_cache(maxsize=16)
def folder_fingerprint(folder: ImageFolder) -> str:
    """Return the SHA-256 over relative paths and contents of all images; raises DataError if one cannot be read."""

    def digest(path: str) -> bytes:
        return bytes.fromhex(sha256_of(folder.root / path))

    try:
        with ThreadPoolExecutor() as pool:
            return combined_digest(folder.paths, pool.map(digest, folder.paths))
    except OSError as error:
        raise unreadable(error) from None


def combined_digest(paths: Iterable[str], digests: Iterable[bytes]) -> str:
    """Return the fingerprint of a folder from the SHA-256 digests of its files, in the order of their paths."""
    whole = hashlib.sha256()
    for path, digest in zip(paths, digests, strict=True):
        whole.update(os.fsencode(path) + b"\0" + digest)
    return whole.hexdigest()


@lru_cache(maxsize=16)
def _open(root: Path) -> ImageFolder:
    if not root.is_dir():
        raise DataError(f"{root}: {'is a file' if root.exists() else 'no such folder'}; give a folder of images")
    paths = tuple(sorted(_image_paths(root)))
    has_splits = _has_splits(root, paths)
    folder = ImageFolder(root, paths, has_splits, _classes(root, paths, has_splits))
    if not paths:
        raise DataError(f"{root}: holds no images ({', '.join(SUFFIXES)}); give the folder that does")
    if min(len(indices) for indices in folder_splits(folder, 0).values()) < 2:
        need = "2 in each of train, val and test" if has_splits else f"{MIN_IMAGES} to be split"
        raise DataError(f"{root}: {len(paths)} images are too few; give at least {need}")
    return folder


def unreadable(error: OSError) -> DataError:
    """Return the error for a file or folder that the system could not read."""
    return DataError(f"{error.filename}: cannot be read ({error.strerror}); make it readable or remove it")


def _image_paths(root: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise unreadable(error) from None

    for place, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        relative = Path(place).relative_to(root)
        if len(relative.parts) > MAX_DEPTH:
            raise DataError(f"{root}: {relative} is {MAX_DEPTH} folders deep; remove the link that leads in a circle")
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (relative / name).as_posix()


def _has_splits(root: Path, paths: tuple[str, ...]) -> bool:
    """Return whether all images lie in train, val and test; raises DataError if only some do or one is missing."""
    first = {path.partition("/")[0] for path in paths if "/" in path}
    there = [split for split in SPLITS if split in first]
    if not there:
        return False
    missing = [split for split in SPLITS if split not in first]
    if missing:
        raise DataError(
            f"{root}: has images in {' and '.join(there)} but none in {' and '.join(missing)}; "
            "add the missing ones, or rename the folders that are not splits"
        )
    beside = next((path for path in paths if path.partition("/")[0] not in SPLITS or "/" not in path), None)
    if beside is not None:
        raise DataError(
            f"{root}: {beside} lies beside train, val and test; move it into one of them, or out of the folder"
        )
    return True


def _classes(root: Path, paths: tuple[str, ...], has_splits: bool) -> tuple[str, ...]:
    """Return the sorted names of the class folders; raises DataError if only some of the images are in one."""
    by_name = {_class_of(path, has_splits): path for path in reversed(paths)}
    loose = by_name.pop("", None)
    if loose is not None and by_name:
        name, path = min(by_name.items())
        raise DataError(
            f"{root}: {loose} lies in no class folder, but {path} in {name}; "
            "put either every image into a folder of its class, or none"
        )
    return tuple(sorted(by_name)) if len(by_name) > 1 else ()


def _class_of(path: str, has_splits: bool) -> str:
    """Return the first folder of a path below its split; empty where there is none."""
    inner = path.partition("/")[2] if has_splits else path
    return inner.rpartition("/")[0].partition("/")[0]
