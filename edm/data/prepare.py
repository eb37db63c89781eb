"""Preparation of a data set: decode it once into uint8 arrays, labels and split indices. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edm.config import DataConfig
from edm.cores import available_cores
from edm.data.catalogue import DatasetFacts, facts, source_fingerprint, split_indices
from edm.data.decoded import CONTENT, JOURNAL, Chunk, Decoded
from edm.data.errors import DataError, caught, require_all
from edm.data.loaders import Pictures, open_pictures
from edm.data.progress import CountedStep, OnProgress, ignore_progress
from edm.data.sources import Origin

IMAGES, LABELS, SPLIT_INDICES = "images.npy", "labels.npy", "splits.json"
FILES = (IMAGES, LABELS, SPLIT_INDICES)
PARTS = (CONTENT, JOURNAL)  # of a preparation that was interrupted, from which another one goes on
CHUNK_BYTES = 2**20  # decoded bytes per chunk: enough work for a thread, little enough for many threads to share
MAX_CHUNK = 4096  # images per chunk
DECODING = CountedStep("decoding", "images")
PIECE = 2**16  # bytes, the sum of whose squares stays below 2**32
AHEAD = 2  # chunks per thread that may wait to be written

Item = TypeVar("Item")
Result = TypeVar("Result")


def prepare(
    config: DataConfig,
    folder: Path,
    origin: Origin | None = None,
    on_progress: OnProgress = ignore_progress,
    threads: int | None = None,
) -> dict[str, object]:
    """Write images.npy, labels.npy and splits.json of a data set into `folder`; return a record of them.

    origin: where its published files are; by default absent ones are downloaded to `sources` in `folder`. threads:
    number of decoding threads; by default one per core. The bytes written depend on neither.
    Raises DataError if files are missing or wrong, or the folder cannot be written.
    """
    known, splits = facts(config), split_indices(config)
    with closing(open_pictures(config, origin or Origin.fetching(folder / "sources"), on_progress)) as pictures:
        try:
            found, sigma_data = _write_images(folder, pictures, known, splits["train"], on_progress, threads)
            if sigma_data == 0:
                problem = "all pixels of the images in train have one value, of which nothing can be learned"
                remedy = "give other images, or scale those of 16 bits, of which the upper 8 are kept"
                raise DataError(f"{config.path or config.name}: {problem}; {remedy}")
            np.save(folder / LABELS, pictures.labels)
            (folder / SPLIT_INDICES).write_text(json.dumps(splits))
        except (OSError, DataError) as error:
            for name in (*FILES, *PARTS):  # useless, and up to gigabytes
                (folder / name).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise DataError(f"{folder}: cannot be written ({error.strerror}); make room there") from None
            raise
    return {
        "name": str(config.name),
        "config": asdict(config),
        "fingerprint": found,
        "images": len(pictures.labels),
        "shape": [known.channels, known.resolution, known.resolution],
        "num_classes": known.num_classes,
        "splits": known.splits,
        "sigma_data": sigma_data,
        "source": {**pictures.source, "fingerprint": source_fingerprint(config)},
    }


@dataclass
class _Written:
    """What the images that are written so far come to.

    digest: of their bytes. count: how many they are. total, squares: sums over the pixels of those in the train split.
    """

    digest: Any = field(default_factory=hashlib.sha256)
    count: int = 0
    total: int = 0
    squares: int = 0

    def take_in(self, chunk: Chunk, num_images: int) -> None:
        """Add a chunk of images."""
        self.digest.update(chunk.content)
        self.count += num_images
        self.total, self.squares = self.total + chunk.sum, self.squares + chunk.squares


def _write_images(
    folder: Path,
    pictures: Pictures,
    known: DatasetFacts,
    train: list[int],
    on_progress: OnProgress,
    threads: int | None,
) -> tuple[str, float]:
    """Decode all images into a .npy file; return the SHA-256 of images and labels, and sigma_data.

    What a process that was killed has decoded is used.
    """
    num, shape = len(pictures.labels), (known.channels, known.resolution, known.resolution)
    size = pictures.at_once(max(1, min(MAX_CHUNK, CHUNK_BYTES // math.prod(shape))))
    decoded, written = Decoded(folder, (num, *shape), size), _Written()

    for chunk in decoded.kept():
        pictures.restore(written.count, chunk.digests)
        written.take_in(chunk, min(size, num - written.count))
        on_progress(DECODING, written.count, num)
    with decoded:
        starts = range(written.count, num, size)
        found = in_order(caught(_decoder(pictures, shape, train, size)), starts, threads or available_cores())
        for chunk in require_all(_counted(found, starts, num, on_progress)):
            decoded.add(chunk)
            written.take_in(chunk, min(size, num - written.count))
    written.digest.update(pictures.labels.astype("<i8").tobytes())
    fingerprint = written.digest.hexdigest()
    pictures.verify(fingerprint)
    decoded.finish(folder / IMAGES)
    return fingerprint, _deviation(written.total, written.squares, len(train) * math.prod(shape))


def _counted(found: Iterable[Result], starts: range, num: int, on_progress: OnProgress) -> Iterator[Result]:
    """Pass on what was found of chunks of images, given by their starts; report each once it has been taken in."""
    for start, each in zip(starts, found, strict=True):
        yield each
        on_progress(DECODING, min(start + starts.step, num), num)


def _decoder(pictures: Pictures, shape: tuple[int, ...], train: list[int], size: int) -> Callable[[int], Chunk]:
    """Return a function that decodes the chunk of images that begins with a number."""
    num = len(pictures.labels)
    in_train = np.zeros(num, dtype=bool)
    in_train[train] = True

    def decode(start: int) -> Chunk:
        stop = min(start + size, num)
        images = pictures.read(start, stop)
        assert images.shape[1:] == shape and images.dtype == np.uint8
        sums = _sums(images[in_train[start:stop]].reshape(-1))
        return Chunk.of(images.tobytes(), *sums, pictures.digests(start, stop))

    return decode


def _sums(values: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the sum of bytes and the sum of their squares."""
    total = squares = 0
    for start in range(0, len(values), PIECE):
        piece = values[start : start + PIECE].astype(np.uint16)
        total += int(piece.sum(dtype=np.uint32))
        squares += int((piece * piece).sum(dtype=np.uint32))
    return total, squares


def _deviation(total: int, squares: int, num: int) -> float:
    """Return the standard deviation of `num` bytes scaled to [-1, 1], correctly rounded, from exact integer sums."""
    shift = 100  # bits behind the binary point, so that nothing is rounded before the division
    return math.isqrt(4 * (num * squares - total * total) << 2 * shift) / (255 * num << shift)


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield work(item) for all items in order, computed by threads that run at most AHEAD items each ahead."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
