"""Training: a state that can be saved at any step, and the loop as a generator, so that the caller logs and decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from edm.batches import Batch, Batches, TrainingSet
from edm.config import NetworkConfig, Precision, TrainingConfig
from edm.ema import Ema, PowerEma
from edm.loss import denoising_loss
from edm.networks.unet import computing_in, initialise, on_device
from edm.noise import Stream, generator, uniforms
from edm.parallel import ALONE, Team, sharing_gradients, synchronise_norms
from edm.precondition import Denoiser

STATISTICS_BATCHES = 64  # over which batch-norm statistics of averaged weights are computed anew
COMPILE_STEPS = 5000  # fewer steps than this are not worth the minutes that torch.compile takes


@dataclass(frozen=True)
class Computing:
    """How a device computes a training: chosen for it, recorded with the result, never part of what is asked for.

    micro_batch: images that go through the network at once, on all devices together; None is the whole batch. Below
    the configuration's where the memory of a device does not suffice for that.
    """

    precision: Precision
    compiled: bool
    fused: bool = True
    micro_batch: int | None = None

    def __str__(self) -> str:
        """For people."""
        parts = [str(self.precision), "compiled" if self.compiled else "not compiled"]
        if self.micro_batch is not None:
            parts.append(f"{self.micro_batch} images at once")
        return ", ".join(parts)

    @classmethod
    def choose(cls, config: TrainingConfig, device: torch.device, compiled: bool | None = None) -> Computing:
        """As the configuration says; what it leaves open as suits the device."""
        gpu = device.type == "cuda"
        precision = config.precision
        if precision == "auto":
            precision = "fp32"
            if gpu:
                precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        if compiled is None:  # on a CPU it took minutes and gained nothing
            compiled = gpu and config.num_steps >= COMPILE_STEPS
        return cls(precision, compiled, micro_batch=config.micro_batch)


class Objective(nn.Module):
    """The loss of every image of a batch, as a module: what torch wants of gradients that several devices share."""

    def __init__(self, denoiser: Denoiser, config: TrainingConfig) -> None:
        super().__init__()
        self.denoiser, self.config = denoiser, config

    def forward(self, batch: Batch) -> Float[Tensor, " b"]:
        """EDM's weighted loss, or as the configuration has it."""
        return denoising_loss(
            self.denoiser,
            batch.images,
            batch.labels,
            batch.sigma,
            batch.noise,
            batch.augment_labels if batch.augment_labels.shape[1] else None,
            self.config.weighting,
            self.config.min_snr_gamma,
        )


class TrainState:
    """Everything that a training carries from one step to the next: weights, averages, the optimizer, the step.

    In a team every process has one of its own, all the same.
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
    ) -> None:
        self.config = config
        self.seed = seed
        self.device = device
        self.computing = computing or Computing.choose(config, device)
        self.team = team
        self.step = 0
        self.denoiser = Denoiser(network, sigma_data)
        initialise(self.denoiser, generator(seed, Stream.WEIGHTS), network.init)
        self.denoiser = on_device(self.denoiser, device).train()
        self.ema = Ema(self.denoiser, config.ema_halflife_kimg)
        self.power = PowerEma(self.denoiser, config.power_ema)
        self.optimizer = _optimizer(self.denoiser, config, self.computing.fused)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.computing.precision == "fp16")
        if team.size > 1:
            synchronise_norms(self.denoiser, team)  # not those of the average, which one process looks at alone
        if self.computing.compiled:
            self.denoiser.network.compile()
        self.objective: nn.Module = Objective(self.denoiser, config)
        if team.size > 1:
            self.objective = sharing_gradients(self.objective)

    @property
    def kimg(self) -> float:
        """Thousands of images seen."""
        return self.step * self.config.batch_size / 1000

    def tensors(self) -> dict[str, Tensor]:
        """All of the state by name, for a checkpoint."""
        tensors = {"step": torch.tensor(self.step)}
        tensors |= {f"model.{name}": value for name, value in self.denoiser.state_dict().items()}
        tensors |= {f"ema.{name}": value for name, value in self.ema.module.state_dict().items()}
        tensors |= {f"power.{name}": value for name, value in self.power.tensors().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in moments.items()}
        scaling = self.scaler.state_dict()  # empty unless it scales
        return tensors | {f"scaler.{name}": torch.tensor(value) for name, value in scaling.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take on the state that `tensors` returned."""
        self.step = int(tensors["step"])
        self.denoiser.load_state_dict(_under("model.", tensors))
        self.ema.module.load_state_dict(_under("ema.", tensors))
        self.power.load(_under("power.", tensors))
        self._load_moments(_under("optimizer.", tensors))
        scaling = _under("scaler.", tensors)
        if scaling:
            self.scaler.load_state_dict({name: value.item() for name, value in scaling.items()})

    def share(self) -> None:
        """Have the whole team go on from the state of its first process."""
        if self.team.size == 1:
            return
        tensors = self.team.of_first(self.tensors(), self.device)
        if self.team.rank > 0:
            self.load(tensors)

    @property
    def num_parts(self) -> int:
        """Into how many parts, whose gradients add up, a batch is cut."""
        return self.config.batch_size // (self.computing.micro_batch or self.config.batch_size)

    def _load_moments(self, tensors: dict[str, Tensor]) -> None:
        parameters = list(self.denoiser.parameters())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".")
            # the fused optimizer walks raw memory: moments must lie as their parameter does
            like = value if key == "step" else parameters[int(index)]
            value = torch.empty_like(like).copy_(value)
            moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})


