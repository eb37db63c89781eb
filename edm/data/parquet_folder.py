"""A folder of parquet files, or one of them: which split each belongs to, how many images it has, and their labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePosixPath

from edm.config import SPLITS, Split
from edm.data.errors import DataError, caught, listed, require_all
from edm.data.files import open_regular
from edm.data.listing import PARQUET
from edm.data.parquet_columns import LABEL_KEY, Choice, Columns
from edm.data.parquet_shards import ParquetImages, Part, read_shard
from edm.data.progress import CountedStep, OnProgress

MAGIC = b"PAR1"  # how parquet files begin
# what names of files and folders of a split hold, as the package datasets has it
SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
NUMBERED = r"(.+-)(\d+)(-of-(\d+).*)"  # such as train-00000-of-00003.parquet
MOST_COLUMNS = 5  # that a remark names
NUMBER_WIDTH = 8  # digits of the number of an image in its path
READING = CountedStep("reading labels", "files")


@dataclass(frozen=True)
class ParquetFolder:
    """What parquet files hold.

    paths: a name for each image: its split if the files have splits, and its number. classes, labels: as those of a
    folder of images. remarks: what a person should know.
    """

    images: ParquetImages
    paths: tuple[str, ...]
    has_splits: bool
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    remarks: tuple[str, ...]


def is_parquet(path: Path) -> bool:
    """Return whether a file is a parquet file, by its name or its first bytes."""
    if path.suffix.lower() == PARQUET:
        return True
    with open_regular(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def read_parquet_folder(root: Path, names: Sequence[str], choice: Choice, on_progress: OnProgress) -> ParquetFolder:
    """Return what parquet files hold; only their labels are read.

    root: the folder, or the file. names: of the files, relative to the folder. choice: the columns that were named.
    Raises DataError.
    """
    from edm.data.parquet_labels import numbered  # heavy: numpy

    by_split = _by_split(root, names)
    ordered = [(split, name) for split, found in by_split.items() for name in found]
    read = caught(partial(read_shard, root, choice))
    parts: list[Part] = []
    for part in require_all(read(name) for _, name in ordered):
        parts.append(part)
        on_progress(READING, len(parts), len(ordered))
    columns = _shared_columns(parts)
    shards = tuple(part.shard for part in parts)
    starts = tuple(accumulate((shard.rows for shard in shards), initial=0))[:-1]
    images = ParquetImages(columns, shards, starts)
    prefixes = [f"{split}/" if split else "" for split, _ in ordered]
    paths = tuple(
        f"{prefix}{start + row:0{NUMBER_WIDTH}}"
        for prefix, start, shard in zip(prefixes, starts, shards, strict=True)
        for row in range(shard.rows)
    )
    classes, labels = numbered(root, parts, columns)
    return ParquetFolder(images, paths, None not in by_split, classes, labels, tuple(_remarks(root, names, columns)))


def _remarks(root: Path, names: Sequence[str], columns: Columns) -> Iterator[str]:
    for missing, total in () if root.is_file() else _missing(names):
        are = "is" if len(missing) == 1 else "are"
        yield f"{root}: {len(missing):,} of {total:,} parquet files {are} not there, such as {missing[0]}"
    if columns.unused:
        more = ", ..." if len(columns.unused) > MOST_COLUMNS else ""
        named = ("one of " if len(columns.unused) > 1 else "") + ", ".join(columns.unused[:MOST_COLUMNS]) + more
        yield (
            f"{root}: its images have no labels, as nothing says that a column holds classes; "
            f"if {named} does, name it with {LABEL_KEY}"
        )


def _missing(names: Sequence[str]) -> Iterator[tuple[list[str], int]]:
    """Yield the files that the numbers in the names of others promise, and how many there should be."""
    series: dict[tuple[str, int], dict[int, re.Match[str]]] = {}
    for found in filter(None, (re.fullmatch(NUMBERED, name) for name in names)):
        series.setdefault((found[1], int(found[4])), {})[int(found[2])] = found
    for (prefix, total), there in series.items():
        like = next(iter(there.values()))
        missing = [f"{prefix}{i:0{len(like[2])}}{like[3]}" for i in range(total) if i not in there]
        if missing:
            yield missing, total


# splits -------------------------------------------------------------------------------------------


def _by_split(root: Path, names: Sequence[str]) -> dict[Split | None, list[str]]:
    """Return the names of the files of each split, sorted; all under None where they are of one split, or of none.

    Raises DataError where the files may be of several data sets, or only some are of splits.
    """
    _require_one_folder(root, names)
    by_split: dict[Split | None, list[str]] = {}
    for name in sorted(names):
        by_split.setdefault(_split_of(name), []).append(name)
    if len(by_split) == 1 and (root.is_file() or by_split.keys() <= {None, "train"}):
        return {None: sorted(names)}
    there: list[Split] = [split for split in SPLITS if split in by_split]
    if None in by_split:
        are, them = ("is", "it") if len(by_split[None]) == 1 else ("are", "them")
        raise DataError(
            f"{root}: {listed(by_split[None])} {are} of no split, but others of {' and '.join(there)}; "
            f"move {them} out of the folder, or name {them} as the others"
        )
    if "train" not in by_split:
        raise DataError(
            f"{root}: has parquet files of {' and '.join(there)} but none of train; add them, or give a single file"
        )
    ordered: dict[Split | None, list[str]] = {split: by_split[split] for split in there}
    return ordered


def _split_of(name: str) -> Split | None:
    """Return the split that the name of a file says, or else that of the nearest folder that says one."""
    for part in reversed(PurePosixPath(name).parts):
        splits = _splits_in(part)
        if len(splits) == 1:
            return splits.pop()
    return None


def _splits_in(part: str) -> set[Split]:
    words = re.split(r"[^a-z]+", part.lower())
    return {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}


def _require_one_folder(root: Path, names: Sequence[str]) -> None:
    """Raise DataError where parquet files lie in several folders that are not of splits, such as two subsets."""
    folders: dict[str, None] = {}
    for name in names:
        parts = [part for part in PurePosixPath(name).parts[:-1] if not _splits_in(part)]
        folders["/".join(parts)] = None
    if len(folders) > 1:
        places = listed(sorted(folder or "the folder itself" for folder in folders))
        raise DataError(f"{root}: has parquet files in {places}, which may be different data sets; give one of them")


def _shared_columns(parts: Sequence[Part]) -> Columns:
    """Return the columns of all files; raises DataError where they differ."""
    first = parts[0]
    for part in parts[1:]:
        if part.columns != first.columns:
            raise DataError(
                f"{part.shard.path}: has other columns of images and labels, or other classes, than "
                f"{first.shard.name}; make them alike, or remove the file"
            )
    return first.columns
