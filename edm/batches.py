"""Training images and the batches drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from edm.augment import augment, flip
from edm.config import TrainingConfig
from edm.data.dataset import Dataset, to_unit
from edm.noise import Stream, normals, permutation, training_sigmas, uniforms
from edm.parallel import Team

RESIDENT_SHARE = 0.4  # of a GPU's free memory: a larger train split stays in the host's
CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainingSet:
    """The train split as the loop wants it: uint8 images and labels, and what of them to use (all by default)."""

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    rows: Int64[Tensor, " m"] | None = None
    device: torch.device = CPU

    @classmethod
    def of(cls, data: Dataset, device: torch.device) -> TrainingSet:
        """The train split for training on `device`: resident there where it fits, else read from the prepared file."""
        rows = torch.as_tensor(data.splits["train"])
        size = len(rows) * data.images[0].numel()
        if device.type == "cuda" and size < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            return cls(data.images[rows].to(device), data.labels[rows].to(device), None, device)
        return cls(data.images, data.labels, rows, device)

    def __len__(self) -> int:
        return len(self.images if self.rows is None else self.rows)

    def at(self, positions: Int64[Tensor, " b"]) -> tuple[UInt8[Tensor, "b c h w"], Int64[Tensor, " b"]]:
        """Images and labels at some positions of the split, on `device`."""
        rows = (positions if self.rows is None else self.rows[positions]).to(self.images.device)
        return self.images[rows].to(self.device), self.labels[rows].to(self.device)


@dataclass(frozen=True)
class Batch:
    """What one step sees; augment_labels are zeros where nothing is augmented."""

    images: Float[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    sigma: Float[Tensor, " b"]
    noise: Float[Tensor, "b c h w"]
    augment_labels: Float[Tensor, "b a"]

    def parts(self, size: int | None) -> list[Batch]:
        """Micro-batches of `size`, each of images evenly spaced, so that stratified noise levels reach all alike."""
        num = 1 if size is None else len(self.images) // size
        return [Batch(**{f.name: getattr(self, f.name)[i::num] for f in fields(self)}) for i in range(num)]


class Batches:
    """The batch of any step: a pure function of (seed, step), whatever was or was not drawn before."""

    def __init__(self, data: TrainingSet, config: TrainingConfig, seed: int, null_label: int) -> None:
        self.data, self.config, self.seed, self.null_label = data, config, seed, null_label
        self._orders: dict[int, Tensor] = {}

    def __getitem__(self, step: int) -> Batch:
        return self.at(step, torch.arange(self.config.batch_size))

    def share(self, step: int, team: Team, num_parts: int) -> Batch:
        """What one of a team takes of a batch: as evenly spaced a share of each of its parts, in the same parts."""
        own = torch.arange(self.config.batch_size // team.size)
        whole, part = own // num_parts, own % num_parts
        return self.at(step, (whole * team.size + team.rank) * num_parts + part)

    def at(self, step: int, places: Int64[Tensor, " b"]) -> Batch:
        """The images at some places of the batch, in increasing order."""
        config, seed = self.config, self.seed
        # positions in the endless stream of training images; noise hangs on the position, not on the batch
        index = step * config.batch_size + places
        pixels, labels = self.data.at(self._images_at(index))
        index = index.to(self.data.device)
        images, augment_labels = self._augmented(to_unit(pixels), index)
        dropped = uniforms(seed, Stream.LABEL_DROPOUT, index) < config.label_dropout
        return Batch(
            images=images,
            labels=labels.masked_fill(dropped, self.null_label),
            sigma=training_sigmas(self._sigma_normals(index, places), config.p_mean, config.p_std),
            noise=normals(seed, Stream.TRAINING_NOISE, index, tuple(images.shape[1:])),
            augment_labels=augment_labels,
        )

    def _augmented(self, images: Float[Tensor, "b c h w"], index: Int64[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        if self.config.flip:
            images = flip(images, self.seed, index)
        if self.config.augment > 0:
            return augment(images, self.seed, index, self.config.augment)
        return images, images.new_zeros(len(images), 0)

    def _sigma_normals(self, index: Int64[Tensor, " b"], places: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Standard normal numbers; stratified, one from each of equally likely intervals."""
        if not self.config.stratified:
            return normals(self.seed, Stream.TRAINING_SIGMA, index)
        within = uniforms(self.seed, Stream.TRAINING_SIGMA, index)
        return torch.special.ndtri((places.to(index.device) + within) / self.config.batch_size).float()

    def _images_at(self, index: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        num = len(self.data)
        epochs = range(int(index[0]) // num, int(index[-1]) // num + 1)
        orders = torch.cat([self._order(epoch) for epoch in epochs])
        return orders[index - epochs.start * num]

    def _order(self, epoch: int) -> Int64[Tensor, " n"]:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}  # a batch may straddle two
            self._orders[epoch] = permutation(self.seed, epoch, len(self.data))
        return self._orders[epoch]
