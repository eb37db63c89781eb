"""Loaders: open the files of each data set, check what they hold, and decode its pictures in any order."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edm.config import DataConfig, Extension
from edm.data import notices
from edm.data.catalogue import facts, folder_of, source_fingerprint, split_indices
from edm.data.celeba import load_celeba
from edm.data.cifar10 import load_cifar10
from edm.data.decode import read_picture
from edm.data.errors import DataError
from edm.data.fashion_mnist import load_fashion_mnist
from edm.data.folder import MAX_IMAGE_BYTES, fingerprint_of
from edm.data.images import ArrayPictures, Pictures, joined, source_record
from edm.data.notices import Notice
from edm.data.progress import OnProgress
from edm.data.readers import Bytes
from edm.data.sources import Origin
from edm.registry import Registration, Registry


def open_pictures(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Open the pictures of a data set; raises DataError if files are missing or not what they should be."""
    return DATASETS[config.name](config, origin, on_progress)


def load_digits(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load scikit-learn's digits: 1,797 8x8 scans in 17 grey levels, which the package ships."""
    package = importlib.util.find_spec("sklearn")  # its file is read directly, as importing it takes seconds
    path = Path(package.origin or "").parent / "datasets" / "data" / "digits.csv.gz" if package else None
    if path is None or not path.is_file():
        raise DataError(f"digits: {path or 'scikit-learn'} is absent; reinstall scikit-learn, which ships the images")
    rows = np.loadtxt(path, delimiter=",")
    images = np.rint(rows[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    source = source_record([Path("scikit-learn")])
    return ArrayPictures(images, rows[:, -1].astype(np.int64), source, pinned=source_fingerprint(config))


class FolderPictures(Pictures):
    """The images of a folder, digested as they are decoded, so that a change since planning is noticed."""

    def __init__(self, config: DataConfig) -> None:
        assert config.resolution
        self.folder, self.splits, known = folder_of(config), split_indices(config), facts(config)
        source = {**source_record([self.folder.root]), "remarks": list(known.remarks)}
        if self.folder.classes:
            source["classes"] = list(self.folder.classes)
        super().__init__(np.array(self.folder.labels, dtype=np.int64), source)
        self.channels, self.resolution = known.channels, config.resolution
        self.planned = source_fingerprint(config)
        self.digests_read = [b""] * len(self.folder.paths)
        self.notices: list[tuple[Notice, ...]] = [()] * len(self.folder.paths)
        self.noticed: dict[int, notices.Summary] = {}  # by the number of the first image of a chunk
        self.files = self.folder.open()

    def read(self, start: int, stop: int) -> Bytes:
        """Decode and resize images start to stop - 1."""
        return joined(self._read_one, range(start, stop))

    def _read_one(self, i: int) -> Bytes:
        path = self.folder.paths[i]
        content = self.files.read(path, MAX_IMAGE_BYTES)
        self.digests_read[i] = hashlib.sha256(content).digest()
        title = str(self.folder.root / self.folder.name_of(i))
        picture, self.notices[i] = read_picture(content, title, self.channels, self.resolution)
        return picture

    def digests(self, start: int, stop: int) -> str:
        """Return the SHA-256 of the files of images start to stop - 1, one after the other, and what was noticed."""
        self.noticed[start] = notices.summed_up(self.notices[start:stop], start)
        return f"{b''.join(self.digests_read[start:stop]).hex()} {notices.to_text(self.noticed[start])}"

    def restore(self, start: int, digests: str) -> None:
        """Take in what `digests` returned of files from number `start` on, which an earlier process has read."""
        digests, _, noticed = digests.partition(" ")
        self.noticed[start] = notices.from_text(noticed)
        content, size = bytes.fromhex(digests), hashlib.sha256().digest_size
        read = [content[i : i + size] for i in range(0, len(content), size)]
        self.digests_read[start : start + len(read)] = read

    def verify(self, fingerprint: str) -> None:
        """Raise DataError if the folder changed since it was planned; record what was noticed about its images."""
        if fingerprint_of(self.folder, self.digests_read) != self.planned:
            raise DataError(f"{self.folder.root}: has changed while it was read; leave it alone and run this again")
        noticed, count = notices.merged(self.noticed.values()), len(self.folder.paths)
        name_of = self.folder.name_of
        told = [*notices.sentences(noticed, name_of, count, self.resolution)]
        told += notices.repeated(self.digests_read, self.splits, name_of)
        sentences = [f"{self.folder.root}: {sentence}" for sentence in told]
        if sentences:
            self.source["noticed"] = sentences

    def at_once(self, most: int) -> int:
        """Return how many images to decode at once."""
        return self.files.at_once(most)

    def close(self) -> None:
        """Close the archive, if it is one."""
        self.files.close()


def load_folder(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
    """Load a folder of images. Raises DataError."""
    return FolderPictures(config)


def _of_extension(registration: Registration, extension: Extension) -> Loader:
    """Return the loader of a data set that an extension yields."""
    generate, where = registration.bound(extension), extension.where

    def load(config: DataConfig, origin: Origin, on_progress: OnProgress) -> Pictures:
        known = facts(config)
        shape = (sum(known.splits.values()), known.channels, known.resolution, known.resolution)
        pairs = list(generate())
        images = np.array([image for image, _ in pairs])
        if images.shape != shape or images.dtype != np.uint8:
            found = f"{images.dtype} of shape {list(images.shape)}"
            raise DataError(f"{where}: yields images that are {found}, not uint8 of shape {list(shape)}; correct it")
        labels = np.array([label if known.num_classes else 0 for _, label in pairs], dtype=np.int64)
        if known.num_classes and not (labels.min() >= 0 and labels.max() < known.num_classes):
            raise DataError(f"{where}: yields labels that are not 0 to {known.num_classes - 1}; correct it")
        return ArrayPictures(images, labels, source_record([Path(where)]))

    return load


Loader = Callable[[DataConfig, Origin, OnProgress], Pictures]
LOADERS: dict[str, Loader] = {
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "celeba": load_celeba,
    "folder": load_folder,
}
DATASETS = Registry(LOADERS, _of_extension)
