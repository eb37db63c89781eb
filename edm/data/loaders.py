"""Loaders: open the files of each data set, check what they hold, and decode its pictures in any order."""

from __future__ import annotations

import hashlib
import importlib.util
import tarfile
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edm.config import DataConfig, DatasetName, Split
from edm.data.catalogue import CATALOGUE, facts, source_fingerprint
from edm.data.errors import DataError
from edm.data.folder import combined_digest, open_folder, unreadable
from edm.data.readers import read_celeba, read_cifar_batch, read_idx, read_picture
from edm.data.sources import OnProgress, Origin, published

CELEBA_FOLDER = "img_align_celeba"  # of the unpacked pictures, and inside the archive
CELEBA_PARTS: dict[Split, str] = {"train": "0", "val": "1", "test": "2"}
FASHION_PADDING = 2  # pixels on each side, from 28x28 to 32x32

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Pictures(ABC):
    """The images of a data set, in its order, decoded on request.

    labels: class of each image; 0 where there are none. source: the files read and how they were checked, for the
    record.
    """

    def __init__(self, labels: Labels, source: dict[str, object]) -> None:
        self.labels = labels
        self.source = source

    @abstractmethod
    def read(self, start: int, stop: int) -> Bytes:
        """Decode images start to stop - 1: uint8 (n, c, h, w). May be called from several threads at once."""

    def verify(self, fingerprint: str) -> None:  # noqa: B027 - most files are verified before they are read
        """Raise DataError unless the images and labels, all read and of this fingerprint, are the expected ones."""

    def close(self) -> None:  # noqa: B027 - most keep no file open
        """Close open files."""


