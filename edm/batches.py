"""Training images, and the batches drawn from them, each a pure function of seed and step."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from edm.augment import AUGMENTATIONS, flip
from edm.config import Split, TrainingConfig
from edm.data.dataset import Dataset, to_unit
from edm.networks.device import sent
from edm.noise import DISTRIBUTIONS, Stream, normals, permutation, uniforms
from edm.parallel import Team
from edm.typed_torch import normal_quantile

RESIDENT_SHARE = 0.4  # of a GPU's free memory; a larger train split stays in host memory
CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingSet:
    """The images of a split, to train on or to measure on.

    images, labels: uint8 images and class ids. rows: indices of those to use; None for all. device: where batches go.
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    rows: Int64[Tensor, " m"] | None = None
    device: torch.device = CPU

    @classmethod
    def of(cls, data: Dataset, device: torch.device, split: Split = "train") -> TrainingSet:
        """Return a split of `data`, on `device` if that is a GPU with enough memory, else memory-mapped."""
        rows = data.indices(split)
        size = len(rows) * data.images[0].numel()
        if device.type == "cuda" and size < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            return cls(data.images[rows].to(device), data.labels[rows].to(device), None, device)
        return cls(data.images, data.labels, rows, device)

    def __len__(self) -> int:
        return len(self.images if self.rows is None else self.rows)

    def at(self, positions: Int64[Tensor, " b"]) -> tuple[UInt8[Tensor, "b c h w"], Int64[Tensor, " b"]]:
        """Return images and labels at some positions of the split, on `device`."""
        rows = sent(positions if self.rows is None else self.rows[positions], self.images.device)
        return sent(self.images[rows], self.device), sent(self.labels[rows], self.device)


class BatchSource(NamedTuple):
    """What a batch is made from on the device; all else follows from the configuration and the seed.

    pixels, labels: uint8 images and class ids. indices: positions in the endless stream of training images. places:
    positions in the batch.
    """

    pixels: UInt8[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    indices: Int64[Tensor, " b"]
    places: Int64[Tensor, " b"]


@dataclass(frozen=True)
class Batch:
    """The inputs of one training step.

    images: in [-1, 1]. labels: class ids, some replaced by "no label". sigma: noise levels. noise: standard normal.
    augment_labels: how images were augmented (edm/augment.py); no columns where augmentation is off.
    """

    images: Float[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    sigma: Float[Tensor, " b"]
    noise: Float[Tensor, "b c h w"]
    augment_labels: Float[Tensor, "b a"]

    def parts(self, size: int | None) -> list[Batch]:
        """Split into micro-batches of `size` images, None for one; each gets evenly spaced images, and so sigmas."""
        num = 1 if size is None else len(self.images) // size
        return [Batch(**{f.name: getattr(self, f.name)[i::num] for f in fields(self)}) for i in range(num)]


class Batches:
    """The batches of a training, by step: pure functions of (seed, step), whatever was drawn before.

    null_label: the class id that replaces dropped labels.
    """

    def __init__(self, data: TrainingSet, config: TrainingConfig, seed: int, null_label: int) -> None:
        self.data, self.config, self.seed, self.null_label = data, config, seed, null_label
        self._orders: dict[int, Tensor] = {}
        self._sigmas = DISTRIBUTIONS[config.noise_distribution](config)
        self._augment = AUGMENTATIONS[config.augmentation](config)

    def __getitem__(self, step: int) -> Batch:
        return self.made(self.source(step, torch.arange(self.config.batch_size)))

    def team_share(self, step: int, team: Team, num_parts: int) -> BatchSource:
        """Return this process's share of a batch: evenly spaced images of each of its `num_parts` micro-batches."""
        own = torch.arange(self.config.batch_size // team.size)
        whole, part = own // num_parts, own % num_parts
        return self.source(step, (whole * team.size + team.rank) * num_parts + part)

    def source(self, step: int, places: Int64[Tensor, " b"]) -> BatchSource:
        """Return the source of the part of a batch at `places`, which increase from 0 to batch_size - 1 at most."""
        # positions in the endless stream of training images; noise depends on these, not on the batch size
        index = step * self.config.batch_size + places
        pixels, labels = self.data.at(self._images_at(index))
        return BatchSource(pixels, labels, sent(index, self.data.device), sent(places, self.data.device))

    def made(self, source: BatchSource) -> Batch:
        """Make a batch; nothing in here depends on the step or waits for the device, so that it can be replayed."""
        config, seed, index = self.config, self.seed, source.indices
        images, augment_labels = self._augmented(to_unit(source.pixels), index)
        dropped = uniforms(seed, Stream.LABEL_DROPOUT, index) < config.label_dropout
        return Batch(
            images=images,
            labels=source.labels.masked_fill(dropped, self.null_label),
            sigma=self._sigmas(self._sigma_normals(index, source.places)),
            noise=normals(seed, Stream.TRAINING_NOISE, index, tuple(images.shape[1:])),
            augment_labels=augment_labels,
        )

    def _augmented(self, images: Float[Tensor, "b c h w"], index: Int64[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        if self.config.flip:
            images = flip(images, self.seed, index)
        return self._augment(images, self.seed, index)

    def _sigma_normals(self, index: Int64[Tensor, " b"], places: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return standard normal numbers; if stratified, one from each of equally likely intervals."""
        if not self.config.stratified:
            return normals(self.seed, Stream.TRAINING_SIGMA, index)
        within = uniforms(self.seed, Stream.TRAINING_SIGMA, index)
        return normal_quantile((places + within) / self.config.batch_size).float()

    def _images_at(self, index: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        """Return the images at positions of the stream, which goes through the split in a new order every epoch."""
        num = len(self.data)
        epochs = range(int(index[0]) // num, int(index[-1]) // num + 1)
        orders = [self._order(epoch) for epoch in epochs]
        joined = torch.cat(orders) if len(orders) > 1 else orders[0]  # copying a large order takes longer than a step
        return joined[index - epochs.start * num]

    def _order(self, epoch: int) -> Int64[Tensor, " n"]:
        if epoch not in self._orders:
            # a batch may span two epochs
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = permutation(self.seed, epoch, len(self.data))
        return self._orders[epoch]
