"""Every data set as pictures that can be read in any order: its files, what they must hold, how they decode."""

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

import numpy as np

from edm.config import DataConfig, DatasetName, Split
from edm.data.catalogue import CATALOGUE, facts, source_fingerprint
from edm.data.errors import DataError
from edm.data.folder import combined, open_folder, unreadable
from edm.data.readers import read_celeba, read_cifar_batch, read_idx, read_picture
from edm.data.sources import OnProgress, Origin, published

CELEBA_FOLDER = "img_align_celeba"  # in the archive, too
CELEBA_PARTS: dict[Split, str] = {"train": "0", "val": "1", "test": "2"}
FASHION_PADDING = 2


class Pictures(ABC):
    """The images of a data set in its order, decoded when they are asked for.

    labels: int64, 0 where there are none. source: where they come from and how that was checked, for the record.
    """

    def __init__(self, labels: np.ndarray, source: dict[str, object]) -> None:
        self.labels = labels
        self.source = source

    @abstractmethod
    def read(self, start: int, stop: int) -> np.ndarray:
        """Images start to stop - 1, uint8 (n, c, h, w); may be called from several threads at once."""

    def verify(self, fingerprint: str) -> None:  # noqa: B027 - most have nothing to verify then
        """Once all is read, as images and labels of this fingerprint: raise DataError where they are not as planned."""

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Give back what is open."""


def open_pictures(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """The pictures that `config` names; raises DataError where files are missing or not what they should be."""
    return LOADERS[config.name](config, origin, on_progress)


# arrays -------------------------------------------------------------------------------------------


class ArrayPictures(Pictures):
    """Pictures that came as one array, with a border of `padding` black pixels."""

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, source: dict[str, object], padding: int = 0, pinned: str = ""
    ) -> None:
        super().__init__(labels, source)
        self.images, self.padding, self.pinned = images, padding, pinned

    def read(self, start: int, stop: int) -> np.ndarray:
        border = (self.padding, self.padding)
        return np.pad(self.images[start:stop], ((0, 0), (0, 0), border, border))

    def verify(self, fingerprint: str) -> None:
        if self.pinned and fingerprint != self.pinned:
            raise DataError(
                f"data.name: digits: the images have fingerprint {fingerprint[:16]}, expected {self.pinned[:16]}; "
                "reinstall scikit-learn, which ships them, or report a new release of the data set"
            )


def load_digits(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """scikit-learn's digits: 1,797 8x8 scans of handwritten digits, 17 grey levels, shipped with the package."""
    package = importlib.util.find_spec("sklearn")  # whose file is read without it: to import it takes seconds
    path = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if path is None or not path.is_file():
        raise DataError(
            f"data.name: digits: {path or 'scikit-learn'} is not there; reinstall scikit-learn, which ships the images"
        )
    rows = np.loadtxt(path, delimiter=",")
    images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    source: dict[str, object] = {"files": ["scikit-learn"], "checked": "content"}
    return ArrayPictures(images, rows[:, -1].astype(np.int64), source, pinned=source_fingerprint(config))


