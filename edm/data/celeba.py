"""CelebA's aligned pictures from the published zip, another zip of them, or a folder, in the layouts people have."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from edm.config import DataConfig, Split
from edm.data.catalogue import CATALOGUE, facts
from edm.data.decode import Bytes, read_celeba
from edm.data.errors import DataError, listed
from edm.data.files import Files, ZipFiles, contents, open_files, read_regular
from edm.data.images import Pictures, joined, source_record
from edm.data.progress import OnProgress
from edm.data.sources import Origin, md5_of, published

DATASET = "celeba"
PICTURES = "img_align_celeba"  # the folder of the unpacked pictures, and inside the archive
PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")  # the published one, and Kaggle's
CODES: dict[Split, str] = {"train": "0", "val": "1", "test": "2"}  # of the parts, in both


class CelebaPictures(Pictures):
    """CelebA's aligned pictures. names: of the pictures; members: where each is in `files`."""

    def __init__(self, files: Files, members: list[str], resolution: int, source: dict[str, object]) -> None:
        super().__init__(np.zeros(len(members), dtype=np.int64), source)
        self.files, self.members, self.resolution = files, members, resolution

    def read(self, start: int, stop: int) -> Bytes:
        """Decode and resize images start to stop - 1."""
        return joined(self._read_one, self.members[start:stop])

    def _read_one(self, member: str) -> Bytes:
        return read_celeba(self.files.read(member), str(self.files.root / member), self.resolution)

    def close(self) -> None:
        """Close the archive."""
        self.files.close()


def load_celeba(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load CelebA's aligned pictures: the official train part, valid (only for the official splits), and test.

    The partition follows from the names alone; a partition file that is there is compared with it. Raises DataError.
    """
    known = CATALOGUE[DATASET]
    place = _place(origin)
    if place is None:
        (place,) = published(DATASET, [file for file in known.files if file.needed], origin, on_progress)
    _check_partition(origin, place)
    names = picture_names(known.official)
    chosen = [name for part in known.parts(config.splits) for name in names[part]]
    files, members = _open(place, chosen)
    checked = "names and sizes"
    if place.is_file() and md5_of(place, place.name, on_progress) == known.files[0].md5:
        checked = "md5"
    return CelebaPictures(files, members, facts(config).resolution, source_record([place], checked))


def picture_names(official: dict[Split, int]) -> dict[Split, list[str]]:
    """Return the names of the pictures of each official part: they are numbered from 1, train, then valid, then test.

    This is what the published partition file says, line by line.
    """
    names: dict[Split, list[str]] = {}
    start = 1
    for part, size in official.items():
        names[part] = [f"{number:06d}.jpg" for number in range(start, start + size)]
        start += size
    return names


# where the pictures are ---------------------------------------------------------------------------


def _place(origin: Origin) -> Path | None:
    """Return the archive or the folder that holds the pictures, if one is there.

    A folder that was given itself comes before an archive, and an archive before an unpacked folder beside it.
    """
    given = _folders_of_pictures(origin.path)
    unpacked = (place for folder in origin.folders(DATASET) for place in _folders_of_pictures(folder / PICTURES))
    return next(iter((*given, *origin.archives(DATASET), *unpacked)), None)


def _folders_of_pictures(folder: Path) -> Iterator[Path]:
    """Yield a folder if it holds the pictures; some archives put them into another folder of the same name in it."""
    first = picture_names(CATALOGUE[DATASET].official)["train"][0]
    for place in (folder / PICTURES, folder):
        if place.is_dir() and (folder.name == PICTURES or (place / first).exists()):
            yield place


def _open(place: Path, names: list[str]) -> tuple[Files, list[str]]:
    """Open the pictures; return where each of `names` is in them. Raises DataError unless all are there."""
    files = open_files(place, expected_bytes=CATALOGUE[DATASET].files[0].size)
    there = files.names if isinstance(files, ZipFiles) else [path.name for path in place.iterdir()]
    members = {PurePosixPath(name).name: name for name in there}
    absent = [name for name in names if name not in members]
    if absent:
        files.close()
        what = f"lacks {len(absent):,} of {len(names):,} pictures ({listed(absent)})"
        inner = next((name for name in members if name.endswith(".zip")), None)
        remedy = f"unpack it and give its {inner}" if inner else "unpack img_align_celeba.zip again"
        raise DataError(f"{place}: {what}; {remedy}")
    return files, [members[name] for name in names]


# the partition ------------------------------------------------------------------------------------


def _check_partition(origin: Origin, place: Path) -> None:
    """Raise DataError where a partition file lies there that differs from the published one."""
    found = next((path for name in PARTITIONS if (path := origin.find(DATASET, name))), None)
    if found is not None:
        _require_published(read_regular(found), found)
    elif place.is_file():
        for name, content in contents(place, lambda name: PurePosixPath(name).name in PARTITIONS).items():
            _require_published(content, place / name)


def _require_published(content: bytes, title: Path) -> None:
    """Compare a partition file: rows of a name and 0 (train), 1 (valid) or 2 (test), after a header if it is csv."""
    names = picture_names(CATALOGUE[DATASET].official)
    expected = ((name, CODES[part]) for part in names for name in names[part])
    rows = [tuple(line.replace(",", " ").split()) for line in content.decode(errors="replace").splitlines()]
    rows = [row for row in rows if row][1 if title.suffix == ".csv" else 0 :]
    for number, (row, published_row) in enumerate(itertools.zip_longest(rows, expected), 1):
        if row != published_row:
            found, wanted = (" ".join(cells) if cells else "nothing" for cells in (row, published_row))
            raise DataError(
                f"{title}: entry {number:,} is {found!r}, where the published one has {wanted!r}; "
                "replace it by the published file, or remove it, as the pictures' names are enough"
            )
