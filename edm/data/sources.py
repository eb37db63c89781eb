"""The published files of a data set: looked for in torchvision's layout or flat, fetched where absent, and verified."""

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

DATA_VARIABLE = "EDM_SWEEP_DATA"
BLOCK_BYTES = 2**20
TIMEOUT_S = 30.0

# hears what is being done, how much of it is done, and how much there is
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Origin:
    """Where the published files of a data set come from.

    path: a folder, in torchvision's layout or flat, or the archive itself. download: what is absent is fetched into it.
    """

    path: Path
    download: bool = False

    @classmethod
    def usual(cls, root: Path) -> Origin:
        """Where EDM_SWEEP_DATA points, else `sources` in `root`; what is absent is fetched into it."""
        return cls(Path(os.environ.get(DATA_VARIABLE) or root / "sources").expanduser().absolute(), download=True)

    @classmethod
    def given(cls, path: Path) -> Origin:
        """A file or folder of a person's own, in which nothing is ever written; raises DataError where it is absent."""
        path = path.expanduser().absolute()
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; say where the files of the data set are")
        return cls(path)

    def find(self, dataset: str, name: str) -> Path | None:
        """Where a file or folder of a data set is, in torchvision's layout or flat."""
        known = CATALOGUE[dataset]
        if self.path.is_file() and name == known.files[0].name and self._is_renamed(dataset):
            return self.path  # the archive, whatever it is called here
        base = self.path.parent if self.path.is_file() else self.path
        layout = Path(known.layout).parts
        places = [base.joinpath(*layout[i:], name) for i in range(len(layout) + 1)]
        return next((place for place in places if place.exists()), None)

    def _is_renamed(self, dataset: str) -> bool:
        return all(self.path.name not in (file.name, file.unpacked) for file in CATALOGUE[dataset].files)


def published(dataset: str, files: Sequence[SourceFile], origin: Origin, on_progress: OnProgress) -> list[Path]:
    """Where published files are, their checksums compared; what is absent is fetched first, where that is allowed.

    Raises DataError, which names every file that is missing or not as published.
    """
    absent = [file for file in files if origin.find(dataset, file.name) is None]
    if absent and not origin.download:
        raise _missing(dataset, absent, origin.path)
    folder = origin.path / CATALOGUE[dataset].layout
    for number, file in enumerate(absent):
        try:
            fetch(file, folder / file.name, on_progress)
        except (OSError, HTTPException) as error:
            raise _missing(dataset, absent[number:], folder, error) from None
    paths = []
    for file in files:
        path = origin.find(dataset, file.name)
        assert path is not None
        verify(file, path, on_progress, origin.download)
        paths.append(path)
    return paths


def verify(file: SourceFile, path: Path, on_progress: OnProgress, is_ours: bool) -> None:
    """Raise DataError unless a file has its published MD5; `is_ours`: it was fetched, and can be fetched again."""
    try:
        found, size = _md5(path, path.name, on_progress), path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the published {file.name}") from None
    if found == file.md5:
        return
    remedy = "delete it and run this again to fetch it anew" if is_ours else f"download it again from {file.url}"
    if path.suffix == ".zip":
        remedy += "; or, if it was packed anew, unpack it and give the folder with --from"
    raise DataError(
        f"{path}: is {'cut short' if size < file.size else 'not the published file'}: {size:,} bytes with md5 {found}, "
        f"where {file.name} has {file.size:,} bytes with md5 {file.md5}; {remedy}"
    )


def fetch(file: SourceFile, path: Path, on_progress: OnProgress) -> None:
    """Download a file whole or not at all; raises OSError or HTTPException."""
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
            raise OSError(f"what came had {size:,} bytes with md5 {found}")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fetch_address(file: SourceFile, path: Path, on_progress: OnProgress) -> None:
    with urllib.request.urlopen(file.url, timeout=TIMEOUT_S) as response, path.open("wb") as output:
        while block := response.read(BLOCK_BYTES):
            output.write(block)
            on_progress(f"downloading {file.name}", output.tell(), file.size)


def _fetch_from_drive(file: SourceFile, drive_id: str, path: Path) -> None:
    from torchvision.datasets.utils import download_file_from_google_drive  # heavy

    try:
        download_file_from_google_drive(drive_id, path.parent, path.name, file.md5)
    except Exception as error:  # gdown has kinds of its own, and is not there to be asked for them
        raise OSError(" ".join(str(error).split())) from error


def _md5(path: Path, title: str, on_progress: OnProgress) -> str:
    digest, total = hashlib.md5(usedforsecurity=False), path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            on_progress(f"checking {title}", file.tell(), total)
    return digest.hexdigest()


def _missing(dataset: str, files: Sequence[SourceFile], folder: Path, error: Exception | None = None) -> DataError:
    expected = ", ".join(f"{file.name} ({file.size:,} bytes, md5 {file.md5})" for file in files)
    reason = f" and could not be downloaded ({error})" if error else ""
    address = files[0].url if len(files) == 1 else CATALOGUE[dataset].page
    are, them, they = ("is", "it", "it is") if len(files) == 1 else ("are", "them", "they are")
    return DataError(
        f"{dataset}: {expected} {are} not in {folder}{reason}; get {them} from {address} and put {them} there, "
        f"or say where {they} with 'edm-sweep data prepare {dataset} --from PATH' or {DATA_VARIABLE}"
    )
