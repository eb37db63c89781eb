"""Features of images, drawn or real, kept in the store by fixed segments of the image index.

A segment is measured once, whoever asks, for however many images, metrics and splits. All
statistics are merged over segments in order, so that they come out to the same bits however the work was cut.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from edm.metrics.features import Extractor, extract
from edm.metrics.fid import Statistics
from experiments.errors import UserError
from experiments.store.checksummed import find_checksummed, write_checksummed
from experiments.store.provenance import provenance
from experiments.sweep.segments import segments
from experiments.trials.context import device_name

FEATURES, CLASSES, SECONDS = "features", "classes", "seconds"  # tensors of a segment
FINGERPRINT = "fingerprint"


@dataclass(frozen=True)
class FeatureRows:
    """Some consecutive rows of a segment's file."""

    path: Path
    start: int
    stop: int


class MeasuredFeatures(Sequence[Tensor]):
    """Features of consecutive images, a segment at a time and read when asked for: no more in memory than that."""

    def __init__(self, parts: Sequence[FeatureRows]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - no slices
        return self.rows(FEATURES, self.parts[index])

    @staticmethod
    def rows(name: str, part: FeatureRows) -> Tensor:
        """A tensor of a segment, the rows of `part` alone."""
        with safe_open(part.path, framework="pt") as file:
            return file.get_slice(name)[part.start : part.stop]

    @staticmethod
    def whole(name: str, part: FeatureRows) -> Tensor:
        """A tensor of a segment that has no rows."""
        with safe_open(part.path, framework="pt") as file:
            return file.get_tensor(name)

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return sum(part.stop - part.start for part in self.parts)

    def first(self, count: int) -> MeasuredFeatures:
        """The first images alone."""
        return MeasuredFeatures(list(_cut(self.parts, count)))

    def classes(self) -> Tensor | None:
        """The class that the feature space's classifier saw in each image; None where it knows none."""
        with safe_open(self.parts[0].path, framework="pt") as file:
            if CLASSES not in file.keys():  # noqa: SIM118 - not a mapping
                return None
        return torch.cat([self.rows(CLASSES, part) for part in self.parts])

    def origins(self, what: str) -> list[str]:
        """Where they were measured: the devices, git commits or hosts there are."""
        found = set()
        for part in self.parts:
            with safe_open(part.path, framework="pt") as file:
                found.add((file.metadata() or {}).get(what, "unknown"))
        return sorted(found)

    def statistics(self) -> Statistics:
        """Of all of them, merged in order."""
        return functools.reduce(Statistics.merge, map(Statistics.of, self))

    def prefix_statistics(self, counts: Sequence[int]) -> dict[int, Statistics]:
        """Of the first images alone, for all of `counts` that end a segment: what merging passes on its way."""
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
    """A folder of segments, all measured by one extractor."""

    folder: Path
    extractor: Extractor
    label: str

    def find(self, start: int, rows: int) -> Path | None:
        """A segment's file that has at least `rows` rows; raises UserError where another extractor measured it."""
        path = find_checksummed(self.folder, f"{start:08d}")
        if path is None:
            return None
        with safe_open(path, framework="pt") as file:
            known, have = (file.metadata() or {}).get(FINGERPRINT), file.get_slice(FEATURES).get_shape()[0]
        if known != self.extractor.fingerprint:
            raise UserError(
                f"{path}: was measured with other weights of {self.label}; delete the folder {self.folder} to redo it"
            )
        return path if have >= rows else None

    def measure(
        self, start: int, images: Tensor, device: torch.device, seconds: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Measure and keep the segment that begins with image `start`; `seconds` tells how long it took."""
        features, classes = extract(self.extractor, images, device, start)
        tensors = {FEATURES: features} | ({} if classes is None else {CLASSES: classes})
        tensors[SECONDS] = torch.tensor(seconds(), dtype=torch.float64)
        made = provenance()
        origin = {"device": device_name(device), "git_commit": str(made.git_commit), "host": made.host}
        write_checksummed(self.folder, f"{start:08d}", tensors, {FINGERPRINT: self.extractor.fingerprint, **origin})

    def measured(self, start: int, stop: int) -> MeasuredFeatures:
        """Images start to stop - 1, which have been measured."""
        parts = []
        for first, last in segments(start, stop):
            path = self.find(first, last - first)
            assert path is not None, f"segment {first} of {self.folder} is not there"
            parts.append(FeatureRows(path, max(start - first, 0), last - first))
        return MeasuredFeatures(parts)
