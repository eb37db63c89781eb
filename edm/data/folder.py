"""Own images in a folder, a zip archive or parquet files: their layout, how they are split, and their fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from edm.checksums import sha256_of
from edm.config import SPLITS, Split
from edm.data.errors import DataError, caught, listed, require_all
from edm.data.files import Files, FolderFiles, open_files, open_regular
from edm.data.labels import GivenLabels, read_labels
from edm.data.listing import (
    LABELS_FILE,
    MAX_IMAGE_BYTES,
    PARQUET,
    SUFFIXES,
    LeftOut,
    Listing,
    by_suffix,
    describe,
    list_files,
    remedy_without_images,
)
from edm.data.parquet_columns import FOUND, LABEL_KEY, NO_LABELS, Choice
from edm.data.parquet_files import ParquetFiles
from edm.data.parquet_folder import is_parquet, read_parquet_folder
from edm.data.parquet_shards import ParquetImages
from edm.data.progress import CountedStep, OnProgress, ignore_progress

CARVED_SHARE = 10  # one image in ten becomes test, one in ten val
CARVED: tuple[Split, ...] = ("test", "val")  # in the order in which images are taken
MIN_OF_SPLIT = 2  # images, as one alone has no covariance
MIN_IMAGES = CARVED_SHARE * MIN_OF_SPLIT  # of which splits are cut
OTHER_NAMES_OF_VAL = ("valid", "validation")
SPLIT_NAMES = {"train", "training", "val", *OTHER_NAMES_OF_VAL, "dev", "test", "testing", "eval", "evaluation"}
CHUNK = 1000  # images in each numbered folder of data sets that are cut into such
CHUNK_NAME = re.compile(r"\d{5}")
HASHING = CountedStep("hashing images", "images")
PER_TASK = 256  # files that a thread digests at a time, so that 100,000 files do not wait as one task each


@dataclass(frozen=True, eq=False)  # compared by identity, so that caches keyed by it need not hash all paths
class ImageFolder:
    """The images of a folder, a zip archive or parquet files.

    root: the folder or file. prefix: the folder within an archive that holds everything. paths: of all images,
    relative and with slashes; images are prepared in this order. A path is [train|val|test/][class/]anything; those of
    files are sorted, those in parquet files are numbers.
    has_splits: whether it begins with a split. carved: splits that have no folder, so that they are cut from train.
    classes: names of the classes, sorted; empty where there are fewer than two. labels: number of the class of every
    image; 0 for all where there are no classes. relabelled: whether the labels differ from what the paths say, because
    they come from dataset.json, a table of labels or parquet files. left_out: files that are not read. absent: images
    that dataset.json names and that are not there. parquet: the images in parquet files. remarks: what else a person
    should know.
    """

    root: Path
    prefix: str
    paths: tuple[str, ...]
    has_splits: bool
    carved: tuple[Split, ...]
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    relabelled: bool
    left_out: tuple[LeftOut, ...]
    absent: tuple[str, ...] = ()
    parquet: ParquetImages | None = None
    remarks: tuple[str, ...] = ()

    def open(self) -> Files:
        """Open the files, to be closed afterwards."""
        return open_files(self.root, self.prefix) if self.parquet is None else ParquetFiles(self.root, self.parquet)

    def name_of(self, number: int) -> str:
        """Return what to call an image: its path, or its file and row."""
        if self.parquet is None:
            return self.paths[number]
        shard, row = self.parquet.place_of(number)
        return f"{shard.name} row {row}"


_opened: dict[tuple[Path, Choice], ImageFolder] = {}
_fingerprints: dict[ImageFolder, str] = {}


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


def open_folder(path: str, on_progress: OnProgress = ignore_progress, choice: Choice = FOUND) -> ImageFolder:
    """Return the images of a folder, read once per process; a relative path starts at the current directory.

    choice: columns of parquet files, or of a table of labels. Raises DataError if the folder is absent, holds too few
    images, or has a layout that can be read in two ways.
    """
    root = Path(path).expanduser().absolute()
    if (root, choice) not in _opened:
        _opened[root, choice] = _open(root, on_progress, choice)
    return _opened[root, choice]


@lru_cache(maxsize=16)
def folder_splits(folder: ImageFolder, seed: int) -> dict[Split, list[int]]:
    """Return the indices of each split: of the folder's own train, val and test, and of what is cut from train.

    If all have to be cut, a tenth of the images each is test and val; one that the folder lacks is a tenth of train.
    Images to be divided rank by SHA-256("SEED/path"): the first ranks are test, the next val, the rest train.
    """
    first = [path.partition("/")[0] if folder.has_splits else "train" for path in folder.paths]
    splits: dict[Split, list[int]] = {s: [i for i, part in enumerate(first) if part == s] for s in SPLITS}
    train = splits["train"]
    sizes: dict[Split, int] = {split: len(train) // CARVED_SHARE for split in folder.carved}
    dealt = carve((os.fsencode(f"{seed}/{folder.paths[i]}") for i in train), sizes)
    for split, chosen in dealt.items():
        splits[split] = [train[i] for i in chosen]
    return splits


def folder_fingerprint(folder: ImageFolder, on_progress: OnProgress = ignore_progress) -> str:
    """Return the SHA-256 over relative paths and contents of all images, which are read once per process.

    Raises DataError, which names all that cannot be read.
    """
    if folder not in _fingerprints:
        _fingerprints[folder] = _fingerprint(folder, on_progress)
    return _fingerprints[folder]


def _fingerprint(folder: ImageFolder, on_progress: OnProgress) -> str:
    files, digests = folder.open(), list[bytes]()
    digest = caught(partial(_digest, files))

    per_task = files.at_once(PER_TASK)

    def digests_from(start: int) -> list[bytes]:
        return list(require_all(map(digest, folder.paths[start : start + per_task])))

    try:
        with ThreadPoolExecutor() as pool:
            for part in require_all(pool.map(caught(digests_from), range(0, len(folder.paths), per_task))):
                digests += part
                on_progress(HASHING, len(digests), len(folder.paths))
    finally:
        files.close()
    return fingerprint_of(folder, digests)


def _digest(files: Files, path: str) -> bytes:
    if not isinstance(files, FolderFiles):
        return hashlib.sha256(files.read(path, MAX_IMAGE_BYTES)).digest()
    with open_regular(files.root / path) as file:
        return bytes.fromhex(sha256_of(file))


def fingerprint_of(folder: ImageFolder, digests: Iterable[bytes]) -> str:
    """Return the fingerprint of a folder from the SHA-256 digests of its images, in the order of their paths.

    Labels enter it only where the paths do not give them, and names of classes where they are more than numbers.
    """
    whole = hashlib.sha256()
    for path, digest in zip(folder.paths, digests, strict=True):
        whole.update(os.fsencode(path) + b"\0" + digest)
    if folder.relabelled:
        whole.update(b"\0labels\0" + json.dumps(folder.labels).encode())
        if folder.classes != _numbers(len(folder.classes)):
            whole.update(b"\0classes\0" + json.dumps(folder.classes).encode())
    return whole.hexdigest()


def _numbers(count: int) -> tuple[str, ...]:
    """Return the names of classes that have no others."""
    return tuple(map(str, range(count)))


def folder_remarks(folder: ImageFolder, train: Sequence[int]) -> tuple[str, ...]:
    """Return what a person should know about a folder. train: the indices of the train split."""
    return tuple(_remarks(folder, train))


def _remarks(folder: ImageFolder, train: Sequence[int]) -> Iterator[str]:
    if folder.left_out:
        count = sum(kind.count for kind in folder.left_out)
        files, are = ("file", "is") if count == 1 else ("files", "are")
        yield f"{folder.root}: {count:,} {files} {are} left out, being of other types: {describe(folder.left_out)}"
    if folder.absent:
        count = len(folder.absent)
        yield f"{folder.root}: {LABELS_FILE} names {count:,} images that are not there, such as {folder.absent[0]}"
    yield from folder.remarks
    if folder.has_splits and folder.carved:
        (split,) = folder.carved
        given = folder_splits(folder, 0)[split]
        yield f"{folder.root}: has no images in {split}, so {len(given):,} of those in train are used as {split}"
    elif folder.classes and SPLIT_NAMES.issuperset(name.lower() for name in folder.classes):
        what = f"its classes ({listed(folder.classes)}) have names of splits"
        yield f"{folder.root}: {what}; if they are splits, call their folders train, val and test"
    trained = {folder.labels[i] for i in train}
    untrained = [name for number, name in enumerate(folder.classes) if number not in trained]
    if untrained:
        named = ", ".join(untrained[:5]) + (", ..." if len(untrained) > 5 else "")
        are_numbers = folder.classes == _numbers(len(folder.classes))
        remedy = "number classes from 0 without gaps" if are_numbers else "remove the classes"
        yield (
            f"{folder.root}: no image in train shows {len(untrained):,} of {len(folder.classes):,} classes ({named}), "
            f"so that networks cannot learn them; add images, or {remedy}"
        )
    if _looks_chunked(folder):
        yield (
            f"{folder.root}: its class folders ({folder.classes[0]}, {folder.classes[1]}, ...) look like chunks of "
            f"{CHUNK:,} images and not like classes; if they are, put a {LABELS_FILE} there with "
            '{"labels": null} in it'
        )


def _looks_chunked(folder: ImageFolder) -> bool:
    """Return whether classes are five-digit folders of 1,000 images each but for the last, as NVlabs and FFHQ chunk."""
    if folder.relabelled or not all(CHUNK_NAME.fullmatch(name) for name in folder.classes):
        return False
    sizes = Counter(folder.labels)
    return bool(folder.classes) and all(sizes[number] == CHUNK for number in range(len(folder.classes) - 1))


def _open(root: Path, on_progress: OnProgress, choice: Choice) -> ImageFolder:
    folder = _read(root, on_progress, choice)
    if min(len(indices) for indices in folder_splits(folder, 0).values()) < MIN_OF_SPLIT:
        need = f"{MIN_OF_SPLIT} in each of train, val and test" if folder.has_splits else f"{MIN_IMAGES} to be split"
        if folder.has_splits and folder.carved:
            need = f"{MIN_OF_SPLIT} in each split and {MIN_IMAGES} in train, from which {folder.carved[0]} is cut"
        count = "1 image is" if len(folder.paths) == 1 else f"{len(folder.paths)} images are"
        beside = f", beside files of other types: {describe(folder.left_out)}" if folder.left_out else ""
        raise DataError(f"{root}: {count} too few{beside}; give at least {need}")
    return folder


def _read(root: Path, on_progress: OnProgress, choice: Choice) -> ImageFolder:
    """Return the images of a folder or a file, by what it holds."""
    if root.is_file() and is_parquet(root):
        return _of_parquet(root, [root.name], (), choice, on_progress)
    listing = list_files(root, on_progress, with_tables=choice.label not in (None, NO_LABELS))
    if listing.parquet and root.is_dir() and len(listing.images) < len(SPLITS) * MIN_OF_SPLIT:
        left_out = [kind for kind in listing.left_out if kind.suffix != PARQUET]
        return _of_parquet(
            root, listing.parquet, (*left_out, *by_suffix((*listing.images, *listing.tables))), choice, on_progress
        )
    if not listing.images:
        others = f", but {describe(listing.left_out)}" if listing.left_out else ""
        remedy = remedy_without_images(listing.left_out)
        raise DataError(f"{root}: holds no images ({', '.join(SUFFIXES)}){others}; {remedy}")
    has_splits = _has_splits(root, listing.images)
    if choice == FOUND:
        return _labelled(root, listing, has_splits)
    return _relabelled(root, listing, has_splits, choice)


def _of_parquet(
    root: Path, names: Sequence[str], left_out: tuple[LeftOut, ...], choice: Choice, on_progress: OnProgress
) -> ImageFolder:
    found = read_parquet_folder(root, names, choice, on_progress)
    carved = _absent_splits(found.paths) if found.has_splits else CARVED
    shape = "", found.paths, found.has_splits, carved, found.classes, found.labels
    remarks = (*found.remarks, *_without_classes(root, choice, found.classes))
    return ImageFolder(root, *shape, bool(found.classes), left_out, (), found.images, remarks)


def _labelled(root: Path, listing: Listing, has_splits: bool) -> ImageFolder:
    """Return the folder with the labels of its dataset.json, or else those of its class folders."""
    given = _given_labels(root, listing)
    remarks = _of_tables(root, listing.tables)
    carved = _absent_splits(listing.images) if has_splits else CARVED
    shape = root, listing.prefix, listing.images, has_splits, carved
    if given is None:
        classes = _classes(root, listing.images, has_splits)
        labels = _labels_by_folder(listing.images, has_splits, classes)
        return ImageFolder(*shape, classes, labels, False, listing.left_out, remarks=remarks)
    numbers = max(given.numbers) + 1
    classes = _numbers(numbers) if numbers > 1 else ()
    labels = given.numbers if classes else (0,) * len(given.numbers)
    differ = labels != _labels_by_folder(listing.images, has_splits, None)
    return ImageFolder(*shape, classes, labels, differ, listing.left_out, given.absent, remarks=remarks)


def _of_tables(root: Path, tables: Sequence[str]) -> tuple[str, ...]:
    """Return a remark on tables that are not read, as nobody has asked for their labels."""
    if not tables:
        return ()
    are, in_it = ("is", "it has") if len(tables) == 1 else ("are", "they have")
    remedy = f"name their column, as in data: {{{LABEL_KEY}: label}}; {LABEL_KEY}: {NO_LABELS} ends this remark"
    return (f"{root}: {listed(tables)} {are} not read; if {in_it} the labels, {remedy}",)


def _relabelled(root: Path, listing: Listing, has_splits: bool, choice: Choice) -> ImageFolder:
    """Return the folder with the labels of the column that a person has named, or without labels."""
    from edm.data.label_tables import labels_of_column  # which few need

    classes, labels = labels_of_column(root, listing, choice)
    by_folder = tuple(sorted({_class_of(path, has_splits) for path in listing.images}))
    named = classes not in (by_folder, _numbers(len(classes)))
    differ = named or labels != _labels_by_folder(listing.images, has_splits, None)
    carved = _absent_splits(listing.images) if has_splits else CARVED
    shape = root, listing.prefix, listing.images, has_splits, carved
    return ImageFolder(
        *shape, classes, labels, differ, listing.left_out, remarks=_without_classes(root, choice, classes)
    )


def _without_classes(root: Path, choice: Choice, classes: Sequence[str]) -> tuple[str, ...]:
    """Return a remark on a column that a person has named, and that tells no two classes apart."""
    if classes or choice.label in (None, NO_LABELS):
        return ()
    same = f"all images have the same label in the column {choice.label}, so that there are no classes"
    return (f"{root}: {LABEL_KEY}: {same}",)


def _given_labels(root: Path, listing: Listing) -> GivenLabels | None:
    if not listing.label_files:
        return None
    files = open_files(root, listing.prefix)
    try:
        return read_labels(root, {name: files.read(name) for name in listing.label_files}, listing.images)
    finally:
        files.close()


def _has_splits(root: Path, paths: tuple[str, ...]) -> bool:
    """Return whether all images lie in train, val and test, or in train and one of the others.

    Raises DataError if only some do, or if train or both of the others are missing.
    """
    first = {path.partition("/")[0] for path in paths if "/" in path}
    missing = _absent_splits(paths)
    if len(missing) == len(SPLITS):
        return False
    other = next((name for name in OTHER_NAMES_OF_VAL if name in first and missing == ("val",)), None)
    if other is not None or len(missing) > 1 or "train" in missing:
        there = " and ".join(split for split in SPLITS if split not in missing)
        remedy = "add the missing ones, or rename the folders that are not splits"
        remedy = remedy if other is None else f"rename {other} to val"
        raise DataError(f"{root}: has images in {there} but none in {' and '.join(missing)}; {remedy}")
    beside = [path for path in paths if path.partition("/")[0] not in SPLITS or "/" not in path]
    if beside:
        lies, them = ("lies", "it") if len(beside) == 1 else ("lie", "them")
        remedy = f"move {them} into one of these, or out of the folder"
        raise DataError(f"{root}: {listed(beside)} {lies} beside train, val and test; {remedy}")
    return True


def _absent_splits(paths: tuple[str, ...]) -> tuple[Split, ...]:
    """Return the splits in whose folders no image lies."""
    first = {path.partition("/")[0] for path in paths if "/" in path}
    return tuple(split for split in SPLITS if split not in first)


def _labels_by_folder(paths: tuple[str, ...], has_splits: bool, classes: tuple[str, ...] | None) -> tuple[int, ...]:
    """Return the numbers of the class folders of all images. classes: their names; None to take them from the paths."""
    names = classes if classes is not None else sorted({_class_of(path, has_splits) for path in paths})
    if len(names) < 2:
        return (0,) * len(paths)
    number = {name: i for i, name in enumerate(names)}
    return tuple(number[_class_of(path, has_splits)] for path in paths)


def _classes(root: Path, paths: tuple[str, ...], has_splits: bool) -> tuple[str, ...]:
    """Return the sorted names of the class folders; raises DataError if only some of the images are in one."""
    by_name = {_class_of(path, has_splits): path for path in reversed(paths)}
    if by_name.pop("", None) is not None and by_name:
        name, example = min(by_name.items())
        loose = [path for path in paths if not _class_of(path, has_splits)]
        lies = "lies" if len(loose) == 1 else "lie"
        raise DataError(
            f"{root}: {listed(loose)} {lies} in no class folder, but {example} in {name}; "
            "put either every image into a folder of its class, or none"
        )
    return tuple(sorted(by_name)) if len(by_name) > 1 else ()


def _class_of(path: str, has_splits: bool) -> str:
    """Return the first folder of a path below its split; empty where there is none."""
    inner = path.partition("/")[2] if has_splits else path
    return inner.rpartition("/")[0].partition("/")[0]
