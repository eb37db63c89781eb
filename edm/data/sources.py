"""The published files of a data set: found in torchvision's layout or flat, downloaded where absent, and verified."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from edm.data.catalogue import CATALOGUE, SourceFile
from edm.data.errors import DataError

BLOCK_BYTES = 2**20
TIMEOUT_S = 30.0

OnProgress = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is


class MissingFilesError(DataError):
    """Published files of a data set are absent, and were not or could not be downloaded.

    dataset: its name. files: those that are absent. folder: where they were looked for. reason: why the download
    failed; None if nothing may be downloaded.
    """

    def __init__(self, dataset: str, files: Sequence[SourceFile], folder: Path, reason: str | None = None) -> None:
        super().__init__(dataset, files, folder, reason)
        self.dataset, self.files, self.folder, self.reason = dataset, tuple(files), folder, reason

    @property
    def address(self) -> str:
        """Where to get them by hand: the file itself if it is one, else the page of the data set."""
        return self.files[0].url if len(self.files) == 1 else CATALOGUE[self.dataset].page

    def __str__(self) -> str:
        expected = ", ".join(f"{file.name} ({file.size:,} bytes, md5 {file.md5})" for file in self.files)
        reason = f" and could not be downloaded ({self.reason})" if self.reason else ""
        are, them = ("is", "it") if len(self.files) == 1 else ("are", "them")
        missing = f"{self.dataset}: {expected} {are} not in {self.folder}{reason}"
        return f"{missing}; get {them} from {self.address} and put {them} there"


class WrongFileError(DataError):
    """A file is not the published one.

    path: the file. unpacked_will_do: the folder that it unpacks to can be given in its place.
    """

    def __init__(self, message: str, path: Path, unpacked_will_do: bool) -> None:
        super().__init__(message, path, unpacked_will_do)
        self.message, self.path, self.unpacked_will_do = message, path, unpacked_will_do

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Origin:
    """Where the published files of data sets come from.

    path: a folder, in torchvision's layout or flat, or the archive itself. download: fetch absent files into it.
    """

    path: Path
    download: bool = False

    @classmethod
    def fetching(cls, folder: Path) -> Origin:
        """A folder into which absent files are downloaded."""
        return cls(folder.expanduser().absolute(), download=True)

    @classmethod
    def given(cls, path: Path) -> Origin:
        """A user's own file or folder, in which nothing is ever written; raises DataError if it is absent."""
        path = path.expanduser().absolute()
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; say where the files of the data set are")
        return cls(path)

    def find(self, dataset: str, name: str) -> Path | None:
        """Return where a file or folder of a data set is, in torchvision's layout or flat; None if it is absent."""
        known = CATALOGUE[dataset]
        if self.path.is_file() and name == known.files[0].name and self._is_renamed(dataset):
            return self.path  # the archive under another name
        base = self.path.parent if self.path.is_file() else self.path
        layout = Path(known.layout).parts
        places = [base.joinpath(*layout[i:], name) for i in range(len(layout) + 1)]
        return next((place for place in places if place.exists()), None)

    def _is_renamed(self, dataset: str) -> bool:
        return all(self.path.name not in (file.name, file.unpacked) for file in CATALOGUE[dataset].files)


def published(dataset: str, files: Sequence[SourceFile], origin: Origin, on_progress: OnProgress) -> list[Path]:
    """Return the paths of published files after checking their MD5; absent ones are downloaded first if allowed.

    Raises MissingFilesError, which names every absent file, or WrongFileError.
    """
    absent = [file for file in files if origin.find(dataset, file.name) is None]
    if absent and not origin.download:
        raise MissingFilesError(dataset, absent, origin.path)
    folder = origin.path / CATALOGUE[dataset].layout
    for number, file in enumerate(absent):
        try:
            fetch(file, folder / file.name, on_progress)
        except (OSError, HTTPException) as error:
            raise MissingFilesError(dataset, absent[number:], folder, str(error)) from None
    paths: list[Path] = []
    for file in files:
        path = origin.find(dataset, file.name)
        assert path is not None
        verify(file, path, on_progress, origin.download)
        paths.append(path)
    return paths


def verify(file: SourceFile, path: Path, on_progress: OnProgress, can_fetch_again: bool) -> None:
    """Raise WrongFileError unless the file at `path` has its published MD5.

    can_fetch_again: whether deleting the file has it downloaded again, which decides the remedy.
    """
    try:
        found, size = _md5(path, path.name, on_progress), path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the published {file.name}") from None
    if found == file.md5:
        return
    is_archive = path.suffix == ".zip"
    remedy = (
        "delete it and run again to have it downloaded" if can_fetch_again else f"download it again from {file.url}"
    )
    if is_archive:
        remedy += "; or, if you packed it yourself, unpack it and give the folder"
    problem = (
        f"{path}: is {'cut short' if size < file.size else 'not the published file'}: {size:,} bytes with md5 {found}, "
        f"where {file.name} has {file.size:,} bytes with md5 {file.md5}"
    )
    raise WrongFileError(f"{problem}; {remedy}", path, is_archive)


def fetch(file: SourceFile, path: Path, on_progress: OnProgress) -> None:
    """Download a file to `path`, whole or not at all; raises OSError or HTTPException."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if file.drive_id is None:
            _fetch_address(file, temporary, on_progress)
        else:
            _fetch_from_drive(file, file.drive_id, temporary)
        found = _md5(temporary, file.name, on_progress)
        if found != file.md5:
            size = temporary.stat().st_size
            raise OSError(f"the download had {size:,} bytes with md5 {found}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fetch_address(file: SourceFile, path: Path, on_progress: OnProgress) -> None:
    with urllib.request.urlopen(file.url, timeout=TIMEOUT_S) as response, path.open("wb") as output:
        while block := response.read(BLOCK_BYTES):
            output.write(block)
            on_progress(f"downloading {file.name}", output.tell(), file.size)


def _fetch_from_drive(file: SourceFile, drive_id: str, path: Path) -> None:
    # heavy; torchvision ships no stubs
    from torchvision.datasets.utils import download_file_from_google_drive  # pyright: ignore[reportMissingTypeStubs]

    try:
        download_file_from_google_drive(drive_id, path.parent, path.name, file.md5)
    except Exception as error:  # gdown raises classes of its own, and may not be installed to name them
        raise OSError(" ".join(str(error).split())) from error


def _md5(path: Path, title: str, on_progress: OnProgress) -> str:
    digest, total = hashlib.md5(usedforsecurity=False), path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            on_progress(f"checking {title}", file.tell(), total)
    return digest.hexdigest()
