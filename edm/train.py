"""Training: a state that can be saved after any step, and the loop as a generator, so that callers log and decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from edm.batch_norm import STATISTICS_BATCHES, StatisticsBackup, recompute_statistics, synchronise_norms
from edm.batches import Batch, Batches, BatchSource, TrainingSet
from edm.config import Extension, NetworkConfig, Precision, TrainingConfig
from edm.ema import Ema, PowerEma
from edm.extension import extensions_in
from edm.kernels.available import have_kernels, torch_only
from edm.learning_rate import inverse_sqrt
from edm.loss import WEIGHTINGS, denoising_loss, uncertain
from edm.networks.build import start
from edm.networks.compiling import can_compile, compile_network
from edm.networks.device import autocast, on_device
from edm.networks.edm2 import normalise_weights
from edm.noise import Stream, generator, uniforms
from edm.parallel import ALONE, Team, averaging_gradients
from edm.precondition import Denoiser
from edm.registry import Registration, Registry, as_it_is
from edm.step_graph import GpuRecorder, ReplayedFunction, replays_follow_seeds, seeded
from edm.transfer import transfer

Loss = Callable[..., Tensor]  # (denoiser, images, labels, sigma, noise, augment_labels) -> one number for each image
COMPILE_STEPS = 10_000  # with fewer steps, torch.compile takes longer than it saves: 50 s against 6 ms a step
GRAPH_STEPS = 50  # the same of a CUDA graph


@dataclass(frozen=True)
class Computing:
    """How a device computes a training: chosen to suit the device and recorded with the result, not configured.

    precision: of the network's arithmetic. compiled: by torch.compile. fused: whether the optimizer is. micro_batch:
    images that go through the network at once, on all devices together, None for the whole batch; smaller than
    configured where memory does not suffice. graphed: whether a GPU gets a step's gradient as one CUDA graph. kernels:
    whether steps may use the kernels of edm/kernels.
    """

    precision: Precision
    compiled: bool
    fused: bool = True
    micro_batch: int | None = None
    graphed: bool = False
    kernels: bool = False

    def __str__(self) -> str:
        """Describe it in a log line."""
        parts = [str(self.precision), "compiled" if self.compiled else "not compiled"]
        if self.graphed:
            parts.append("as a CUDA graph")
        if self.kernels:
            parts.append("kernels of our own")
        if self.micro_batch is not None:
            parts.append(f"{self.micro_batch} images at once")
        return ", ".join(parts)

    @classmethod
    def choose(
        cls, config: TrainingConfig, device: torch.device, compiled: bool | None = None, graphed: bool = True
    ) -> Computing:
        """Return what `config` says, and for what it leaves open the best choice for `device`.

        compiled: overrides that choice for torch.compile. graphed: False rules out CUDA graphs.
        """
        gpu = device.type == "cuda"
        precision = config.precision
        if precision == "auto":
            precision = "fp32"
            if gpu:
                precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        if compiled is None:  # on a CPU, compiling took minutes and gained nothing
            compiled = gpu and config.num_steps >= COMPILE_STEPS and can_compile(device.type)
        # fp16 scales the loss by a number that changes from step to step
        graphed = graphed and gpu and precision != "fp16" and config.num_steps >= GRAPH_STEPS
        kernels = have_kernels(device)
        return cls(precision, compiled, micro_batch=config.micro_batch, graphed=graphed, kernels=kernels)


class Objective(nn.Module):
    """The loss of every image of a batch, as a module, because DistributedDataParallel wraps modules."""

    def __init__(self, denoiser: Denoiser, config: TrainingConfig) -> None:
        super().__init__()
        self.denoiser, self.loss = denoiser, LOSSES[config.loss](config)

    def forward(self, batch: Batch) -> Float[Tensor, " b"]:
        """Return the loss of each image."""
        augment_labels = batch.augment_labels if batch.augment_labels.shape[1] else None
        return self.loss(self.denoiser, batch.images, batch.labels, batch.sigma, batch.noise, augment_labels)


def _denoising(config: TrainingConfig) -> Loss:
    return partial(denoising_loss, weight=WEIGHTINGS[config.weighting](config))


def _uncertain(config: TrainingConfig) -> Loss:
    weighted = _denoising(config)

    def loss(
        denoiser: Denoiser, images: Tensor, labels: Tensor, sigma: Tensor, noise: Tensor, augment_labels: Tensor | None
    ) -> Tensor:
        return uncertain(weighted(denoiser, images, labels, sigma, noise, augment_labels), denoiser, sigma)

    return loss


OWN_LOSSES: dict[str, Callable[[TrainingConfig], Loss]] = {"denoising": _denoising, "uncertainty": _uncertain}
LOSSES = Registry(OWN_LOSSES, as_it_is)


class TrainState:
    """Everything that a training carries from one step to the next: weights, averages, optimizer and step number.

    network, config, sigma_data, seed: what to train. device, computing, team: where and how; in a team, every process
    has an equal state of its own. trained: the network whose weights it begins with, in place of random ones.
    """

    def __init__(
        self,
        network: NetworkConfig,
        config: TrainingConfig,
        sigma_data: float,
        seed: int,
        device: torch.device,
        computing: Computing | None = None,
        team: Team = ALONE,
        trained: Denoiser | None = None,
    ) -> None:
        self.config = config
        self.seed = seed
        self.device = device
        self.computing = computing or Computing.choose(config, device)
        self.team = team
        self.step = 0
        # code of an extension, such as a loss, may draw numbers of its own
        self.draws_masks = network.dropout > 0 or any(extensions_in((network, config)))
        weights = generator(seed, Stream.WEIGHTS)
        denoiser = Denoiser(network, sigma_data, start(network, weights))
        if denoiser.uncertainty is not None:
            denoiser.uncertainty.initialise(weights)
        if trained is not None:
            transfer(trained, denoiser)
        self.denoiser = on_device(denoiser, device).train()
        self.ema = Ema(self.denoiser, config.ema_halflife_kimg, config.ema_rampup)
        self.power = PowerEma(self.denoiser, config.power_ema)
        self.optimizer = OPTIMIZERS[config.optimizer](self.denoiser, config, self.computing.fused)
        self.lr_factor = LR_SCHEDULES[config.lr_schedule](config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.computing.precision == "fp16")
        if team.size > 1:
            synchronise_norms(self.denoiser, team)  # not those of the average, which only the first process evaluates
        if self.computing.compiled:
            compile_network(self.denoiser.network)
        if self.computing.graphed and not self._fits_graph(network):
            self.computing = replace(self.computing, graphed=False)
        self.objective: nn.Module = Objective(self.denoiser, config)
        if team.size > 1:
            self.objective = averaging_gradients(self.objective)

    @property
    def kimg(self) -> float:
        """Thousands of images seen."""
        return self.config.kimg_after(self.step)

    def tensors(self) -> dict[str, Tensor]:
        """Return the whole state by name, for a checkpoint."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= {f"model.{name}": value for name, value in self.denoiser.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.module.state_dict().items()}
        tensors |= {f"power.{name}": value for name, value in self.power.tensors().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            for name, value in moments.items():
                if isinstance(value, bool | int | float):
                    tensors[f"number.{index}.{name}"] = _exact(value)
                elif value is not None:
                    tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
        tensors |= {f"group.{name}": value for name, value in _numbers_of_groups(self.optimizer).items()}
        scaling = self.scaler.state_dict()  # empty unless it scales
        return tensors | {f"scaler.{name}": torch.tensor(value) for name, value in scaling.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state that `tensors` returned."""
        self.step = int(tensors["step"])
        self.denoiser.load_state_dict(_with_prefix("model.", tensors))
        self.ema.module.load_state_dict(_with_prefix("ema.", tensors))
        self.power.load(_with_prefix("power.", tensors))
        for name, value in _with_prefix("group.", tensors).items():
            index, key = name.split(".")
            group = self.optimizer.param_groups[int(index)]
            group[key] = value.to(self.device) if isinstance(group.get(key), Tensor) else value.item()
        self._load_moments(_with_prefix("optimizer.", tensors), _with_prefix("number.", tensors))
        scaling = _with_prefix("scaler.", tensors)
        if scaling:
            self.scaler.load_state_dict({name: value.item() for name, value in scaling.items()})

    def synchronise(self) -> None:
        """Copy the state of the first process to the whole team."""
        if self.team.size == 1:
            return
        tensors = self.team.broadcast(self.tensors(), self.device)
        if self.team.rank > 0:
            self.load(tensors)

    def _fits_graph(self, network: NetworkConfig) -> bool:
        """Return whether a step is a GPU's work alone, whose dropout masks are others in every replay."""
        if self.team.size > 1 or any(extensions_in((network, self.config))):
            return False
        if network.dropout == 0:
            return True
        return self.num_parts == 1 and replays_follow_seeds(GpuRecorder(self.device), self.device)

    @property
    def num_parts(self) -> int:
        """Number of micro-batches per step, whose gradients add up."""
        return self.config.batch_size // (self.computing.micro_batch or self.config.batch_size)

    def _load_moments(self, tensors: dict[str, Tensor], numbers: dict[str, Tensor]) -> None:
        """Restore an optimizer's state. numbers: what it keeps as Python's numbers, such as its steps."""
        parameters = list(self.denoiser.parameters())
        moments: dict[int, dict[str, Tensor | bool | int | float]] = {}
        for name, value in tensors.items():
            index, key = name.split(".")
            # the fused optimizer walks raw memory: moments need the memory layout of their parameter
            own = parameters[int(index)]
            like = own if value.shape == own.shape and key != "step" else value
            value = torch.empty_like(like).copy_(value)
            moments.setdefault(int(index), {})[key] = value
        for name, value in numbers.items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value.item()
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})


