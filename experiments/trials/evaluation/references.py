"""Measures real images in a feature space, once for all evaluations of a store."""

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
from experiments.sweep.preparations import noise_images
from experiments.sweep.segments import segment_stop, segments
from experiments.sweep.tasks import DataSource, FeatureSpace, Subset
from experiments.trials.code import Code
from experiments.trials.evaluation.features import FEATURES, FINGERPRINT, FeatureCache, MeasuredFeatures

OnMeasured = Callable[[str, int, int], None]  # called with what is measured, how many images are done, and of how many

log = logging.getLogger("edm_sweep")


@dataclass(frozen=True)
class References:
    """Features and statistics of real images in one feature space, computed when first needed and kept in the store.

    code: that measures them from here on. on_wait: called while another process computes them. read: the references
    that were read already.
    """

    store: Store
    source: DataSource
    space: FeatureSpace
    extractor: Extractor
    data: Dataset
    device: torch.device
    code: Code = field(default_factory=dict)
    on_measured: OnMeasured = lambda _what, _done, _total: None
    on_phase: Callable[[str], None] = lambda _phase: None  # called with what is done that is not counted
    read: dict[tuple[Subset, int], Reference] = field(default_factory=dict)

    def on_wait(self) -> None:
        """Report that another trial measures the same."""
        self.on_phase("waiting for reference statistics")

    def count(self, subset: Subset) -> int:
        """Return the number of images of a split, or of pure noise."""
        if subset == "noise":
            return noise_images(self.space)
        return len(self.data.splits[subset])

    def order(self, split: Split) -> Tensor:
        """Return the indices of a split's images in a fixed random order, of which any prefix is a fair sample."""
        indices = self.data.indices(split)
        return indices[permutation(0, 0, len(indices))]

    def _cache(self, subset: Subset) -> FeatureCache:
        identity = self.space.reference(self.source, subset)
        return FeatureCache(
            self.store.folder("references", identity) / FEATURES, self.extractor, self.space.label, self.code
        )

    def is_missing(self, subset: Subset, start: int, stop: int) -> bool:
        """Return whether the segment of images start to stop - 1 is not measured yet."""
        return self._cache(subset).find(start, stop - start) is None

    def features(self, subset: Subset, start: int, stop: int) -> MeasuredFeatures:
        """Return the features of images start to stop - 1 of a split, in its order."""
        identity = self.space.reference(self.source, subset)
        cache = self._cache(subset)
        with self.store.lock("references", identity, self.on_wait):
            for first, last in segments(start, stop):
                if cache.find(first, last - first) is None:
                    whole = segment_stop(first, self.count(subset))
                    what = f"real images ({subset})" if subset != "noise" else subset

                    def on_batch(done: int, what: str = what, first: int = first) -> None:
                        self.on_measured(what, first + done, stop)

                    cache.measure(first, self._images(subset, first, whole), self.device, on_batch=on_batch)
            return cache.measured(start, stop)

    def _images(self, subset: Subset, start: int, stop: int) -> Tensor:
        if subset == "noise":
            shape = (self.source.channels, self.source.resolution, self.source.resolution)
            return to_uint8(normals(0, Stream.BASELINE, torch.arange(start, stop), shape))
        return self.data.images[self.order(subset)[start:stop]]

    def reference(self, subset: Subset, count: int) -> Reference:
        """Return the mean, covariance and its factor of the first `count` images."""

        def make(real: MeasuredFeatures) -> dict[str, Tensor]:
            return Reference.of(real.statistics()).tensors()

        if (subset, count) not in self.read:
            kept = self._kept(subset, f"statistics-{count:08d}", make, count)
            self.read[subset, count] = Reference.from_tensors(kept)
        return self.read[subset, count]

    def radii(self, subset: Subset, count: int, k: int) -> Tensor:
        """Return the squared distance of each of the first `count` images to its k-th nearest among them."""

        def make(real: MeasuredFeatures) -> dict[str, Tensor]:
            return {"radii": squared_radii(real, k, self.device)}

        return self._kept(subset, f"radii-{k}-{count:08d}", make, count)["radii"]

    def kernel_mean(self, subset: Subset, count: int) -> float:
        """Return the mean of the kernel of KID over all pairs of the first `count` images."""

        def make(real: MeasuredFeatures) -> dict[str, Tensor]:
            return {"mean": torch.tensor(mean_kernel(real, self.device), dtype=torch.float64)}

        return float(self._kept(subset, f"kernel-{count:08d}", make, count)["mean"])

    def _kept(
        self, subset: Subset, stem: str, make: Callable[[MeasuredFeatures], dict[str, Tensor]], count: int
    ) -> dict[str, Tensor]:
        """Return tensors that `make` computes from the first `count` images, once for each extractor."""
        identity = self.space.reference(self.source, subset)
        folder, stem = self.store.folder("references", identity), f"{stem}-{self.extractor.fingerprint[:12]}"
        tensors = load_checksummed(folder, stem)
        if tensors is not None:
            return tensors
        real = self.features(subset, 0, count)  # before the lock, which it takes as well
        with self.store.lock("references", identity, self.on_wait):
            tensors = load_checksummed(folder, stem)  # another worker may have been faster
            if tensors is None:
                log.info("computing %s of the %s images", stem, subset)
                made = make(real)
                write_checksummed(folder, stem, made, {FINGERPRINT: self.extractor.fingerprint})
                # read back, as by all who come later: how a matrix lies in memory decides the last bit of a product
                tensors = load_checksummed(folder, stem) or made
            return tensors
