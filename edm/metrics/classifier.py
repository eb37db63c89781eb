"""Trains the small classifier whose features compare images where no published network is at hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from edm.config import ClassifierConfig
from edm.data.dataset import Dataset
from edm.metrics.features import Classifier
from edm.networks.device import sent
from edm.networks.initialise import initialise
from edm.noise import Stream, generator, permutation

# one cycle of learning rate and momentum (Smith and Topin 2019), as torch's OneCycleLR has it by default
RISING, BELOW_HIGHEST, BELOW_FIRST = 0.3, 25.0, 1e4  # share of the steps; by which factors rates begin and end lower
MOMENTUM, LEAST_MOMENTUM = 0.95, 0.85


class ClassifierTraining:
    """A classifier, its optimizer and how far its training is: all that resuming it bit for bit needs.

    num_images: of the train split. step: steps done.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        image_channels: int,
        resolution: int,
        num_classes: int,
        num_images: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.device, self.step = config, torch.device(device), 0
        self.steps_per_epoch = num_images // config.batch_size
        self.num_steps = config.epochs * self.steps_per_epoch
        self.model = Classifier(config, image_channels, resolution, num_classes)
        initialise(self.model, generator(config.seed, Stream.CLASSIFIER))
        self.model.to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.lr, weight_decay=1e-2)

    @property
    def images_seen(self) -> int:
        """Images that the steps so far have seen."""
        return self.step * self.config.batch_size

    @property
    def images_in_all(self) -> int:
        """Images that all steps will have seen."""
        return self.num_steps * self.config.batch_size

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state by name, for a checkpoint."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `tensors` returned."""
        self.step = int(tensors["step"])
        prefix = "model."
        self.model.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def set_rates(self) -> None:
        """Give the optimizer the learning rate and the momentum of this step."""
        lr, momentum = one_cycle(self.step, self.num_steps, self.config.lr)
        for group in self.optimizer.param_groups:
            group["lr"], group["betas"] = lr, (momentum, group["betas"][1])


def train_classifier(state: ClassifierTraining, data: Dataset) -> Iterator[Float[Tensor, ""]]:
    """Train a classifier on the train split from where it is to the end; yield the loss after every step.

    Only `config.seed` decides the order of the images. They are read batch by batch, as they may not fit into memory.
    """
    rows = data.indices("train")
    size, device = state.config.batch_size, state.device
    while state.step < state.num_steps:
        epoch, first = divmod(state.step, state.steps_per_epoch)
        order = rows[permutation(state.config.seed, epoch, len(rows))]
        for index in range(first, state.steps_per_epoch):
            chosen = order[index * size : (index + 1) * size]
            state.model.train()
            state.set_rates()
            scores = state.model(sent(data.images[chosen], device))[1]
            loss = F.cross_entropy(scores, sent(data.labels[chosen], device), label_smoothing=0.05)
            state.optimizer.zero_grad()
            torch.autograd.backward(loss)
            state.optimizer.step()  # pyright: ignore[reportUnknownMemberType] - torch leaves its closure untyped
            state.step += 1
            yield loss.detach()


def one_cycle(step: int, num_steps: int, highest: float) -> tuple[float, float]:
    """Return the learning rate and the momentum of a step: rates rise to `highest`, then fall to nearly nothing."""
    peak, last = RISING * max(num_steps, 2) - 1, max(num_steps, 2) - 1
    lowest = highest / BELOW_HIGHEST
    if step <= peak:
        along = step / peak
        return _cosine(lowest, highest, along), _cosine(MOMENTUM, LEAST_MOMENTUM, along)
    along = (step - peak) / (last - peak)
    return _cosine(highest, lowest / BELOW_FIRST, along), _cosine(LEAST_MOMENTUM, MOMENTUM, along)


def _cosine(start: float, end: float, along: float) -> float:
    return end + (start - end) / 2 * (math.cos(math.pi * along) + 1)