def open_pictures(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Open the pictures of a data set; raises DataError if files are missing or not what they should be."""
    return LOADERS[config.name](config, origin, on_progress)


# arrays -------------------------------------------------------------------------------------------


class ArrayPictures(Pictures):
    """Pictures held in one array.

    padding: width of the black border to add. pinned: the fingerprint that they must have; empty for any.
    """

    def __init__(
        self, images: Bytes, labels: Labels, source: dict[str, object], padding: int = 0, pinned: str = ""
    ) -> None:
        super().__init__(labels, source)
        self.images, self.padding, self.pinned = images, padding, pinned

    def read(self, start: int, stop: int) -> Bytes:
        """Return images start to stop - 1 with their border."""
        border = (self.padding, self.padding)
        return np.pad(self.images[start:stop], ((0, 0), (0, 0), border, border))

    def verify(self, fingerprint: str) -> None:
        """Raise DataError unless the images have the pinned fingerprint."""
        if self.pinned and fingerprint != self.pinned:
            raise DataError(
                f"digits: the images have fingerprint {fingerprint[:16]}, expected {self.pinned[:16]}; "
                "reinstall scikit-learn, which ships them, or report that it ships a new release"
            )


def load_digits(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load scikit-learn's digits: 1,797 8x8 scans in 17 grey levels, which the package ships."""
    package = importlib.util.find_spec("sklearn")  # its file is read directly, as importing it takes seconds
    path = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if path is None or not path.is_file():
        raise DataError(f"digits: {path or 'scikit-learn'} is absent; reinstall scikit-learn, which ships the images")
    rows = np.loadtxt(path, delimiter=",")
    images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    source: dict[str, object] = {"files": ["scikit-learn"], "checked": "content"}
    return ArrayPictures(images, rows[:, -1].astype(np.int64), source, pinned=source_fingerprint(config))


def load_fashion_mnist(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load Fashion-MNIST, 28x28 padded to 32x32: train, then test.

    It comes in four idx files, gzipped, or unpacked and then without an MD5 to compare. Raises DataError.
    """
    known = CATALOGUE[config.name]
    unpacked = {file.name: origin.find(config.name, file.unpacked) for file in known.files}
    gzipped = [file for file in known.files if unpacked[file.name] is None or origin.find(config.name, file.name)]
    packed = zip(gzipped, published(config.name, gzipped, origin, on_progress), strict=True)
    paths = [path for path in ({**unpacked, **{file.name: path for file, path in packed}}).values() if path]
    side = known.resolution - 2 * FASHION_PADDING
    images = [
        read_idx(path, (size, side, side)) for path, size in zip(paths[::2], known.official.values(), strict=True)
    ]
    labels = [read_idx(path, (size,)) for path, size in zip(paths[1::2], known.official.values(), strict=True)]
    numbers = _checked_labels(np.concatenate(labels), known.num_classes, paths[1])
    source = _record(paths, md5=len(gzipped) == len(known.files))
    return ArrayPictures(np.concatenate(images)[:, None], numbers, source, padding=FASHION_PADDING)


def load_cifar10(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load CIFAR-10 from its archive or the folder that it unpacks to: train, then test. Raises DataError."""
    known = CATALOGUE[config.name]
    place, contents = _cifar_members(config, origin, on_progress)
    parts: list[tuple[Bytes, Labels]] = []
    for name, md5 in known.members:
        if name not in contents:
            raise DataError(f"{place}: has no {name} (md5 {md5}); unpack {known.files[0].name} there again")
        found = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
        if found != md5:
            raise DataError(
                f"{place / name}: has {len(contents[name]):,} bytes with md5 {found}, the published one {md5}; "
                f"unpack {known.files[0].name} again"
            )
        parts.append(read_cifar_batch(contents.pop(name), str(place / name)))
    images, labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    _require_count(place, len(images), sum(known.official.values()))
    return ArrayPictures(images, _checked_labels(labels, known.num_classes, place), _record([place], md5=True))


def _cifar_members(config: DataConfig, origin: Origin, on_progress: OnProgress) -> tuple[Path, dict[str, bytes]]:
    """Return the archive or folder of the batches, and the content of those that it has, by name."""
    known = CATALOGUE[config.name]
    names = [name for name, _ in known.members]
    folder = origin.path if (origin.path / names[0]).is_file() else origin.find(config.name, known.files[0].unpacked)
    if folder is not None and (folder == origin.path or origin.find(config.name, known.files[0].name) is None):
        try:
            return folder, {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
        except OSError as error:
            raise unreadable(error) from None
    (archive,) = published(config.name, known.files, origin, on_progress)
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file = tar.extractfile(member) if Path(member.name).name in names else None
                if file is not None:
                    contents[Path(member.name).name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); download it again") from None
    return archive, contents


def _checked_labels(labels: NDArray[Any], num_classes: int, path: Path) -> Labels:
    """Return labels as int64; raises DataError unless all lie in 0 to `num_classes` - 1."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"{path}: has labels outside 0 to {num_classes - 1}; replace it by the published file")
    return labels.astype(np.int64)


def _require_count(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(f"{path}: has {found:,} images, not {expected:,}; replace it by the published one")


def _record(paths: list[Path], md5: bool) -> dict[str, object]:
    return {"files": [str(path) for path in paths], "checked": "md5" if md5 else "counts and shapes"}


# files --------------------------------------------------------------------------------------------


class CelebaPictures(Pictures):
    """CelebA's aligned pictures, read by name from a zip archive or a folder."""

    def __init__(self, names: list[str], place: Path, resolution: int, source: dict[str, object]) -> None:
        super().__init__(np.zeros(len(names), dtype=np.int64), source)
        self.names, self.place, self.resolution = names, place, resolution
        self.lock = threading.Lock()
        try:
            self.archive = None if place.is_dir() else zipfile.ZipFile(place)
            present = set(self._present())
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{place}: cannot be read ({error}); download it again, or unpack it again") from None
        absent = [name for name in names if name not in present]
        if absent:
            self.close()
            raise DataError(
                f"{place}: lacks {len(absent):,} of {len(names):,} pictures, the first of them {absent[0]}; "
                "unpack img_align_celeba.zip again"
            )

    def _present(self) -> list[str]:
        if self.archive is None:
            return [path.name for path in self.place.iterdir()]
        return [name.removeprefix(f"{CELEBA_FOLDER}/") for name in self.archive.namelist()]

    def read(self, start: int, stop: int) -> Bytes:
        """Decode and resize images start to stop - 1."""
        names = self.names[start:stop]
        return np.stack([read_celeba(self._bytes(n), str(self.place / n), self.resolution) for n in names])

    def _bytes(self, name: str) -> bytes:
        try:
            if self.archive is None:
                return (self.place / name).read_bytes()
            with self.lock:  # threads share the file; decoding takes far longer and runs in parallel
                return self.archive.read(f"{CELEBA_FOLDER}/{name}")
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{self.place / name}: cannot be read ({error}); download or unpack it again") from None

    def close(self) -> None:
        """Close the archive."""
        if self.archive is not None:
            self.archive.close()


def load_celeba(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load CelebA's aligned pictures: the official train part, valid (only for the official splits), and test.

    They come from img_align_celeba.zip, or the folder that it unpacks to (without an MD5 to compare), and the partition
    file. Raises DataError.
    """
    known = CATALOGUE[config.name]
    archive, partition = known.files
    folder = _celeba_folder(origin, config.name)
    beside = Origin(origin.path.parent) if folder == origin.path else origin
    if folder is not None and (folder == origin.path or origin.find(config.name, archive.name) is None):
        place, (text,) = folder, published(config.name, [partition], beside, on_progress)
    else:
        place, text = published(config.name, known.files, origin, on_progress)
    names = _celeba_names(text, known.official)
    chosen = [name for part in known.parts(config.splits) for name in names[part]]
    return CelebaPictures(chosen, place, facts(config).resolution, _record([place, text], md5=place.is_file()))


def _celeba_folder(origin: Origin, dataset: str) -> Path | None:
    """Return the folder of unpacked pictures if there is one; some archives nest it in a folder of the same name."""
    if origin.path.name == CELEBA_FOLDER and origin.path.is_dir():
        return origin.path
    folder = origin.find(dataset, CELEBA_FOLDER)
    inner = folder / CELEBA_FOLDER if folder else None
    return inner if inner and inner.is_dir() else folder


def _celeba_names(path: Path, official: dict[Split, int]) -> dict[Split, list[str]]:
    """Return the picture names of each part; a line of the file is a name and 0 (train), 1 (valid) or 2 (test)."""
    rows = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    wrong = next((i for i, row in enumerate(rows, 1) if len(row) != 2 or row[1] not in CELEBA_PARTS.values()), None)
    if wrong is not None:
        raise DataError(f"{path}:{wrong}: is not a file name and 0, 1 or 2; replace it by the published file")
    counts = Counter(part for _, part in rows)
    for part, size in official.items():
        _require_count(path, counts[CELEBA_PARTS[part]], size)
    return {part: [name for name, of in rows if of == CELEBA_PARTS[part]] for part in official}


class FolderPictures(Pictures):
    """The images of a folder, digested as they are decoded, so that a change since planning is noticed."""

    def __init__(self, config: DataConfig) -> None:
        assert config.path and config.resolution
        self.folder = open_folder(config.path)
        super().__init__(
            np.array(self.folder.labels, dtype=np.int64), {"files": [str(self.folder.root)], "checked": "content"}
        )
        self.channels, self.resolution = facts(config).channels, config.resolution
        self.planned = source_fingerprint(config)
        self.digests = [b""] * len(self.folder.paths)

    def read(self, start: int, stop: int) -> Bytes:
        """Decode and resize images start to stop - 1."""
        return np.stack([self._read_one(i) for i in range(start, stop)])

    def _read_one(self, i: int) -> Bytes:
        path = self.folder.root / self.folder.paths[i]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(error) from None
        self.digests[i] = hashlib.sha256(content).digest()
        return read_picture(content, str(path), self.channels, self.resolution)

    def verify(self, fingerprint: str) -> None:
        """Raise DataError if the folder changed since it was planned."""
        if combined_digest(self.folder.paths, self.digests) != self.planned:
            raise DataError(f"{self.folder.root}: has changed while it was read; leave it alone and run this again")


def load_folder(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load a folder of images. Raises DataError."""
    return FolderPictures(config)


Loader = Callable[[DataConfig, Origin, OnProgress], Pictures]
LOADERS: dict[DatasetName, Loader] = {
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "celeba": load_celeba,
    "folder": load_folder,
}
