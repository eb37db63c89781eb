"""The files of a folder or a zip archive of images: which are images, which hold labels, and which are left out."""

from __future__ import annotations

import difflib
import itertools
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from edm.config import SPLITS
from edm.data.errors import DataError, FileProblem, FilesError, caught, require_all, unreadable
from edm.data.files import ZipFiles, is_archive, is_zip, kind_of, open_regular, wrong_content
from edm.data.progress import OnProgress, ignore_progress

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision's ImageFolder
LABELS_FILE = "dataset.json"  # of the layout that NVlabs' dataset_tool writes
LABEL_TABLES = ("labels.csv", "labels.tsv", "metadata.csv", "metadata.jsonl")  # the last two are Hugging Face's
PARQUET = ".parquet"
ZIP_MAGIC = b"PK\x03\x04"
# for files that hold images in a way in which they are not read
REMEDIES = {
    ".npy": "write each image of the arrays as a PNG file, or yield them from an extension (docs/extending.md)",
    ".npz": "write each image of the arrays as a PNG file, or yield them from an extension (docs/extending.md)",
    ".arrow": "load them with the package datasets and write parquet files with its to_parquet",
    ".parquet": "unpack them and give their folder",
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz"), "unpack them, or give one zip archive"),
    ".gif": "save them as PNG files",
    ".heic": "save them as JPEG or PNG files",
}
MAX_DEPTH = 32  # of nested folders
MAX_IMAGE_BYTES = 2**30
LISTED_AT_ONCE = 500  # files between reports of progress


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are not read. suffix: in lower case; example: the first of them."""

    suffix: str
    count: int
    example: str


@dataclass(frozen=True)
class Listing:
    """The files of a folder or a zip archive; names are relative, with slashes, and sorted.

    prefix: the folder that holds everything in an archive, which no name has; empty for a folder. images: all images.
    label_files: those called dataset.json at the top or in a split. tables: those there that may be tables of labels.
    left_out: all others, by kind; hidden ones are not counted. parquet: those of them that are parquet files.
    """

    prefix: str
    images: tuple[str, ...]
    label_files: tuple[str, ...]
    tables: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    parquet: tuple[str, ...] = ()


def list_files(root: Path, on_progress: OnProgress = ignore_progress, with_tables: bool = False) -> Listing:
    """List a folder or a zip archive; raises DataError where it is neither, or an image in it is no regular file.

    with_tables: whether tables of labels are read, so that they count among what the folder in an archive holds.
    """
    if root.is_dir():
        regular = map(caught(partial(_require_regular, root)), _counted(_walk(root), on_progress))
        return _sorted_out("", require_all(regular))
    if not root.exists():
        raise DataError(f"{root}: no such folder; {_resembling(root) or 'give a folder or a zip archive of images'}")
    if not root.is_file():
        raise DataError(f"{root}: is {kind_of(root.stat().st_mode)}; give a folder or a zip archive of images")
    return _list_archive(root, with_tables)


def _resembling(root: Path) -> str | None:
    """Return which place a person may have meant, beside the first missing folder of a path; None without one."""
    missing = next(path for path in (*reversed(root.parents), root) if not path.exists())
    try:
        names = {unicodedata.normalize("NFC", entry.name).lower(): entry.name for entry in os.scandir(missing.parent)}
    except OSError:
        return None
    wanted = unicodedata.normalize("NFC", missing.name)
    close = difflib.get_close_matches(wanted.lower(), names, n=1)
    if not close:
        return None
    found = names[close[0]]
    if unicodedata.normalize("NFC", found) == wanted:
        return f"{found!r} looks the same but has its accents in another Unicode form; rename it, or copy its name"
    return f"did you mean {str(missing.with_name(found))!r}?"


def remedy_without_images(left_out: Iterable[LeftOut]) -> str:
    """Return what to do about a place that holds no images, but these files."""
    most = max(left_out, key=lambda kind: kind.count, default=None)
    return REMEDIES.get(most.suffix if most is not None else "", "give the folder that does")


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its name."""
    return name.lower().endswith(SUFFIXES)


def describe(left_out: Iterable[LeftOut]) -> str:
    """Return kinds of files as text: how many, and the first of each."""
    parts = sorted(left_out, key=lambda kind: (-kind.count, kind.suffix))
    return ", ".join(f"{kind.count:,} {kind.suffix or 'without a suffix'} ({kind.example})" for kind in parts)


