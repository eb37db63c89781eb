"""Measures the features of drawn and real images and keeps them in the store, by fixed segments of the image index.

A segment is measured once for all evaluations, metrics and splits. Statistics are merged over segments in order, so
that they are the same to the last bit however the segments were shared out.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from edm.metrics.features import Extractor, extract
from edm.metrics.fid import Statistics
from experiments.errors import UserError
from experiments.store.checksummed import find_checksummed, write_checksummed
from experiments.store.drawings import segment_stem
from experiments.store.provenance import provenance
from experiments.sweep.segments import segments
from experiments.trials.code import Code, as_text, from_texts
from experiments.trials.context import device_name

FEATURES, CLASSES, SECONDS = "features", "classes", "seconds"  # tensors of a segment
FINGERPRINT, CODE = "fingerprint", "code"  # metadata of a segment


@dataclass(frozen=True)
class FeatureRows:
    """Consecutive rows of a segment's file."""

    path: Path
    start: int
    stop: int


class MeasuredFeatures(Sequence[Tensor]):
    """The features of consecutive images; indexing reads one segment from disk, so that only that is in memory."""

    def __init__(self, parts: Sequence[FeatureRows]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - no slices
        return self.rows(FEATURES, self.parts[index])

    @staticmethod
    def rows(name: str, part: FeatureRows) -> Tensor:
        """Return the rows of `part` of a tensor of its segment."""
        with safe_open(part.path, framework="pt") as file:
            return file.get_slice(name)[part.start : part.stop]

    @staticmethod
    def whole(name: str, part: FeatureRows) -> Tensor:
        """Return a whole tensor of a segment, such as one without rows."""
        with safe_open(part.path, framework="pt") as file:
            return file.get_tensor(name)

    @property
    def num_images(self) -> int:
        """The number of images."""
        return sum(part.stop - part.start for part in self.parts)

    def first(self, count: int) -> MeasuredFeatures:
        """Return the features of the first images alone."""
        return MeasuredFeatures(list(_cut(self.parts, count)))

    def classes(self) -> Tensor | None:
        """Return the class that the extractor assigned to each image; None if it is no classifier."""
        with safe_open(self.parts[0].path, framework="pt") as file:
            if CLASSES not in file.keys():  # noqa: SIM118 - not a mapping
                return None
        return torch.cat([self.rows(CLASSES, part) for part in self.parts])

    def origins(self, key: str) -> list[str]:
        """Return the devices, git commits, hosts or code, as `key` says, that the segments were measured with."""
        found = set()
        for part in self.parts:
            with safe_open(part.path, framework="pt") as file:
                found.add((file.metadata() or {}).get(key, "unknown"))
        return sorted(found)

    @property
    def code(self) -> Code | None:
        """The code that drew and measured all segments; None where that was not recorded."""
        return from_texts(self.origins(CODE))

    def statistics(self) -> Statistics:
        """Return the statistics of all images, merged in order."""
        return functools.reduce(Statistics.merge, map(Statistics.of, self))

    def prefix_statistics(self, counts: Sequence[int]) -> dict[int, Statistics]:
        """Return the statistics of the first n images for every n in `counts` at which a segment ends."""
        merged = itertools.accumulate(map(Statistics.of, self), Statistics.merge)
        return {statistics.count: statistics for statistics in merged if statistics.count in counts}


def _cut(parts: Sequence[FeatureRows], count: int) -> Iterator[FeatureRows]:
    for part in parts:
        taken = min(part.stop - part.start, count)
        if taken > 0:
            yield FeatureRows(part.path, part.start, part.start + taken)
        count -= taken


@dataclass(frozen=True)
class FeatureCache:
    """A folder of segments that one extractor has measured.

    label: the name of its feature space in messages. code: that draws and measures segments from here on.
    """

    folder: Path
    extractor: Extractor
    label: str
    code: Code = field(default_factory=dict)

    def find(self, start: int, rows: int) -> Path | None:
        """Return the file of a segment if it has `rows` rows or more; raises UserError if other weights measured it."""
        path = find_checksummed(self.folder, segment_stem(start))
        if path is None:
            return None
        with safe_open(path, framework="pt") as file:
            fingerprint = (file.metadata() or {}).get(FINGERPRINT)
            num_rows = file.get_slice(FEATURES).get_shape()[0]
        if fingerprint != self.extractor.fingerprint:
            raise UserError(
                f"{path}: was measured with other weights of {self.label}; delete the folder {self.folder} to redo it"
            )
        return path if num_rows >= rows else None

    def measure(
        self,
        start: int,
        images: Tensor,
        device: torch.device,
        seconds: Callable[[], float] = lambda: 0.0,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Measure and keep the segment that begins with image `start`.

        seconds: called once the features are there, returns how long drawing and measuring took. on_batch: called with
        the number of images done.
        """
        features, classes = extract(self.extractor, images, device, start, on_batch)
        tensors = {FEATURES: features} | ({} if classes is None else {CLASSES: classes})
        tensors[SECONDS] = torch.tensor(seconds(), dtype=torch.float64)
        here = provenance()
        origin = {"device": device_name(device), "git_commit": str(here.git_commit), "host": here.host}
        origin[CODE] = as_text(self.code)
        write_checksummed(
            self.folder, segment_stem(start), tensors, {FINGERPRINT: self.extractor.fingerprint, **origin}
        )

    def measured(self, start: int, stop: int) -> MeasuredFeatures:
        """Return the features of images start to stop - 1, all of which have been measured."""
        parts = []
        for first, last in segments(start, stop):
            path = self.find(first, last - first)
            assert path is not None, f"segment {first} of {self.folder} is not there"
            parts.append(FeatureRows(path, max(start - first, 0), last - first))
        return MeasuredFeatures(parts)
