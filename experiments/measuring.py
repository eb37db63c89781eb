"""Features of images, drawn or real, kept in the store by fixed segments of the image index.

A segment is measured once, whoever asks, for however many images, metrics and splits. All
statistics are merged over segments in order, so that they come out to the same bits however the work was cut.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from edm.config import Split
from edm.data.dataset import Dataset, to_uint8
from edm.features import Extractor, extract
from edm.fid import Reference, Statistics
from edm.kid import mean_kernel
from edm.neighbours import squared_radii
from edm.noise import Stream, normals, permutation
from experiments.errors import UserError
from experiments.planning import SEGMENT_IMAGES, DataSource, FeatureSpace, Subset
from experiments.provenance import provenance
from experiments.sealed import find_sealed, load_sealed, write_sealed
from experiments.store import Store
from experiments.trial import device_name

LEAST_NOISE_IMAGES = 1000

FEATURES, CLASSES, SECONDS = "features", "classes", "seconds"  # tensors of a segment
FINGERPRINT = "fingerprint"

log = logging.getLogger("edm_sweep")

OnMeasured = Callable[[str, int, int], None]  # what is measured, how many are done, of how many


@dataclass(frozen=True)
class Part:
    """Some consecutive rows of a segment's file."""

    path: Path
    start: int
    stop: int


class Measured(Sequence[Tensor]):
    """Features of consecutive images, a segment at a time and read when asked for: no more in memory than that."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - no slices
        return self.rows(FEATURES, self.parts[index])

    @staticmethod
    def rows(name: str, part: Part) -> Tensor:
        """A tensor of a segment, the rows of `part` alone."""
        with safe_open(part.path, framework="pt") as file:
            return file.get_slice(name)[part.start : part.stop]

    @staticmethod
    def whole(name: str, part: Part) -> Tensor:
        """A tensor of a segment that has no rows."""
        with safe_open(part.path, framework="pt") as file:
            return file.get_tensor(name)

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return sum(part.stop - part.start for part in self.parts)

    def first(self, count: int) -> Measured:
        """The first images alone."""
        return Measured(list(_cut(self.parts, count)))

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


def _cut(parts: Sequence[Part], count: int) -> Iterator[Part]:
    for part in parts:
        taken = min(part.stop - part.start, count)
        if taken > 0:
            yield Part(part.path, part.start, part.start + taken)
        count -= taken


@dataclass(frozen=True)
class Shelf:
    """A folder of segments, all measured by one extractor."""

    folder: Path
    extractor: Extractor
    label: str

    def find(self, start: int, rows: int) -> Path | None:
        """A segment's file that has at least `rows` rows; raises UserError where another extractor measured it."""
        path = find_sealed(self.folder, f"{start:08d}")
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
        origin = {"device": device_name(device), "git_commit": str(made["git_commit"]), "host": made["host"]}
        write_sealed(self.folder, f"{start:08d}", tensors, {FINGERPRINT: self.extractor.fingerprint, **origin})

    def measured(self, start: int, stop: int) -> Measured:
        """Images start to stop - 1, which have been measured."""
        parts = []
        for first, last in segments(start, stop):
            path = self.find(first, last - first)
            assert path is not None, f"segment {first} of {self.folder} is not there"
            parts.append(Part(path, max(start - first, 0), last - first))
        return Measured(parts)


def segments(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where the segments that hold images start to stop - 1 begin, and up to where each is wanted."""
    for first in range(start - start % SEGMENT_IMAGES, stop, SEGMENT_IMAGES):
        yield first, min(first + SEGMENT_IMAGES, stop)


@dataclass(frozen=True)
class References:
    """What real images measure in one feature space: worked out when first asked for, shared by all of a store."""

    store: Store
    source: DataSource
    space: FeatureSpace
    extractor: Extractor
    data: Dataset
    device: torch.device
    on_measured: OnMeasured = lambda _what, _done, _total: None
    on_wait: Callable[[], None] = lambda: None  # for somebody else who is at the same work
    read: dict[tuple[Subset, int], Reference] = field(default_factory=dict)

    def count(self, subset: Subset) -> int:
        """How many images there are of a split, or of pure noise."""
        if subset == "noise":
            return max(LEAST_NOISE_IMAGES, 2 * self.space.dimension)  # enough for a covariance
        return len(self.data.splits[subset])

    def order(self, split: Split) -> Tensor:
        """A split's images, by their place in the data set, shuffled for good: any prefix is a fair sample."""
        indices = self.data.indices(split)
        return indices[permutation(0, 0, len(indices))]

    def features(self, subset: Subset, start: int, stop: int) -> Measured:
        """Features of images start to stop - 1 of a split's order."""
        name = self.space.reference(self.source, subset)
        shelf = Shelf(self.store.folder("references", name) / FEATURES, self.extractor, self.space.label)
        with self.store.lock("references", name, self.on_wait):
            for first, last in segments(start, stop):
                if shelf.find(first, last - first) is None:
                    whole = min(first + SEGMENT_IMAGES, self.count(subset))
                    self.on_measured(f"real images ({subset})" if subset != "noise" else subset, first, stop)
                    shelf.measure(first, self._images(subset, first, whole), self.device)
            return shelf.measured(start, stop)

    def _images(self, subset: Subset, start: int, stop: int) -> Tensor:
        if subset == "noise":
            shape = (self.source.channels, self.source.resolution, self.source.resolution)
            return to_uint8(normals(0, Stream.BASELINE, torch.arange(start, stop), shape))
        return self.data.images[self.order(subset)[start:stop]]

    def reference(self, subset: Subset, count: int) -> Reference:
        """Mean, covariance and its factor of the first `count` images."""

        def made(real: Measured) -> dict[str, Tensor]:
            return Reference.of(real.statistics()).tensors()

        if (subset, count) not in self.read:
            kept = self._kept(subset, f"statistics-{count:08d}", made, count)
            self.read[subset, count] = Reference.from_tensors(kept)
        return self.read[subset, count]

    def radii(self, subset: Subset, count: int, k: int) -> Tensor:
        """The squared distance of each of the first `count` images to its k-th nearest among them."""

        def made(real: Measured) -> dict[str, Tensor]:
            return {"radii": squared_radii(real, k, self.device)}

        return self._kept(subset, f"radii-{k}-{count:08d}", made, count)["radii"]

    def kernel_mean(self, subset: Subset, count: int) -> float:
        """The mean of the kernel distance's kernel over all pairs of the first `count` images."""

        def made(real: Measured) -> dict[str, Tensor]:
            return {"mean": torch.tensor(mean_kernel(real, self.device), dtype=torch.float64)}

        return float(self._kept(subset, f"kernel-{count:08d}", made, count)["mean"])

    def _kept(
        self, subset: Subset, stem: str, make: Callable[[Measured], dict[str, Tensor]], count: int
    ) -> dict[str, Tensor]:
        """Tensors made from the first `count` images once, under a fingerprint of what measured them."""
        name = self.space.reference(self.source, subset)
        folder, stem = self.store.folder("references", name), f"{stem}-{self.extractor.fingerprint[:12]}"
        tensors = load_sealed(folder, stem)
        if tensors is not None:
            return tensors
        real = self.features(subset, 0, count)  # which takes the same lock
        with self.store.lock("references", name, self.on_wait):
            tensors = load_sealed(folder, stem)  # of another worker, meanwhile
            if tensors is None:
                log.info("working out %s of real images (%s)", stem, subset)
                tensors = make(real)
                write_sealed(folder, stem, tensors, {FINGERPRINT: self.extractor.fingerprint})
            return tensors
