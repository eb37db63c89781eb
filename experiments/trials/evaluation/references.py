"""What real images measure in a feature space, computed once per store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edm.config import Split
from edm.data.dataset import Dataset, to_uint8
from edm.metrics.features import Extractor
from edm.metrics.fid import Reference
from edm.metrics.kid import mean_kernel
from edm.metrics.neighbours import squared_radii
from edm.noise import Stream, normals, permutation
from experiments.store.checksummed import load_checksummed, write_checksummed
from experiments.store.store import Store
from experiments.sweep.segments import segment_stop, segments
from experiments.sweep.tasks import DataSource, FeatureSpace, Subset
from experiments.trials.evaluation.features import FEATURES, FINGERPRINT, FeatureCache, MeasuredFeatures

LEAST_NOISE_IMAGES = 1000
log = logging.getLogger("edm_sweep")
OnMeasured = Callable[[str, int, int], None]  # what is measured, how many are done, of how many


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

    def features(self, subset: Subset, start: int, stop: int) -> MeasuredFeatures:
        """Features of images start to stop - 1 of a split's order."""
        name = self.space.reference(self.source, subset)
        cache = FeatureCache(self.store.folder("references", name) / FEATURES, self.extractor, self.space.label)
        with self.store.lock("references", name, self.on_wait):
            for first, last in segments(start, stop):
                if cache.find(first, last - first) is None:
                    whole = segment_stop(first, self.count(subset))
                    self.on_measured(f"real images ({subset})" if subset != "noise" else subset, first, stop)
                    cache.measure(first, self._images(subset, first, whole), self.device)
            return cache.measured(start, stop)

    def _images(self, subset: Subset, start: int, stop: int) -> Tensor:
        if subset == "noise":
            shape = (self.source.channels, self.source.resolution, self.source.resolution)
            return to_uint8(normals(0, Stream.BASELINE, torch.arange(start, stop), shape))
        return self.data.images[self.order(subset)[start:stop]]

    def reference(self, subset: Subset, count: int) -> Reference:
        """Mean, covariance and its factor of the first `count` images."""

        def made(real: MeasuredFeatures) -> dict[str, Tensor]:
            return Reference.of(real.statistics()).tensors()

        if (subset, count) not in self.read:
            kept = self._kept(subset, f"statistics-{count:08d}", made, count)
            self.read[subset, count] = Reference.from_tensors(kept)
        return self.read[subset, count]

    def radii(self, subset: Subset, count: int, k: int) -> Tensor:
        """The squared distance of each of the first `count` images to its k-th nearest among them."""

        def made(real: MeasuredFeatures) -> dict[str, Tensor]:
            return {"radii": squared_radii(real, k, self.device)}

        return self._kept(subset, f"radii-{k}-{count:08d}", made, count)["radii"]

    def kernel_mean(self, subset: Subset, count: int) -> float:
        """The mean of the kernel distance's kernel over all pairs of the first `count` images."""

        def made(real: MeasuredFeatures) -> dict[str, Tensor]:
            return {"mean": torch.tensor(mean_kernel(real, self.device), dtype=torch.float64)}

        return float(self._kept(subset, f"kernel-{count:08d}", made, count)["mean"])

    def _kept(
        self, subset: Subset, stem: str, make: Callable[[MeasuredFeatures], dict[str, Tensor]], count: int
    ) -> dict[str, Tensor]:
        """Tensors made from the first `count` images once, under a fingerprint of what measured them."""
        name = self.space.reference(self.source, subset)
        folder, stem = self.store.folder("references", name), f"{stem}-{self.extractor.fingerprint[:12]}"
        tensors = load_checksummed(folder, stem)
        if tensors is not None:
            return tensors
        real = self.features(subset, 0, count)  # which takes the same lock
        with self.store.lock("references", name, self.on_wait):
            tensors = load_checksummed(folder, stem)  # of another worker, meanwhile
            if tensors is None:
                log.info("working out %s of real images (%s)", stem, subset)
                tensors = make(real)
                write_checksummed(folder, stem, tensors, {FINGERPRINT: self.extractor.fingerprint})
            return tensors
