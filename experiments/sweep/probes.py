"""Probes: short measurements of the speed and memory of every distinct network of a plan."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from edm.config import NetworkConfig, Precision, TrainingConfig
from edm.cost import forward_flops
from experiments.store.results import ProbeResult
from experiments.sweep.identity import signature
from experiments.sweep.plan import Plan
from experiments.sweep.spec import ResourcesConfig
from experiments.sweep.tasks import FORWARDS_PER_TRAINING_IMAGE, DataSource, Evaluation, HasResult, Training

WARM_UP_STEPS = 3  # not measured: kernels are chosen and caches filled
LEAST_STEPS, MOST_STEPS = 8, 40
# fields of a training that affect neither its speed nor its memory
INDIFFERENT = (
    "kimg",
    "lr",
    "ema_halflife_kimg",
    "ema_rampup",
    "label_dropout",
    "p_mean",
    "p_std",
    "weight_decay",
    "warmup_kimg",
    "power_ema_snapshots",
    "min_snr_gamma",
    "lr_schedule",
    "lr_decay_kimg",
    "keep",
    "checkpoint_kimg",
    "validate_kimg",
    "samples_kimg",
)


@dataclass(frozen=True)
class Probe(HasResult):
    """A network to train and sample for some seconds on a device, to measure its speed and memory.

    guided: whether sampling runs both branches of guidance in one batch. precision: of sampling. graphed: whether a
    training step may be one CUDA graph.
    """

    signature: str
    data: DataSource
    network: NetworkConfig
    config: TrainingConfig
    guided: bool
    precision: Precision
    sampling_batch: int
    compiled: bool
    device: str
    graphed: bool = True
    kind: Literal["probe"] = "probe"

    @property
    def result_type(self) -> type[ProbeResult]:
        """The class of its result."""
        return ProbeResult

    @property
    def flops(self) -> float:
        """The floating-point operations that it takes at most, roughly."""
        images = (WARM_UP_STEPS + MOST_STEPS) * self.config.batch_size
        return FORWARDS_PER_TRAINING_IMAGE * images * forward_flops(self.network)


def probes_by_training(plan: Plan, device: str) -> dict[str, Probe]:
    """Return the probe that measures each training of a plan on `device`, by the training's signature."""
    evaluations: dict[str, list[Evaluation]] = {}
    for evaluation in plan.evaluations.values():
        for training in evaluation.depends_on:
            evaluations.setdefault(training.signature, []).append(evaluation)
    groups: dict[Any, list[Training]] = {}
    used = [each for name, each in plan.trainings.items() if each.pretrained is None or name in evaluations]
    for training in used:
        key = (training.data, training.network, _without_indifferent(training.config))
        groups.setdefault(key, []).append(training)
    found: dict[str, Probe] = {}
    for (data, network, config), trainings in groups.items():
        drawn = [evaluation for training in trainings for evaluation in evaluations.get(training.signature, ())]
        probe = _probe(data, network, config, drawn, plan.sweep.resources, device)
        found |= dict.fromkeys((training.signature for training in trainings), probe)
    for training in used:
        for start in training.depends_on:  # from which nothing may be drawn
            found.setdefault(start.signature, found[training.signature])
    return found


def probes_of(plan: Plan, device: str) -> dict[str, Probe]:
    """Return every probe of a plan on `device`, by its signature."""
    return {probe.signature: probe for probe in probes_by_training(plan, device).values()}


def _without_indifferent(config: TrainingConfig) -> TrainingConfig:
    """The configuration with defaults for all fields that affect neither speed nor memory: the key of a probe."""
    defaults = TrainingConfig()
    return dataclasses.replace(config, **{name: getattr(defaults, name) for name in INDIFFERENT}).without_unread()


def _probe(
    data: DataSource,
    network: NetworkConfig,
    config: TrainingConfig,
    evaluations: list[Evaluation],
    resources: ResourcesConfig,
    device: str,
) -> Probe:
    precisions = {evaluation.sampling.precision for evaluation in evaluations} or {"fp32"}
    content: dict[str, Any] = {
        "network": network,
        "config": config,
        "guided": any(e.guide is None and e.sampling.guidance not in (0, 1) for e in evaluations),
        "precision": "fp32" if "fp32" in precisions else min(precisions),  # the one that needs most memory
        "sampling_batch": resources.sampling_batch,
        "compiled": resources.compile is True,
        "device": device,
        **({} if resources.cuda_graphs else {"graphed": False}),  # which older stores know nothing of
    }
    return Probe(signature("probe", data=data.signature, **content), data=data, **content)