def _optimizer(module: nn.Module, config: TrainingConfig, fused: bool) -> torch.optim.Optimizer:
    if config.optimizer == "adamw":
        return torch.optim.AdamW(module.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=fused)
    return torch.optim.Adam(module.parameters(), lr=config.lr, fused=fused)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def train(state: TrainState, data: TrainingSet) -> Iterator[Float[Tensor, ""]]:
    """Train from `state.step` to the end of its configuration, yielding the mean loss after every step.

    The state may be saved, or the generator dropped, after any step. The loss stays on the device. Where the gradient
    of a step fails, the state is as before that step, and may be trained on with a smaller micro-batch. In a team
    every process calls it; all begin with the state of the first.
    """
    state.share()
    batches = Batches(data, state.config, state.seed, state.denoiser.null_label)
    statistics = _Statistics(state.denoiser)
    while state.step < state.config.num_steps:
        with statistics.kept_on_error():
            loss = _gradient(state, batches.share(state.step, state.team, state.num_parts))
        _descend(state)
        state.ema.update(state.denoiser, state.config.batch_size, state.kimg)
        state.step += 1
        state.power.update(state.denoiser, state.step)
        yield loss


class _Statistics:
    """Batch norm's running statistics, which change with every part of a batch: put back where one of them fails."""

    def __init__(self, module: nn.Module) -> None:
        buffers = [b for norm in module.modules() if isinstance(norm, nn.BatchNorm2d) for b in norm.buffers()]
        self.current = [[b for b in buffers if b.dtype == kind] for kind in {b.dtype for b in buffers}]
        self.before = [[torch.empty_like(b) for b in alike] for alike in self.current]

    @contextmanager
    def kept_on_error(self) -> Iterator[None]:
        """While the block lasts."""
        self._copy(self.before, self.current)
        try:
            yield
        except BaseException:
            self._copy(self.current, self.before)
            raise

    @staticmethod
    def _copy(to: list[list[Tensor]], source: list[list[Tensor]]) -> None:
        for alike, values in zip(to, source, strict=True):
            torch._foreach_copy_(alike, values)  # pyright: ignore[reportPrivateImportUsage]


def _gradient(state: TrainState, batch: Batch) -> Float[Tensor, ""]:
    """Add up the gradient of a batch's mean loss, a micro-batch at a time; returns that loss."""
    state.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=state.device)
    parts = batch.parts(len(batch.images) // state.num_parts)
    for number, part in enumerate(parts):
        with _exchanged_where(state, number == len(parts) - 1):
            with _dropout_from(state, number), computing_in(state.computing.precision, state.device):
                losses = state.objective(part)
            loss = losses.mean() / len(parts)
            state.scaler.scale(loss).backward()
        total += loss.detach()
    return state.team.mean(total)


def _exchanged_where(state: TrainState, last: bool) -> AbstractContextManager[None]:
    """A team adds up its gradients once a step, with the last part."""
    objective = state.objective
    return nullcontext() if last or not isinstance(objective, DistributedDataParallel) else objective.no_sync()


@contextmanager
def _dropout_from(state: TrainState, number: int) -> Iterator[None]:
    """Draw dropout's masks from (seed, step, micro-batch), and put torch's own generator back as it was."""
    if not state.denoiser.config.dropout:
        yield
        return
    step = torch.tensor([state.step])
    with torch.random.fork_rng([state.device] if state.device.type == "cuda" else []):
        own = state.team.rank * state.num_parts + number
        torch.manual_seed(int(uniforms(state.seed, Stream.DROPOUT, step, own)[0] * 2**32))
        yield


def _descend(state: TrainState) -> None:
    """One step of the optimizer: learning rate warmed up, gradient clipped."""
    config = state.config
    share = min(1.0, state.kimg / config.warmup_kimg) if config.warmup_kimg else 1.0
    for group in state.optimizer.param_groups:
        group["lr"] = config.lr * share
    if config.clip_norm is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.denoiser.parameters(), config.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()


def averaged_model(state: TrainState, data: TrainingSet, num_batches: int = STATISTICS_BATCHES) -> Denoiser:
    """The model to sample from: averaged weights, with batch-norm statistics of their own."""
    model = state.ema.module
    assert isinstance(model, Denoiser)
    config = replace(state.config, micro_batch=state.computing.micro_batch)  # more may not fit into memory
    return with_statistics(model, data, config, state.seed, state.step, num_batches)


@torch.no_grad()
def with_statistics(
    model: Denoiser,
    data: TrainingSet,
    config: TrainingConfig,
    seed: int,
    step: int,
    num_batches: int = STATISTICS_BATCHES,
) -> Denoiser:
    """`model` in evaluation mode, its batch-norm statistics computed anew.

    Running statistics belong to the raw weights; these are over the batches that training would see after `step`.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    batches = Batches(data, config, seed, model.null_label)
    for number in range(step, step + num_batches if norms else step):
        for part in batches[number].parts(config.micro_batch):
            noisy = part.images + part.sigma[:, None, None, None] * part.noise
            model(noisy, part.sigma, part.labels, part.augment_labels if part.augment_labels.shape[1] else None)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
