"""Preparation of a data set: decode it once into uint8 arrays, labels and split indices. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np

from edm.config import DataConfig
from edm.data.catalogue import DatasetFacts, facts, source_fingerprint, split_indices
from edm.data.decoded import CONTENT, JOURNAL, Chunk, Decoded
from edm.data.errors import DataError
from edm.data.loaders import Pictures, open_pictures
from edm.data.progress import OnProgress, ignore_progress
from edm.data.sources import Origin

IMAGES, LABELS, SPLIT_INDICES = "images.npy", "labels.npy", "splits.json"
FILES = (IMAGES, LABELS, SPLIT_INDICES)
PARTS = (CONTENT, JOURNAL)  # of a preparation that was interrupted, from which another one goes on
CHUNK_BYTES = 2**22  # decoded bytes per chunk: enough work for a thread, little enough to hold many
MAX_CHUNK = 4096  # images per chunk
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
            np.save(folder / LABELS, pictures.labels)
            (folder / SPLIT_INDICES).write_text(json.dumps(splits))
        except (OSError, DataError) as error:
            for name in (*FILES, *PARTS):  # useless, and up to gigabytes
                (folder / name).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise DataError(f"{folder}: cannot be written ({error.strerror}); make room there") from None
            raise
    return {
        "name": config.name,
        "config": asdict(config),
        "fingerprint": found,
        "images": len(pictures.labels),
        "shape": [known.channels, known.resolution, known.resolution],
        "num_classes": known.num_classes,
        "splits": known.splits,
        "sigma_data": sigma_data,
        "source": {**pictures.source, "fingerprint": source_fingerprint(config)},
    }


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
    in_train = np.zeros(num, dtype=bool)
    in_train[train] = True
    size = max(1, min(MAX_CHUNK, CHUNK_BYTES // math.prod(shape)))
    digest, total, squares, done = hashlib.sha256(), 0, 0, 0

    def decode(start: int) -> Chunk:
        stop = min(start + size, num)
        images = pictures.read(start, stop)
        assert images.shape[1:] == shape and images.dtype == np.uint8
        values = images[in_train[start:stop]].astype(np.uint16)  # wide enough for the squares
        sums = int(values.sum(dtype=np.uint64)), int((values**2).sum(dtype=np.uint64))
        return Chunk(images.tobytes(), *sums, pictures.digests(start, stop))

    def take_in(chunk: Chunk) -> None:
        nonlocal total, squares, done
        digest.update(chunk.content)
        total, squares = total + chunk.sum, squares + chunk.squares
        done = min(done + size, num)
        on_progress("decoding", done, num)

    decoded = Decoded(folder, (num, *shape), size)
    for chunk in decoded.kept():
        pictures.restore(done, chunk.digests)
        take_in(chunk)
    with decoded:
        for chunk in in_order(decode, range(done, num, size), threads or _cores()):
            decoded.add(chunk)
            take_in(chunk)
    digest.update(pictures.labels.astype("<i8").tobytes())
    pictures.verify(digest.hexdigest())
    decoded.finish(folder / IMAGES)
    return digest.hexdigest(), _deviation(total, squares, len(train) * math.prod(shape))


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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