MakeOptimizer = Callable[[nn.Module, TrainingConfig, bool], torch.optim.Optimizer]  # the last: whether it may be fused


def _adam(module: nn.Module, config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(module.parameters(), lr=config.lr, fused=fused)


def _adamw(module: nn.Module, config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def _optimizer_of_extension(registration: Registration, extension: Extension) -> MakeOptimizer:
    function = registration.bound(extension)
    return lambda module, config, fused: function(list(module.parameters()), config.lr)


OWN_OPTIMIZERS: dict[str, MakeOptimizer] = {"adam": _adam, "adamw": _adamw}
OPTIMIZERS = Registry(OWN_OPTIMIZERS, _optimizer_of_extension)
OWN_LR_SCHEDULES: dict[str, Callable[[TrainingConfig], Callable[[float, float], float]]] = {
    "constant": lambda config: lambda kimg, total_kimg: 1.0,
    "inverse_sqrt": lambda config: lambda kimg, total_kimg: inverse_sqrt(kimg, config.lr_decay_kimg),
}
LR_SCHEDULES = Registry(OWN_LR_SCHEDULES, as_it_is)


def _numbers_of_groups(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the numbers by which groups of parameters differ from the optimizer's defaults, except learning rates.

    Some optimizers keep what they have estimated there, such as the step size of Prodigy.
    """
    numbers: dict[str, Tensor] = {}
    for index, group in enumerate(optimizer.param_groups):
        for name, value in group.items():
            is_tensor = isinstance(value, Tensor)
            is_number = isinstance(value, bool | int | float) and value != optimizer.defaults.get(name)
            if name != "lr" and (is_tensor or is_number):
                numbers[f"{index}.{name}"] = value if is_tensor else _exact(value)
    return numbers


def _exact(number: bool | int | float) -> Tensor:
    """Return a tensor whose item() is exactly a number, of its type."""
    return torch.tensor(number, dtype=torch.float64 if isinstance(number, float) else None)


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def train(state: TrainState, data: TrainingSet) -> Iterator[Float[Tensor, ""]]:
    """Train from `state.step` to the last step of its configuration, yielding the mean loss after every step.

    The loss stays on the device. After any step the state may be saved, or the generator dropped. If computing a
    gradient fails, the state is as before that step and can be trained on with a smaller micro-batch. In a team every
    process calls this, and all begin with the state of the first.
    """
    state.synchronise()
    gradient = _gradient_of_steps(state, data)
    statistics = StatisticsBackup(state.denoiser)
    while state.step < state.config.num_steps:
        with statistics.restored_on_error():
            loss = gradient(state.step)
        _step_optimizer(state)
        state.ema.update(state.denoiser, state.config.batch_size, state.kimg)
        state.step += 1
        state.power.update(state.denoiser, state.step)
        yield loss


def _gradient_of_steps(state: TrainState, data: TrainingSet) -> Callable[[int], Float[Tensor, ""]]:
    """Return a function that computes the gradient of the mean loss of a step's batch and returns that loss."""
    batches = Batches(data, state.config, state.seed, state.denoiser.null_label)

    def computed(*source: Tensor) -> Tensor:
        with torch_only(not state.computing.kernels):
            return _compute_gradient(state, batches.made(BatchSource(*source)))

    def without_graph(_reason: str) -> None:  # results say how they were computed
        state.computing = replace(state.computing, graphed=False)

    graphed = state.computing.graphed
    compute = ReplayedFunction(computed, GpuRecorder(state.device), without_graph) if graphed else computed

    def gradient(step: int) -> Tensor:
        source = batches.team_share(step, state.team, state.num_parts)
        with _seeded_dropout(state, 0):  # here, as a graph reads its seed when it is replayed
            return compute(*source)

    return gradient


def _compute_gradient(state: TrainState, batch: Batch) -> Float[Tensor, ""]:
    """Compute the gradient of the mean loss of a batch, one micro-batch at a time; return that loss."""
    state.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=state.device)
    parts = batch.parts(len(batch.images) // state.num_parts)
    for number, part in enumerate(parts):
        with _gradient_exchange(state, number == len(parts) - 1):
            seeded_part = _seeded_dropout(state, number) if number > 0 else nullcontext()
            with seeded_part, autocast(state.computing.precision, state.device):
                losses = state.objective(part)
            loss = losses.mean() / len(parts)
            scaled = cast(Tensor, state.scaler.scale(loss))
            torch.autograd.backward(scaled)
        total += loss.detach()
    return state.team.mean(total)


def _gradient_exchange(state: TrainState, last: bool) -> AbstractContextManager[None]:
    """Exchange gradients with the team only in the `last` micro-batch of a step."""
    objective = state.objective
    return nullcontext() if last or not isinstance(objective, DistributedDataParallel) else objective.no_sync()


def _seeded_dropout(state: TrainState, number: int) -> AbstractContextManager[None]:
    """Draw dropout masks from (seed, step, micro-batch) inside the block."""
    if not state.draws_masks:
        return nullcontext()
    own = state.team.rank * state.num_parts + number
    seed = uniforms(state.seed, Stream.DROPOUT, torch.tensor([state.step]), own)[0]
    return seeded(int(seed * 2**32), state.device)


def _step_optimizer(state: TrainState) -> None:
    """Take a step of the optimizer, with the learning rate of the moment and the gradient clipped."""
    config = state.config
    warmth = min(1.0, state.kimg / config.warmup_kimg) if config.warmup_kimg else 1.0
    for group in state.optimizer.param_groups:
        group["lr"] = config.lr * warmth * state.lr_factor(state.kimg, config.total_kimg)
    if config.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.denoiser.parameters(), config.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    normalise_weights(state.denoiser)


def averaged_model(state: TrainState, data: TrainingSet, num_batches: int = STATISTICS_BATCHES) -> Denoiser:
    """Return the model to sample from: averaged weights, with batch-norm statistics recomputed for them.

    What else a network keeps in buffers, such as statistics of an extension's own, is that of the latest step.
    """
    model = state.ema.module
    assert isinstance(model, Denoiser)
    for own, latest in zip(model.buffers(), state.denoiser.buffers(), strict=True):
        own.copy_(latest)
    config = replace(state.config, micro_batch=state.computing.micro_batch)  # a larger one may not fit into memory
    return recompute_statistics(model, data, config, state.seed, state.step, num_batches)
