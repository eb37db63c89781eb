"""Probes: short measurements of every distinct network of a plan, for speed and memory."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from edm.config import NetworkConfig, Precision, TrainingConfig
from edm.cost import forward_flops
from experiments import hardware
from experiments.hardware import CPU
from experiments.store.layout import FOLDER_OF_TASK, StoreKind
from experiments.sweep.identity import signature
from experiments.sweep.plan import Plan
from experiments.sweep.spec import ResourcesConfig
from experiments.sweep.tasks import FORWARDS_PER_TRAINING_IMAGE, DataSource, Evaluation, Training

WARM_UP_STEPS = 3  # choose kernels, fill caches
LEAST_STEPS, MOST_STEPS = 8, 40
# fields of a training that change neither its speed nor its memory
INDIFFERENT = (
    "kimg",
    "lr",
    "ema_halflife_kimg",
    "label_dropout",
    "p_mean",
    "p_std",
    "weight_decay",
    "warmup_kimg",
    "power_ema_snapshots",
    "min_snr_gamma",
    "keep",
    "checkpoint_kimg",
    "validate_kimg",
    "samples_kimg",
)


@dataclass(frozen=True)
class Probe:
    """One network as it is trained and sampled, to be measured on a device for some seconds.

    guided: whether both branches go through it at once. precision: of sampling.
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
    kind: Literal["probe"] = "probe"

    @property
    def store_kind(self) -> StoreKind:
        """The folder of the store that holds results of its kind."""
        return FOLDER_OF_TASK[self.kind]

    @property
    def flops(self) -> float:
        """What measuring it takes at most, about."""
        images = (WARM_UP_STEPS + MOST_STEPS) * self.config.batch_size
        return FORWARDS_PER_TRAINING_IMAGE * images * forward_flops(self.network)


def device_of(resources: ResourcesConfig) -> str:
    """The device that trials compute on here, named as results name it."""
    return hardware.gpu_names()[0] if hardware.gpu_names() and resources.gpus != 0 else CPU


def probes_by_training(plan: Plan) -> dict[str, Probe]:
    """Which probe tells of each training, by the training's signature."""
    drawn: dict[str, list[Evaluation]] = {}
    for evaluation in plan.evaluations.values():
        for training in evaluation.depends_on:
            drawn.setdefault(training.signature, []).append(evaluation)
    groups: dict[Any, list[Training]] = {}
    for training in plan.trainings.values():
        groups.setdefault((training.data, training.network, _indifferent(training.config)), []).append(training)
    found: dict[str, Probe] = {}
    for (data, network, config), alike in groups.items():
        own = [evaluation for training in alike for evaluation in drawn.get(training.signature, ())]
        probe = _probe(data, network, config, own, plan.sweep.resources)
        found |= dict.fromkeys((training.signature for training in alike), probe)
    return found


def probes_of(plan: Plan) -> dict[str, Probe]:
    """Every probe of a plan, by its signature."""
    return {probe.signature: probe for probe in probes_by_training(plan).values()}


def _indifferent(config: TrainingConfig) -> TrainingConfig:
    """The same for all trainings of one speed."""
    defaults = TrainingConfig()
    return dataclasses.replace(config, **{name: getattr(defaults, name) for name in INDIFFERENT}).canonical()


def _probe(
    data: DataSource,
    network: NetworkConfig,
    config: TrainingConfig,
    evaluations: list[Evaluation],
    resources: ResourcesConfig,
) -> Probe:
    precisions = {evaluation.sampling.precision for evaluation in evaluations} or {"fp32"}
    content: dict[str, Any] = {
        "network": network,
        "config": config,
        "guided": any(e.guide is None and e.sampling.guidance not in (0, 1) for e in evaluations),
        "precision": "fp32" if "fp32" in precisions else min(precisions),  # the one that needs most
        "sampling_batch": resources.sampling_batch,
        "compiled": resources.compile is True,
        "device": device_of(resources),
    }
    return Probe(signature("probe", data=data.signature, **content), data=data, **content)
