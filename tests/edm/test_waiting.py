"""No step of training or sampling makes the host wait for a GPU.

The meta device stands for the GPU: whatever reads the value of one of its tensors fails, and copies to it are seen.
"""

import dataclasses
import itertools
from typing import Any, Self, get_args

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edm.batch_norm import recompute_statistics
from edm.batches import TrainingSet
from edm.config import (
    ClassifierConfig,
    ModelConfig,
    NetworkConfig,
    NoiseDistribution,
    Precondition,
    Sampler,
    SamplingConfig,
    TrainingConfig,
    Weighting,
)
from edm.data.dataset import Dataset
from edm.generate import draw, labels_of
from edm.metrics.classifier import ClassifierTraining, train_classifier
from edm.networks.device import on_device
from edm.precondition import Denoiser
from edm.train import Computing, TrainState, train
from experiments.trials.training.checkpoints import CheckpointManager
from tests.edm import small

GPU = torch.device("meta")
NETWORK = dataclasses.replace(small.NETWORK, dropout=0.1)
CONFIG = TrainingConfig(
    kimg=1.2,
    batch_size=12,
    ema_halflife_kimg=0.05,
    stratified=True,
    augment=0.5,
    flip=True,
    clip_norm=0.5,
    warmup_kimg=0.03,
    power_ema=(0.05, 0.1),
    micro_batch=6,
)
PLAIN = TrainingConfig(kimg=1.2, batch_size=12)


class NumbersSent(TorchFunctionMode):
    """Collects calls that make tensors on the GPU of the host's numbers, which is a copy that waits."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor) and output.device == GPU:
            self.found.append(func.__name__)
        return output


class CopiesThatWait(TorchDispatchMode):
    """Collects the operators that copy between devices and do not let the host go on; any that copy if asked for."""

    def __init__(self, any_copy: bool = False) -> None:
        super().__init__()
        self.any_copy = any_copy
        self.found: list[str] = []
        self.numbers = NumbersSent(self.found)

    def __enter__(self) -> Self:
        self.numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self.numbers.__exit__(*reason)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        if copies and (self.any_copy or not (kwargs or {}).get("non_blocking")):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, output)) if isinstance(leaf, torch.Tensor)]
            if len({tensor.device for tensor in tensors}) > 1:
                self.found.append(str(func))
        return output


def images_on(device: torch.device) -> TrainingSet:
    images = torch.zeros(30, 1, 8, 8, dtype=torch.uint8, device=device)
    labels = torch.zeros(30, dtype=torch.int64, device=device)
    return TrainingSet(images, labels, None if device == GPU else torch.arange(30), GPU)


def new_state(config: TrainingConfig = CONFIG, network: NetworkConfig = NETWORK) -> TrainState:
    # the fused optimizer knows no meta device; edm hands it floats and tensors of the device only, as it does the other
    computing = Computing("fp32", compiled=False, fused=False, micro_batch=config.micro_batch)
    return TrainState(config.prepared(network), config, 0.5, 0, GPU, computing)


@pytest.mark.parametrize("place", [GPU, torch.device("cpu")], ids=["resident", "memory-mapped"])
def test_a_training_step_does_not_wait_for_the_gpu(place: torch.device) -> None:
    steps = train(new_state(), images_on(place))
    next(steps)
    with CopiesThatWait() as copies:
        list(itertools.islice(steps, 2))  # over the end of an epoch
    assert copies.found == []


OPTIONS = [
    *({"noise_distribution": name} for name in get_args(NoiseDistribution)),
    *({"weighting": name} for name in get_args(Weighting)),
    {"loss": "uncertainty", "optimizer": "adamw", "lr_schedule": "inverse_sqrt"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options.values()))
def test_no_option_of_a_training_waits_for_the_gpu(options) -> None:
    steps = train(new_state(dataclasses.replace(PLAIN, **options)), images_on(GPU))
    next(steps)
    with CopiesThatWait() as copies:
        next(steps)
    assert copies.found == []


NETWORKS = [
    *(
        ModelConfig(architecture=name, channels=8, multipliers=(1, 2), depths=(1, 1))  # a block of every kind
        for name in ("ddpmpp", "ncsnpp", "adm", "edm2")
    ),
    *(ModelConfig("nano", channels=8, precondition=name) for name in get_args(Precondition)),
]


@pytest.mark.parametrize("model", NETWORKS, ids=lambda model: f"{model.architecture} {model.precondition}")
def test_no_network_waits_for_the_gpu(model: ModelConfig) -> None:
    network = model.network(1, 8, 3)
    steps = train(new_state(PLAIN, network), images_on(GPU))
    next(steps)
    denoiser, index = on_device(Denoiser(network, 0.5), GPU).eval(), torch.arange(4, device=GPU)
    with CopiesThatWait() as copies:
        next(steps)
        draw(denoiser, SamplingConfig(steps=3, guidance=2.0), index, labels_of(index, 3))
    assert copies.found == []


def test_recording_a_loss_does_not_wait_for_the_gpu(tmp_path) -> None:
    state = new_state()
    checkpoints = CheckpointManager(tmp_path, state)
    checkpoints.interval, state.step = 50, 1
    with CopiesThatWait() as copies:
        checkpoints.record_loss(torch.zeros((), device=GPU))
    assert copies.found == []


def test_recomputing_statistics_does_not_wait_for_the_gpu() -> None:
    state = new_state()
    with CopiesThatWait() as copies:
        recompute_statistics(state.denoiser, images_on(GPU), CONFIG, seed=0, step=3, num_batches=2)
    assert copies.found == []


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_a_sampling_step_does_not_wait_for_the_gpu(sampler: Sampler) -> None:
    model = on_device(Denoiser(NETWORK, 0.5), GPU).eval()
    index = torch.arange(4, device=GPU)
    config = SamplingConfig(sampler=sampler, steps=5, guidance=2.0, guidance_interval=(0.1, 10.0))
    with CopiesThatWait() as copies:
        draw(model, config, index, labels_of(index, 3))
    assert copies.found == []


def test_a_step_of_the_classifier_does_not_wait_for_the_gpu() -> None:
    images, labels = torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.arange(10) % 3
    data = Dataset(images, labels, {"train": list(range(10)), "val": [0], "test": []}, 0.5)
    training = ClassifierTraining(ClassifierConfig(channels=4, batch_size=3), 1, 8, 3, 10, GPU)
    with CopiesThatWait() as copies:
        list(itertools.islice(train_classifier(training, data), 4))  # of which the last begins a new epoch
    assert copies.found == [] and training.step == 4


def test_a_copy_that_waits_is_seen() -> None:
    with CopiesThatWait() as copies:
        torch.zeros(3).to(GPU)
        torch.tensor([1.0], device=GPU)
    assert copies.found == ["aten._to_copy.default", "tensor"]
