"""Files by name in a folder or an archive. Only regular files are opened: a pipe or a device could block for ever."""

from __future__ import annotations

import os
import stat
import tarfile
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from edm.data.errors import DataError, FileProblem, FilesError, unreadable

MADE_ON_WINDOWS = 0  # create_system of a zip archive's entries
MAX_FILE_BYTES = 2**31  # of one file of a published data set
HTML, LFS = (b"<!doctype html", b"<html"), b"version https://git-lfs"  # how pages and pointers begin, in lower case

Wanted = Callable[[str], bool]  # whether a file of this name, relative and with slashes, is to be read


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; raises DataError unless it is a regular one that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise unreadable(error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        problem = f"is not a regular file, but {kind_of(path.stat().st_mode)}"
        raise FilesError(FileProblem(str(path), problem, "replace or remove it"))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit` bytes; raises DataError."""
    with open_regular(path) as file:
        require_size(path, os.fstat(file.fileno()).st_size, limit)
        try:
            return file.read()
        except OSError as error:
            raise unreadable(OSError(error.errno, error.strerror, str(path))) from None


def kind_of(mode: int) -> str:
    """Return what a file that is not a regular one is, from its mode."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def wrong_content(path: Path, expected_bytes: int | None = None) -> str | None:
    """Return what a file is instead of what its name promises, such as "is an HTML page"; None if nothing is known.

    expected_bytes: how long the published file is.
    """
    with open_regular(path) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(512).lstrip().lower()
    if head.startswith(HTML):
        return "is an HTML page, as servers send instead of a file that they refuse"
    if head.startswith(LFS):
        return "is a pointer of Git LFS, not the file itself; get the file with 'git lfs pull'"
    if expected_bytes is not None and size < expected_bytes:
        return f"is cut short: {size:,} of {expected_bytes:,} bytes"
    return None


def require_size(title: str | Path, size: int, limit: int) -> None:
    """Raise FilesError for a file of more bytes than are read."""
    if size > limit:
        problem = f"has {size:,} bytes, more than the {limit:,} that are read"
        raise FilesError(FileProblem(str(title), problem, "remove it", "remove them"))


# reading by name ----------------------------------------------------------------------------------


class Files(ABC):
    """The files of a folder or a zip archive, read by name from several threads at once.

    root: the folder or the archive.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file of at most `limit` bytes; raises DataError."""

    def at_once(self, most: int) -> int:
        """Return how many files, at most `most`, a thread should read before it hands on what it made of them."""
        return most

    def close(self) -> None:  # noqa: B027 - a folder has nothing to close
        """Close the archive."""


class FolderFiles(Files):
    """The files below a folder; names are paths relative to it."""

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file."""
        return read_regular(self.root / name, limit)


class ZipFiles(Files):
    """The files in a zip archive.

    prefix: what all names in the archive begin with, left out of the names by which files are read. expected_bytes: how
    long the published archive is. names: of all files, without the prefix.
    """

    def __init__(self, root: Path, prefix: str = "", expected_bytes: int | None = None) -> None:
        super().__init__(root)
        self.prefix = prefix
        self._file, self._lock = open_regular(root), threading.Lock()
        try:
            self._archive = zipfile.ZipFile(self._file)
        except (OSError, zipfile.BadZipFile) as error:
            self._file.close()
            reason = wrong_content(root, expected_bytes) or f"cannot be read ({error})"
            raise DataError(f"{root}: {reason}; download it again, or unpack it and give the folder") from None
        self._entries = {_name_of(entry): entry for entry in self._archive.infolist()}
        files = (name for name in self._entries if not name.endswith("/"))
        self.names = [name.removeprefix(prefix) for name in files if name.startswith(prefix)]

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of a file."""
        title = self.root / name
        try:
            with self._lock:  # threads share the file; decoding takes far longer and runs in parallel
                entry = self._entries[self.prefix + name]
                require_size(title, entry.file_size, limit)
                return self._archive.read(entry)
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            again = "download or unpack it again"
            raise FilesError(FileProblem(str(title), f"cannot be read ({error})", again, again)) from None
        except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed by a method unknown here
            reason = "it is encrypted" if "encrypted" in str(error) else error
            unpacked = "unpack the archive and give the folder"
            raise FilesError(FileProblem(str(title), f"cannot be unpacked ({reason})", unpacked, unpacked)) from None

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()
        self._file.close()


def _name_of(entry: zipfile.ZipInfo) -> str:
    """Return the name of an entry with slashes; some of Windows' programs write backslashes, against the format."""
    return entry.filename.replace("\\", "/") if entry.create_system == MADE_ON_WINDOWS else entry.filename


def open_files(root: Path, prefix: str = "", expected_bytes: int | None = None) -> Files:
    """Open a folder or a zip archive; raises DataError where it is neither."""
    return FolderFiles(root) if root.is_dir() else ZipFiles(root, prefix, expected_bytes)


# reading a few files at once ----------------------------------------------------------------------


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive, by its content."""
    with open_regular(path) as file:
        return zipfile.is_zipfile(file)


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip or tar archive, by its content."""
    if not path.is_file():
        return False
    if is_zip(path):
        return True
    with open_regular(path) as file:
        try:
            return tarfile.is_tarfile(file)
        except (OSError, EOFError, zlib.error):  # a gzip file that is cut short
            return False


def contents(place: Path, wanted: Wanted, depth: int = 1, expected_bytes: int | None = None) -> dict[str, bytes]:
    """Return the wanted files in a folder or a zip or tar archive, by name; raises DataError.

    depth: 1 for the files in a folder itself, 2 for those in its sub-folders, too; archives are read as a whole.
    expected_bytes: how long the published archive is.
    """
    if place.is_dir():
        return {name: read_regular(place / name) for name in _names_in(place, depth) if wanted(name)}
    if is_zip(place):
        archive = ZipFiles(place)
        try:
            return {name: archive.read(name) for name in archive.names if wanted(name)}
        finally:
            archive.close()
    return _contents_of_tar(place, wanted, expected_bytes)


def _names_in(folder: Path, depth: int, prefix: str = "") -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(error) from None
    for entry in entries:
        if entry.is_dir():
            if depth > 1 and not entry.name.startswith("."):
                yield from _names_in(folder / entry.name, depth - 1, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name


def _contents_of_tar(path: Path, wanted: Wanted, expected_bytes: int | None) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with open_regular(path) as opened, tarfile.open(fileobj=opened) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() and wanted(member.name) else None
                if file is not None:
                    require_size(path / member.name, member.size, MAX_FILE_BYTES)
                    found[member.name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        reason = wrong_content(path, expected_bytes) or f"cannot be unpacked ({error})"
        raise DataError(f"{path}: {reason}; download it again") from None
    return found