def load_fashion_mnist(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Fashion-MNIST: 28x28, padded to 32x32; train, then test. Four idx files, gzipped or (without an MD5) unpacked."""
    known = CATALOGUE[config.name]
    unpacked = {file.name: origin.find(config.name, file.unpacked) for file in known.files}
    wanted = [file for file in known.files if unpacked[file.name] is None or origin.find(config.name, file.name)]
    packed = zip(wanted, published(config.name, wanted, origin, on_progress), strict=True)
    paths = [path for path in ({**unpacked, **{file.name: path for file, path in packed}}).values() if path]
    side = known.resolution - 2 * FASHION_PADDING
    images = [
        read_idx(path, (size, side, side)) for path, size in zip(paths[::2], known.official.values(), strict=True)
    ]
    labels = [read_idx(path, (size,)) for path, size in zip(paths[1::2], known.official.values(), strict=True)]
    numbers = _labels_of(np.concatenate(labels), known.num_classes, paths[1])
    source = _record(paths, md5=len(wanted) == len(known.files))
    return ArrayPictures(np.concatenate(images)[:, None], numbers, source, padding=FASHION_PADDING)


def load_cifar10(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """CIFAR-10: train, then test; from the published archive or the folder that it unpacks to."""
    known = CATALOGUE[config.name]
    place, contents = _cifar_members(config, origin, on_progress)
    parts = []
    for name, md5 in known.members:
        if name not in contents:
            raise DataError(f"{place}: has no {name} (md5 {md5}); unpack {known.files[0].name} into it anew")
        found = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
        if found != md5:
            raise DataError(
                f"{place / name}: has {len(contents[name]):,} bytes with md5 {found}, the published one {md5}; "
                f"unpack {known.files[0].name} anew"
            )
        parts.append(read_cifar_batch(contents.pop(name), str(place / name)))
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    _require_count(place, len(images), sum(known.official.values()))
    return ArrayPictures(images, _labels_of(labels, known.num_classes, place), _record([place], md5=True))


def _cifar_members(config: DataConfig, origin: Origin, on_progress: OnProgress) -> tuple[Path, dict[str, bytes]]:
    """The place of the batches, and those that are there."""
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


def _labels_of(labels: np.ndarray, num_classes: int, path: Path) -> np.ndarray:
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
    """CelebA's aligned pictures by name, out of a zip archive or a folder."""

    def __init__(self, names: list[str], place: Path, resolution: int, source: dict[str, object]) -> None:
        super().__init__(np.zeros(len(names), dtype=np.int64), source)
        self.names, self.place, self.resolution = names, place, resolution
        self.lock = threading.Lock()
        try:
            self.archive = None if place.is_dir() else zipfile.ZipFile(place)
            there = set(self._names_there())
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{place}: cannot be read ({error}); download it again, or unpack it anew") from None
        absent = [name for name in names if name not in there]
        if absent:
            self.close()
            raise DataError(
                f"{place}: lacks {len(absent):,} of {len(names):,} pictures, the first of them {absent[0]}; "
                "unpack img_align_celeba.zip anew"
            )

    def _names_there(self) -> list[str]:
        if self.archive is None:
            return [path.name for path in self.place.iterdir()]
        return [name.removeprefix(f"{CELEBA_FOLDER}/") for name in self.archive.namelist()]

    def read(self, start: int, stop: int) -> np.ndarray:
        names = self.names[start:stop]
        return np.stack([read_celeba(self._bytes(n), str(self.place / n), self.resolution) for n in names])

    def _bytes(self, name: str) -> bytes:
        try:
            if self.archive is None:
                return (self.place / name).read_bytes()
            with self.lock:  # threads share its file; decoding, which takes far longer, they do side by side
                return self.archive.read(f"{CELEBA_FOLDER}/{name}")
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{self.place / name}: cannot be read ({error}); download or unpack it anew") from None

    def close(self) -> None:
        if self.archive is not None:
            self.archive.close()


def load_celeba(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """CelebA's aligned pictures: the official train part, then (unless `splits` is study) valid, then test.

    From img_align_celeba.zip, or (with no MD5 to compare) the folder that it unpacks to, and the partition file.
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
    """The unpacked pictures, if that is what there is; some archives have the folder twice, one in the other."""
    if origin.path.name == CELEBA_FOLDER and origin.path.is_dir():
        return origin.path
    folder = origin.find(dataset, CELEBA_FOLDER)
    inner = folder / CELEBA_FOLDER if folder else None
    return inner if inner and inner.is_dir() else folder


def _celeba_names(path: Path, official: dict[Split, int]) -> dict[Split, list[str]]:
    """The names of each part in the file's order; a line is a name and 0 (train), 1 (valid) or 2 (test)."""
    rows = [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    wrong = next((i for i, row in enumerate(rows, 1) if len(row) != 2 or row[1] not in CELEBA_PARTS.values()), None)
    if wrong is not None:
        raise DataError(f"{path}:{wrong}: is not a file name and 0, 1 or 2; replace it by the published file")
    counts = Counter(part for _, part in rows)
    for part, size in official.items():
        _require_count(path, counts[CELEBA_PARTS[part]], size)
    return {part: [name for name, of in rows if of == CELEBA_PARTS[part]] for part in official}


class FolderPictures(Pictures):
    """The images of a folder; what is decoded is also digested, so that a folder that changed meanwhile is noticed."""

    def __init__(self, config: DataConfig) -> None:
        assert config.path and config.resolution
        self.folder = open_folder(config.path)
        super().__init__(
            np.array(self.folder.labels, dtype=np.int64), {"files": [str(self.folder.root)], "checked": "content"}
        )
        self.channels, self.resolution = facts(config).channels, config.resolution
        self.announced = source_fingerprint(config)
        self.digests = [b""] * len(self.folder.paths)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.stack([self._read_one(i) for i in range(start, stop)])

    def _read_one(self, i: int) -> np.ndarray:
        path = self.folder.root / self.folder.paths[i]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(error) from None
        self.digests[i] = hashlib.sha256(content).digest()
        return read_picture(content, str(path), self.channels, self.resolution)

    def verify(self, fingerprint: str) -> None:
        if combined(self.folder.paths, self.digests) != self.announced:
            raise DataError(f"{self.folder.root}: has changed while it was read; leave it alone and run this again")


def load_folder(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Any tree of images."""
    return FolderPictures(config)


Loader = Callable[[DataConfig, Origin, OnProgress], Pictures]
LOADERS: dict[DatasetName, Loader] = {
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "celeba": load_celeba,
    "folder": load_folder,
}
