"""The networks, images and trainings that sections measure, and their tiny stand-ins."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from edm.batches import TrainingSet
from edm.config import ModelConfig, NetworkConfig, PresetName, TrainingConfig
from edm.metrics.features import Inception
from edm.metrics.inception import InceptionV3
from edm.networks.device import on_device
from edm.networks.initialise import initialise
from edm.precondition import Denoiser
from edm.train import Computing, TrainState
from edm.typed_torch import floats

SIGMA_DATA = 0.5
LONG_KIMG = 1e6  # no measured training comes to its end


def network(preset: PresetName, resolution: int, tiny: bool, channels: int = 1, classes: int = 10) -> NetworkConfig:
    """Return a preset's network; where it has to be tiny, one of three blocks for 8x8 images."""
    if tiny:
        return ModelConfig("nano", channels=8).network(channels, 8, classes)
    return ModelConfig(preset).network(channels, resolution, classes)


def edm_network(tiny: bool) -> tuple[NetworkConfig, TrainingConfig]:
    """Return a network and a training with all of EDM's options: batch 512, augmentation, dropout, group norm."""
    config = TrainingConfig(
        kimg=LONG_KIMG,
        batch_size=16 if tiny else 512,
        lr=1e-3,
        warmup_kimg=10_000,
        augment=0.12,
        flip=True,
        label_dropout=0.1,
    )
    options = {"norm": "group", "resample": "residual", "init": "edm", "dropout": 0.13}
    plain = network("mini", 32, tiny, channels=3)
    return config.prepared(replace(plain, **options)), config


def pictures(num: int, shape: NetworkConfig, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return uint8 images of waves, whose direction tells their class, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % max(shape.num_classes, 1)
    side, channels = shape.resolution, shape.image_channels
    angle = labels * (torch.pi / max(shape.num_classes, 1)) + 0.1 * torch.randn(num, generator=generator)
    phase, length = torch.rand(2, num, channels, generator=generator).unbind()
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    across = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y
    waves = (across[:, None] * (4 + 4 * length)[..., None, None] + 6.3 * phase[..., None, None]).sin()
    noise = 0.1 * torch.randn(num, channels, side, side, generator=generator)
    return ((waves * 0.8 + noise) * 127.5 + 128).clip(0, 255).to(torch.uint8), labels


def training_set(num: int, shape: NetworkConfig, device: torch.device) -> TrainingSet:
    """Return such images as a training has them on a GPU: resident."""
    images, labels = pictures(num, shape)
    return TrainingSet(images.to(device), labels.to(device), None, device)


def new_state(
    shape: NetworkConfig,
    config: TrainingConfig,
    device: torch.device,
    computing: Computing | None = None,
    seed: int = 0,
) -> TrainState:
    """Return a training at its first step."""
    chosen = computing or Computing.choose(config, device, compiled=False)
    return TrainState(config.prepared(shape), config, SIGMA_DATA, seed, device, chosen)


def model_of(shape: NetworkConfig, device: torch.device) -> Denoiser:
    """Return a network with random weights, ready to sample; equal on every device."""
    model = Denoiser(shape, SIGMA_DATA)
    initialise(model, torch.Generator().manual_seed(0), shape.init)
    return on_device(model, device).eval().requires_grad_(False)


def random_inception(device: torch.device) -> Inception:
    """Return the Inception network with random weights that keep variances, as the published ones cannot travel."""
    module = InceptionV3()
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.dim() == 4:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)
    return Inception(module.state_dict(), device)


@contextmanager
def deterministic() -> Iterator[None]:
    """Have torch use deterministic kernels alone in the block."""
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over the norm of what was expected, in float64 on the CPU."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).norm() / expected.norm())


def mean_of(losses: list[Tensor], last: int) -> float:
    """Return the mean of the last losses, read from the device at once."""
    values = floats(torch.stack(losses[-last:]).double())
    return sum(values) / len(values)