def _sorted_out(prefix: str, names: Iterable[str]) -> Listing:
    images: list[str] = []
    label_files: list[str] = []
    tables: list[str] = []
    others: list[str] = []
    for name in names:
        if is_image(name):
            images.append(name)
        elif _lies_as(name, (LABELS_FILE,)):
            label_files.append(name)
        elif _lies_as(name, LABEL_TABLES):
            tables.append(name)
        else:
            others.append(name)
    parquet = tuple(sorted(name for name in others if name.lower().endswith(PARQUET)))
    of_labels = tuple(sorted(label_files)), tuple(sorted(tables))
    return Listing(prefix, tuple(sorted(images)), *of_labels, by_suffix(others), parquet)


def by_suffix(names: Iterable[str]) -> tuple[LeftOut, ...]:
    """Return what files there are of each kind."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(PurePosixPath(name).suffix.lower(), []).append(name)
    return tuple(LeftOut(suffix, len(found), min(found)) for suffix, found in kinds.items())


def _lies_as(name: str, files: tuple[str, ...]) -> bool:
    """Return whether a file has one of these names and lies at the top or in a split."""
    folder, _, last = name.rpartition("/")
    return last in files and folder in ("", *SPLITS)


# folders ------------------------------------------------------------------------------------------


def _walk(root: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise unreadable(error) from None

    for place, folders, files in os.walk(root, followlinks=True, onerror=refuse):
        relative = Path(place).relative_to(root)
        if len(relative.parts) > MAX_DEPTH:
            raise DataError(f"{root}: {relative} is {MAX_DEPTH} folders deep; remove the link that leads in a circle")
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = "" if place == str(root) else f"{relative.as_posix()}/"
        for name in files:
            if not name.startswith("."):
                yield prefix + name


def _counted(names: Iterable[str], on_progress: OnProgress) -> Iterator[str]:
    """Pass names on and report how many there were; nobody knows yet how many there are."""
    for number, name in enumerate(names, 1):
        if number % LISTED_AT_ONCE == 0:
            on_progress("listing files", number, 0)
        yield name


def _require_regular(root: Path, name: str) -> str:
    """Return a name; raises FilesError if that is of a file to read that would block or does not fit into memory."""
    if not (is_image(name) or PurePosixPath(name).name == LABELS_FILE):
        return name
    path = root / name
    try:
        found = path.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            problem = "is a link to a file that does not exist"
            raise FilesError(
                FileProblem(str(path), problem, "restore or remove it", "restore or remove them")
            ) from None
        raise unreadable(error) from None
    if not stat.S_ISREG(found.st_mode):
        problem = f"is not a regular file, but {kind_of(found.st_mode)}"
        raise FilesError(FileProblem(str(path), problem, "remove it", "remove them"))
    if found.st_size > MAX_IMAGE_BYTES:
        problem = f"has {found.st_size:,} bytes, more than the {MAX_IMAGE_BYTES:,} that are read"
        raise FilesError(FileProblem(str(path), problem, "remove it", "remove them"))
    return name


# archives -----------------------------------------------------------------------------------------


def _list_archive(root: Path, with_tables: bool) -> Listing:
    if not is_zip(root):
        raise DataError(f"{root}: {_why_no_zip(root)}")
    archive = ZipFiles(root)
    archive.close()
    names = list(dict.fromkeys(name for name in archive.names if not _is_hidden(name)))
    read = (LABELS_FILE, *(LABEL_TABLES if with_tables else ()))
    prefix = _shared_folder([name for name in names if is_image(name) or name.endswith(read)])
    return _sorted_out(prefix, (name.removeprefix(prefix) for name in names if name.startswith(prefix)))


def _why_no_zip(root: Path) -> str:
    """Return what a file is that cannot be opened as a zip archive, and what to do."""
    with open_regular(root) as file:
        if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
            return "is a zip archive that is cut short or damaged; download or pack it again"
    if is_archive(root):
        return "is a tar archive, and only zip archives are read; unpack it and give the folder"
    problem = wrong_content(root) or "is a file, but no zip archive"
    return f"{problem}; give a folder or a zip archive of images"


def _is_hidden(name: str) -> bool:
    parts = (part for part in name.split("/") if part not in (".", ".."))  # names as archives of ./x and ../x have them
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _shared_folder(names: list[str]) -> str:
    """Return the folder that an archive packs everything in, with its slash; empty where there is none.

    So an archive is read as the folder that was packed. A folder named as a split is never taken for one.
    """
    levels = zip(*(name.split("/")[:-1] for name in names), strict=False)
    shared = itertools.takewhile(lambda level: len(set(level)) == 1 and level[0] not in SPLITS, levels)
    return "".join(f"{level[0]}/" for level in shared)
