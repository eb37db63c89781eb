"""Trains the small classifier whose features compare images where no published network is at hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from edm.batches import TrainingSet
from edm.config import ClassifierConfig, Precision
from edm.data.dataset import Dataset
from edm.ema import move_towards
from edm.metrics.features import Classifier
from edm.networks.device import autocast, on_device
from edm.networks.initialise import initialise
from edm.noise import Stream, generator, permutation
from edm.step_graph import GpuRecorder, ReplayedFunction

WARMUP_STEPS = 50
AVERAGE_POWER = 8  # of the average of the weights: about the last ninth of all steps counts (EDM2, equation 4)
WEIGHT_DECAY, LABEL_SMOOTHING = 1e-2, 0.05
MOST_HELD_OUT = 10_000  # images that a check looks at
CHECKED_AT_ONCE = 500  # images


class ClassifierTraining:
    """A classifier, its optimizer and how far its training is: all that resuming it bit for bit needs.

    num_images: of the train split. step: steps done. model: what steps are taken on. average: the average of its
    weights, which is checked and in the end used. gradient: computes that of a batch, on a GPU as one CUDA graph.
    best: the averaged weights of the best check so far, by name. best_accuracy: theirs. checks: how many there were.
    gainless: how many of the last ones brought no gain.
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
        self.config, self.device = config, torch.device(device)
        self.step = self.checks = self.gainless = 0
        self.best_accuracy = 0.0
        self.batch_size = config.batch_of(num_images)
        self.steps_per_epoch = num_images // self.batch_size
        self.steps_per_check = config.steps_per_check(num_images)
        model = Classifier(config, image_channels, resolution, num_classes)
        initialise(model, generator(config.seed, Stream.CLASSIFIER))
        self.model = on_device(model, self.device)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.best = _copied(self.average)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.lr, weight_decay=WEIGHT_DECAY, fused=self.device.type == "cuda"
        )
        self._values = _floating(self.average), _floating(self.model)  # batch norm's statistics as well
        self.gradient: Callable[..., Tensor] = self.compute_gradient
        if self.device.type == "cuda":
            self.gradient = ReplayedFunction(self.compute_gradient, GpuRecorder(self.device))

    @property
    def ended(self) -> bool:
        """Whether it got no better for as long as its configuration says, or had as many checks as there may be."""
        return self.gainless >= self.config.patience or self.checks >= self.config.most_checks

    @property
    def check_is_due(self) -> bool:
        """Whether the accuracy is to be measured before the next step."""
        return self.step == (self.checks + 1) * self.steps_per_check

    @property
    def images_seen(self) -> int:
        """Images that the steps so far have seen."""
        return self.step * self.batch_size

    @property
    def images_in_all(self) -> int:
        """Images that all steps will have seen, unless it gets better still."""
        checks = max(self.checks + self.config.patience - self.gainless, self.config.expected_checks)
        return min(checks, self.config.most_checks) * self.steps_per_check * self.batch_size

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state by name, for a checkpoint."""
        tensors = {name: torch.tensor(getattr(self, name)) for name in ("step", "checks", "gainless")}
        tensors["best_accuracy"] = torch.tensor(self.best_accuracy, dtype=torch.float64)
        for part, weights in self._weights().items():
            tensors |= {f"{part}.{name}": value for name, value in weights.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `tensors` returned."""
        self.step, self.checks, self.gainless = (int(tensors[name]) for name in ("step", "checks", "gainless"))
        self.best_accuracy = float(tensors["best_accuracy"])
        for part, weights in self._weights().items():
            for name, value in weights.items():
                value.copy_(tensors[f"{part}.{name}"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, moment = name.split(".")
                moments.setdefault(int(index), {})[moment] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {"model": self.model.state_dict(), "average": self.average.state_dict(), "best": self.best}

    def take_step(self, images: UInt8[Tensor, "b c h w"], labels: Int64[Tensor, " b"]) -> None:
        """Take one gradient step and move the average of the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * min(1.0, (self.step + 1) / WARMUP_STEPS)
        self.gradient(images, labels)
        self.optimizer.step()  # pyright: ignore[reportUnknownMemberType] - torch leaves its closure untyped
        self.step += 1
        share = 1 - (1 - 1 / (self.step + 1)) ** AVERAGE_POWER
        with torch.no_grad():
            move_towards(*self._values, share)

    def compute_gradient(self, images: UInt8[Tensor, "b c h w"], labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Compute the gradient of the loss of a batch, and return that loss."""
        self.optimizer.zero_grad()
        with autocast(_precision(self.device), self.device):
            scores = self.model.train()(images)[1]
        loss = F.cross_entropy(scores.float(), labels, label_smoothing=LABEL_SMOOTHING)
        torch.autograd.backward(loss)
        return loss.detach()

    def take_in(self, accuracy: float) -> None:
        """Take in the accuracy of a check, and keep the averaged weights if they are the best so far."""
        self.checks, self.gainless = self.checks + 1, self.gainless + 1
        if accuracy > self.best_accuracy:
            self.best_accuracy, self.best, self.gainless = accuracy, _copied(self.average), 0

    def trained(self) -> Classifier:
        """Return the classifier with the best weights that it has had."""
        classifier = copy.deepcopy(self.average)
        classifier.load_state_dict(self.best)
        return classifier


def train_classifier(state: ClassifierTraining, data: Dataset) -> Iterator[None]:
    """Train a classifier from where it is until it gets no better; yield after every step and during checks.

    Only `config.seed` decides the order of the images.
    """
    images = TrainingSet.of(data, state.device)
    held_out = TrainingSet.of(data, state.device, "val")
    epoch, order = -1, torch.arange(0)
    while not state.ended:
        if state.check_is_due:
            yield from _check(state, held_out)
            continue
        this_epoch, number = divmod(state.step, state.steps_per_epoch)
        if this_epoch != epoch:
            epoch, order = this_epoch, permutation(state.config.seed, this_epoch, len(images))
        state.take_step(*images.at(order[number * state.batch_size : (number + 1) * state.batch_size]))
        yield


def _check(state: ClassifierTraining, held_out: TrainingSet) -> Iterator[None]:
    """Measure the accuracy on held-out images, which a checkpoint taken meanwhile does not know of."""
    chosen = torch.arange(0, len(held_out), -(-len(held_out) // MOST_HELD_OUT))
    correct = torch.zeros((), dtype=torch.int64, device=state.device)
    for positions in torch.split(chosen, CHECKED_AT_ONCE):
        images, labels = held_out.at(positions)
        with torch.no_grad(), autocast(_precision(state.device), state.device):
            correct += (state.average(images)[1].argmax(dim=1) == labels).sum()
        yield
    state.take_in(int(correct) / len(chosen))


def _precision(device: torch.device) -> Precision:
    """Return what the network computes in while it trains; its features are always taken in float32."""
    return "bf16" if device.type == "cuda" else "fp32"


def _floating(module: nn.Module) -> list[Tensor]:
    return [value for value in module.state_dict().values() if value.is_floating_point()]


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}
