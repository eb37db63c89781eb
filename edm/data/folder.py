"""A folder of images: its layout (splits, classes), how it is split, and the fingerprint of its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from edm.config import SPLITS, Split
from edm.data.errors import DataError

# those of torchvision's ImageFolder
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MAX_DEPTH = 32
CARVED_SHARE = 10  # one image in ten is test, one in ten val
MIN_IMAGES = 20  # so that every split has two: one image alone has no covariance


@dataclass(frozen=True, eq=False)  # one object a folder and process: the key of what is computed once
class ImageFolder:
    """The images of a folder in the order of their paths (relative, with slashes), which is the order of preparation.

    A path is [train|val|test/][class/]anything. classes: sorted by name; none where there are fewer than two.
    """

    root: Path
    paths: tuple[str, ...]
    has_splits: bool
    classes: tuple[str, ...]

    @cached_property
    def labels(self) -> tuple[int, ...]:
        """The class of every image, 0 where there are none."""
        if not self.classes:
            return (0,) * len(self.paths)
        number = {name: i for i, name in enumerate(self.classes)}
        return tuple(number[_class_of(path, self.has_splits)] for path in self.paths)


def carve(keys: Iterable[bytes], sizes: dict[Split, int]) -> dict[Split, list[int]]:
    """Deal images out by the rank of the SHA-256 of their keys: to `sizes` in their order, the rest is train.

    Within a split the order is that of the keys. No library's random generator is involved.
    """
    digests = [hashlib.sha256(key).digest() for key in keys]
    ranked = sorted(range(len(digests)), key=digests.__getitem__)
    splits: dict[Split, list[int]] = {}
    for split, size in sizes.items():
        splits[split], ranked = sorted(ranked[:size]), ranked[size:]
    return {**splits, "train": sorted(ranked)}


def open_folder(path: str) -> ImageFolder:
    """Read the layout of a folder, once in a process; a relative path is relative to the current directory.

    Raises DataError where there is no such folder, too few images, or a layout that can be read in two ways.
    """
    return _open(Path(path).expanduser().absolute())


@lru_cache(maxsize=16)
def folder_splits(folder: ImageFolder, seed: int) -> dict[Split, list[int]]:
    """Its own train, val and test folders, or else a tenth for test and for val, carved by a rule.

    The rule: an image has the rank of SHA-256("SEED/path"); the first ranks are test, the next val, the rest train.
    """
    if folder.has_splits:
        first = [path.partition("/")[0] for path in folder.paths]
        return {split: [i for i, part in enumerate(first) if part == split] for split in SPLITS}
    share = len(folder.paths) // CARVED_SHARE
    return carve((os.fsencode(f"{seed}/{path}") for path in folder.paths), {"test": share, "val": share})


@lru_cache(maxsize=16)
def folder_fingerprint(folder: ImageFolder) -> str:
    """SHA-256 over paths and contents of all images, wherever they lie; raises DataError where one cannot be read."""

    def digest(path: str) -> bytes:
        with (folder.root / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    try:
        with ThreadPoolExecutor() as pool:
            return combined(folder.paths, pool.map(digest, folder.paths))
    except OSError as error:
        raise unreadable(error) from None


def combined(paths: Iterable[str], digests: Iterable[bytes]) -> str:
    """The fingerprint of a folder, from the SHA-256 digests of its files in the order of their paths."""
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
        raise DataError(f"{root}: {len(paths)} images are too few; it needs {need}")
    return folder


def unreadable(error: OSError) -> DataError:
    """What to say of a file or folder that the system would not read."""
    return DataError(f"{error.filename}: cannot be read ({error.strerror}); put it right or take it away")


def _image_paths(root: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise unreadable(error) from None

    for place, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        relative = Path(place).relative_to(root)
        if len(relative.parts) > MAX_DEPTH:
            raise DataError(
                f"{root}: {relative} is {MAX_DEPTH} folders deep; take away the link that leads in a circle"
            )
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield (relative / name).as_posix()


def _has_splits(root: Path, paths: tuple[str, ...]) -> bool:
    """Whether the images lie in train, val and test; raises DataError where some of these are missing, or not alone."""
    first = {path.partition("/")[0] for path in paths if "/" in path}
    there = [split for split in SPLITS if split in first]
    if not there:
        return False
    missing = [split for split in SPLITS if split not in first]
    if missing:
        raise DataError(
            f"{root}: has images in {' and '.join(there)} but none in {' and '.join(missing)}; "
            "give it all three of train, val and test, or rename what is no split"
        )
    beside = next((path for path in paths if path.partition("/")[0] not in SPLITS or "/" not in path), None)
    if beside is not None:
        raise DataError(f"{root}: {beside} lies beside train, val and test; move it into one of them or away")
    return True


def _classes(root: Path, paths: tuple[str, ...], has_splits: bool) -> tuple[str, ...]:
    """The names of the class folders; raises DataError where only some of the images are in one."""
    by_name = {_class_of(path, has_splits): path for path in reversed(paths)}
    loose = by_name.pop("", None)
    if loose is not None and by_name:
        name, path = min(by_name.items())
        raise DataError(
            f"{root}: {loose} lies in no class folder but {path} in {name}; "
            "put every image into a folder of its class, or none"
        )
    return tuple(sorted(by_name)) if len(by_name) > 1 else ()


def _class_of(path: str, has_splits: bool) -> str:
    """The first folder below the split, or nothing."""
    inner = path.partition("/")[2] if has_splits else path
    return inner.rpartition("/")[0].partition("/")[0]
