"""The published files of a data set: the places where people have them, and their download where they are absent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edm.data.catalogue import CATALOGUE, SourceFile
from edm.data.errors import DataError
from edm.data.files import is_archive, kind_of, open_regular
from edm.data.progress import CountedStep, OnProgress
from edm.download import Published, download
from edm.temporary import create_beside

BLOCK_BYTES = 2**20


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


@dataclass(frozen=True)
class Origin:
    """Where the published files of data sets come from.

    path: a folder in one of the layouts of the catalogue, or flat; or an archive or one of the files itself.
    download: fetch absent files into it.
    """

    path: Path
    download: bool = False

    @classmethod
    def fetching(cls, folder: Path) -> Origin:
        """A folder into which absent files are downloaded."""
        return cls(folder.expanduser().absolute(), download=True)

    @classmethod
    def given(cls, path: Path) -> Origin:
        """A user's own file or folder, in which nothing is ever written; raises DataError if it is neither."""
        path = path.expanduser().absolute()
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; say where the files of the data set are")
        if not path.is_file() and not path.is_dir():
            raise DataError(f"{path}: is {kind_of(path.stat().st_mode)}; give a file or a folder")
        return cls(path)

    def folders(self, dataset: str) -> Iterator[Path]:
        """Yield the folders that may hold files of a data set: those of its layouts, at any level, and the path."""
        base = self.path if self.path.is_dir() or self.download else self.path.parent
        for layout in CATALOGUE[dataset].layouts:
            parts = Path(layout).parts
            for i in range(len(parts)):
                yield from (place for place in sorted(base.glob("/".join(parts[i:]))) if place.is_dir())
        yield base

    def find(self, dataset: str, name: str) -> Path | None:
        """Return where a file or folder of a data set is; None if it is absent."""
        places = (folder / name for folder in self.folders(dataset))
        return next((place for place in places if place.exists()), None)

    def archives(self, dataset: str) -> Iterator[Path]:
        """Yield the archives that may hold a data set: the path if it is one, whatever its name, and known names."""
        if is_archive(self.path):
            yield self.path
        for folder in self.folders(dataset):
            yield from (folder / name for name in CATALOGUE[dataset].archives if (folder / name).is_file())


def published(dataset: str, files: Sequence[SourceFile], origin: Origin, on_progress: OnProgress) -> list[Path]:
    """Return the paths of published files; absent ones are downloaded first if allowed.

    Raises MissingFilesError, which names every absent file, or DataError where something else has the name of one.
    """
    places = {file: origin.find(dataset, file.name) for file in files}
    for path in filter(None, places.values()):
        open_regular(path).close()
    absent = [file for file, path in places.items() if path is None]
    if absent and not origin.download:
        raise MissingFilesError(dataset, absent, origin.path)
    folder = origin.path / CATALOGUE[dataset].layouts[0]
    for number, file in enumerate(absent):
        try:
            fetch(file, folder / file.name, on_progress)
        except OSError as error:
            raise MissingFilesError(dataset, absent[number:], folder, str(error)) from None
    return [place or folder / file.name for file, place in places.items()]


def remedy(file: SourceFile, origin: Origin) -> str:
    """Return what to do about a file that is not the published one."""
    return "delete it and run again to have it downloaded" if origin.download else f"download it again from {file.url}"


def fetch(file: SourceFile, path: Path, on_progress: OnProgress) -> None:
    """Download a file to `path`, whole or not at all, as `edm.download.download` does it; raises OSError."""
    if file.drive_id is not None:
        _fetch_from_drive(file, file.drive_id, path, on_progress)
        return
    step = CountedStep(f"downloading {file.name}", "bytes")

    def on_fetched(done: int, total: int) -> None:
        on_progress(step, done, total)

    def on_wait() -> None:
        on_progress(f"waiting for another process that downloads {file.name}", 0, 0)

    download(Published(file.url, file.size, file.md5, "md5"), path, on_fetched, on_wait)


def _fetch_from_drive(file: SourceFile, drive_id: str, path: Path, on_progress: OnProgress) -> None:
    """Download a file from Google Drive, which sends no parts of files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = create_beside(path)
    on_progress(f"downloading {file.name}", 0, 0)
    try:
        _download_from_drive(file, drive_id, temporary)
        found = md5_of(temporary, file.name, on_progress)
        if found != file.md5:
            size = temporary.stat().st_size
            raise OSError(f"the download had {size:,} bytes with md5 {found}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _download_from_drive(file: SourceFile, drive_id: str, path: Path) -> None:
    # heavy; torchvision ships no stubs
    from torchvision.datasets.utils import download_file_from_google_drive  # pyright: ignore[reportMissingTypeStubs]

    try:
        download_file_from_google_drive(drive_id, path.parent, path.name, file.md5)
    except Exception as error:  # gdown raises classes of its own, and may not be installed to name them
        raise OSError(" ".join(str(error).split())) from error


def md5_of(path: Path, title: str, on_progress: OnProgress) -> str:
    """Return the MD5 of a file in hex; raises DataError where it cannot be read."""
    digest, total = hashlib.md5(usedforsecurity=False), path.stat().st_size
    step = CountedStep(f"checking {title}", "bytes")
    with open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            on_progress(step, file.tell(), total)
    return digest.hexdigest()
