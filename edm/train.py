"""Training: a state that can be saved at any step, and the loop as a generator, so that the caller logs and decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from edm.config import NetworkConfig, TrainingConfig
from edm.data.prepare import to_unit
from edm.ema import Ema
from edm.loss import denoising_loss
from edm.network import initialise, on_device
from edm.noise import Stream, generator, normals, permutation, training_sigmas, uniforms
from edm.precondition import Denoiser

STATISTICS_BATCHES = 64  # over which batch-norm statistics of averaged weights are computed anew


@dataclass(frozen=True)
class TrainingSet:
    """The train split as the loop wants it: uint8 images and labels on the training device."""

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]

    def to(self, device: torch.device) -> TrainingSet:
        """The same on `device`."""
        return TrainingSet(self.images.to(device), self.labels.to(device))


class TrainState:
    """Everything that a training carries from one step to the next: weights, their average, the optimizer, the step."""

    def __init__(
        self, network: NetworkConfig, config: TrainingConfig, sigma_data: float, seed: int, device: torch.device
    ) -> None:
        self.config = config
        self.seed = seed
        self.device = device
        self.step = 0
        self.denoiser = Denoiser(network, sigma_data)
        initialise(self.denoiser, generator(seed, Stream.WEIGHTS))
        self.denoiser = on_device(self.denoiser, device).train()
        self.ema = Ema(self.denoiser, config.ema_halflife_kimg)
        self.optimizer = torch.optim.Adam(self.denoiser.parameters(), lr=config.lr, fused=True)

    @property
    def kimg(self) -> float:
        """Thousands of images seen."""
        return self.step * self.config.batch_size / 1000

    def tensors(self) -> dict[str, Tensor]:
        """All of the state by name, for a checkpoint."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= {f"model.{name}": value for name, value in self.denoiser.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.module.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take on the state that `tensors` returned."""
        self.step = int(tensors["step"])
        self.denoiser.load_state_dict(_under("model.", tensors))
        self.ema.module.load_state_dict(_under("ema.", tensors))
        parameters = list(self.denoiser.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            index, key = name.split(".")
            if key != "step":  # the fused optimizer walks raw memory: moments must lie as their parameter does
                value = torch.empty_like(parameters[int(index)]).copy_(value)
            moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class Batch:
    """What one step sees."""

    images: Float[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    sigma: Float[Tensor, " b"]
    noise: Float[Tensor, "b c h w"]


class Batches:
    """The batch of any step: a pure function of (seed, step), whatever was or was not drawn before."""

    def __init__(self, data: TrainingSet, config: TrainingConfig, seed: int, null_label: int) -> None:
        self.data, self.config, self.seed, self.null_label = data, config, seed, null_label
        self._orders: dict[int, Tensor] = {}

    def __getitem__(self, step: int) -> Batch:
        config, seed = self.config, self.seed
        # positions in the endless stream of training images; noise hangs on the position, not on the batch
        index = torch.arange(step * config.batch_size, (step + 1) * config.batch_size)
        chosen = self._images_at(index).to(self.data.images.device)
        index = index.to(self.data.images.device)
        images = to_unit(self.data.images[chosen])
        dropped = uniforms(seed, Stream.LABEL_DROPOUT, index) < config.label_dropout
        z = normals(seed, Stream.TRAINING_SIGMA, index)
        return Batch(
            images=images,
            labels=self.data.labels[chosen].masked_fill(dropped, self.null_label),
            sigma=training_sigmas(z, config.p_mean, config.p_std),
            noise=normals(seed, Stream.TRAINING_NOISE, index, tuple(images.shape[1:])),
        )

    def _images_at(self, index: Int64[Tensor, " b"]) -> Int64[Tensor, " b"]:
        num = len(self.data.images)
        epochs = range(int(index[0]) // num, int(index[-1]) // num + 1)
        orders = torch.cat([self._order(epoch) for epoch in epochs])
        return orders[index - epochs.start * num]

    def _order(self, epoch: int) -> Int64[Tensor, " n"]:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}  # a batch may straddle two
            self._orders[epoch] = permutation(self.seed, epoch, len(self.data.images))
        return self._orders[epoch]


def train(state: TrainState, data: TrainingSet) -> Iterator[Float[Tensor, ""]]:
    """Train from `state.step` to the end of its configuration, yielding the mean loss after every step.

    The state may be saved, or the generator dropped, after any step. The loss stays on the device.
    """
    batches = Batches(data, state.config, state.seed, state.denoiser.null_label)
    batch_size = state.config.batch_size
    while state.step < state.config.num_steps:
        batch = batches[state.step]
        loss = denoising_loss(state.denoiser, batch.images, batch.labels, batch.sigma, batch.noise).mean()
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        state.ema.update(state.denoiser, batch_size, state.kimg)
        state.step += 1
        yield loss.detach()


@torch.no_grad()
def averaged_model(state: TrainState, data: TrainingSet) -> Denoiser:
    """The model to sample from: averaged weights, with batch-norm statistics of their own.

    The running statistics belong to the raw weights; these are computed over the batches that training would see next.
    """
    model = state.ema.module
    assert isinstance(model, Denoiser)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    batches = Batches(data, state.config, state.seed, model.null_label)
    for step in range(state.step, state.step + STATISTICS_BATCHES):
        batch = batches[step]
        noisy = batch.images + batch.sigma[:, None, None, None] * batch.noise
        model(noisy, batch.sigma, batch.labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
