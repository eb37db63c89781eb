"""Quick trials of extensions on random input: what they return has the right shape and is finite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from edm.augment import AUGMENTATIONS
from edm.batches import TrainingSet
from edm.config import (
    DataConfig,
    Extension,
    Initialisation,
    NetworkConfig,
    SamplingConfig,
    TrainingConfig,
    extensions_in,
)
from edm.data.catalogue import DatasetFacts, facts
from edm.guidance import GUIDANCE_RULES
from edm.loss import WEIGHTINGS
from edm.metrics.own import OWN_FEATURES, OWN_METRICS
from edm.networks.blocks import ATTENTIONS, NORMS
from edm.networks.build import start
from edm.networks.initialise import initialise
from edm.noise import DISTRIBUTIONS, Stream, normals
from edm.registry import registration_of
from edm.samplers import Loop, Step, StepRule, integrate, method_of, run_loop
from edm.train import LOSSES, LR_SCHEDULES, OPTIMIZERS, Computing, TrainState, train

IMAGES = 2
SIGMA_DATA = 0.5
PAIR, OTHER_PAIR = torch.tensor([0, 1]), torch.tensor([0, 2])  # numbers of images that are tried together
SEEDED = "give its random numbers a fixed seed, and keep nothing from call to call"
RESUMABLE = (
    "keep nothing from call to call but an optimizer's state and groups, and give random numbers a fixed seed (torch's "
    "have one in losses and networks)"
)
LOSS = "loss of the step"
ALONE = "compute every image by itself, as batches are of any size"


class TrialError(ValueError):
    """An extension does not do what it has to: a sentence that says what it did instead."""


def try_sampler(config: SamplingConfig, shape: tuple[int, int, int]) -> None:
    """Draw images of Gaussian data, whose denoiser is known, by the sampler of a configuration; raises TrialError."""
    drawn = _drawn(config, shape, PAIR)
    if not _same(_drawn(config, shape, PAIR), drawn):
        wanted = "take random numbers from the noise that it is given, and keep nothing from call to call"
        raise TrialError(f"draws other images when it is called again; {wanted}")
    if not _same(_drawn(config, shape, OTHER_PAIR)[:1], drawn[:1]):
        raise TrialError(f"draws another image when the one beside it differs; {ALONE}")


def _drawn(config: SamplingConfig, shape: tuple[int, int, int], index: Tensor) -> Tensor:
    """Return the images of Gaussian data at `index` as the sampler of a configuration draws them; raises TrialError."""
    noise_levels: list[float] = []
    drawn_noise = False

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        if tuple(x.shape) != (IMAGES, *shape):
            needed = f"of {[IMAGES, *shape]}"
            raise TrialError(f"calls the denoiser with images of shape {list(x.shape)} instead {needed}; correct it")
        levels = sigma.to(x).expand(len(x))  # as edm.guidance.Labelled does
        noise_levels.append(float(levels[0]))
        return x * SIGMA_DATA**2 / (levels[:, None, None, None] ** 2 + SIGMA_DATA**2)

    def noise(step: int) -> Tensor:
        nonlocal drawn_noise
        drawn_noise = True
        return normals(config.seed, Stream.SAMPLING, index, shape, step + 1)

    def checked(rule: StepRule) -> StepRule:
        def take(step: Step) -> Tensor:
            with _unchanged(step.here.x, step.here.denoised):
                return required(rule(step), (IMAGES, *shape))

        return take

    method, sigmas = method_of(config), config.sigmas
    start = normals(config.seed, Stream.SAMPLING, index, shape).double() * sigmas[0]
    if isinstance(method, Loop):
        drawn = required(run_loop(method, denoiser, start, sigmas, noise), (IMAGES, *shape))
    else:
        drawn = integrate(denoiser, start, sigmas, replace(method, rule=checked(method.rule)), noise)
    expected = replace(config, guidance=1.0, guide=None).nfe
    if len(noise_levels) != expected:
        raise TrialError(f"calls the network {len(noise_levels)} times, and declares {expected}; correct evaluations=")
    if drawn_noise and config.is_deterministic:
        raise TrialError("draws noise without saying so; register it with adds_noise=True")
    return drawn


def try_guidance_rule(config: SamplingConfig, shape: tuple[int, int, int]) -> None:
    """Combine random images by the guidance rule of a configuration; raises TrialError."""

    def combined(index: Tensor) -> Tensor:
        weaker, main = (normals(0, Stream.SAMPLING, index, shape, part).double() for part in range(2))
        sigma = torch.ones((), dtype=torch.float64)
        return required(GUIDANCE_RULES[config.guidance_rule](config)(weaker, main, sigma), (IMAGES, *shape))

    guided = combined(PAIR)
    _require_same_again(combined(PAIR), guided)
    if not _same(combined(OTHER_PAIR)[:1], guided[:1]):
        raise TrialError(f"returns another image when the one beside it differs; {ALONE}")


def try_training(network: NetworkConfig, config: TrainingConfig) -> None:
    """Take two steps of a training of `network`, on random images, as `config` says; raises TrialError.

    One step alone would miss what depends on the step before, such as an optimizer's state. The second is taken once
    more, from a checkpoint.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, network.image_channels, network.resolution, network.resolution)
    images = (torch.rand(shape, generator=generator) * 255).to(torch.uint8)
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    small = replace(config, batch_size=IMAGES, micro_batch=None, kimg=2 * IMAGES / 1000, power_ema=(), keep="last")
    _try_functions(small, shape)
    if any(extensions_in(network)):
        _try_blocks(network)
        _try_network(network, config.label_dropout > 0, shape)
    if isinstance(config.optimizer, Extension):
        found = OPTIMIZERS[config.optimizer](nn.Linear(1, 1), small, False)
        _require_kind(found, torch.optim.Optimizer, "torch.optim.Optimizer")
    data = TrainingSet(images, labels)
    state = _begun(network, small)
    before, after = (_copied_after(state, loss) for loss in train(state, data))
    for name, weights in state.denoiser.named_parameters():
        if not weights.isfinite().all():
            raise TrialError(f"makes weights ({name}) infinite or NaN; correct it")
    resumed = _begun(network, small)
    resumed.load(before)
    (again,) = (_copied_after(resumed, loss) for loss in train(resumed, data))
    if not _moved_alike(again, before, after):
        raise TrialError(f"computes something else when a training goes on from a checkpoint; {RESUMABLE}")


def _begun(network: NetworkConfig, config: TrainingConfig) -> TrainState:
    return TrainState(network, config, SIGMA_DATA, 0, torch.device("cpu"), Computing("fp32", False, fused=False))


def _copied_after(state: TrainState, loss: Tensor) -> dict[str, Tensor]:
    """Return a copy of a training's state and of the loss after a step; raises TrialError if that is no number."""
    if not loss.isfinite():
        raise TrialError("makes the loss infinite or NaN; correct it")
    return {name: value.detach().clone() for name, value in (state.tensors() | {LOSS: loss}).items()}


def _moved_alike(found: dict[str, Tensor], before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Return whether a step that was taken again ends where it did, measured by how far it went."""
    if found.keys() != after.keys():
        return False
    for name, value in after.items():
        value, other, start = value.double(), found[name].double(), before.get(name, value).double()
        scale = (value - start).abs().max() if name != LOSS else value.abs()
        if not torch.allclose(other, value, rtol=0, atol=1e-3 * float(scale) + 1e-6 * float(value.abs().max())):
            return False
    return True


def try_dataset(data: DataConfig) -> None:
    """Take the first images and labels of a data set that an extension yields; raises TrialError."""
    assert isinstance(data.name, Extension)
    known, generate = facts(data), registration_of(data.name).bound(data.name)
    first, again = list(_first_images(known, generate())), list(_first_images(known, generate()))
    if any(label != other or (image != twin).any() for (image, label), (twin, other) in zip(first, again, strict=True)):
        raise TrialError(f"yields other images when it is called again; {SEEDED}")


def _first_images(known: DatasetFacts, yielded: object) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    """Yield the first images and labels of what a data set returned; raises TrialError."""
    shape = (known.channels, known.resolution, known.resolution)
    if not isinstance(yielded, Iterable):
        raise TrialError(f"returns {type(yielded).__name__}; yield pairs of an image and its label")
    for pair in itertools.islice(cast(Iterable[object], yielded), IMAGES):
        parts = cast(Sequence[Any], pair) if isinstance(pair, tuple | list) else ()
        if len(parts) != 2:
            raise TrialError(f"yields {type(cast(object, pair)).__name__}; yield pairs of an image and its label")
        image: np.ndarray[Any, Any] = np.asarray(parts[0])
        if image.shape != shape or image.dtype != np.uint8:
            found = f"{image.dtype} of shape {list(image.shape)}"
            raise TrialError(f"yields an image that is {found}; yield uint8 of shape {list(shape)}")
        if known.num_classes and parts[1] not in range(known.num_classes):
            raise TrialError(f"yields the label {parts[1]}; yield 0 to {known.num_classes - 1}")
        yield image, int(parts[1]) if known.num_classes else 0


def try_features(features: Extension, shape: tuple[int, int, int]) -> None:
    """Compute features of random images; raises TrialError."""

    def computed(index: Tensor) -> Tensor:
        images = (normals(0, Stream.SAMPLING, index, shape).clip(-1, 1) * 127.5 + 127.5).to(torch.uint8)
        with torch.no_grad(), _unchanged(images):
            found = OWN_FEATURES[features](images)
        return required(found, (IMAGES, features.fact("dimension"))).double()

    found = computed(PAIR)
    _require_same_again(computed(PAIR), found)
    if not _same(computed(OTHER_PAIR)[:1], found[:1]):
        raise TrialError(
            "returns other features of an image when the one beside it differs; put its network into eval mode, and "
            "compute every image by itself"
        )


def try_metric(metric: Extension, dimension: int) -> None:
    """Compute a metric of random features; raises TrialError."""
    features = normals(0, Stream.SAMPLING, torch.arange(50), (dimension,))
    with _unchanged(features):
        found, again = (torch.as_tensor(measured_by(metric, features[:20], features[20:])) for _ in range(2))
    _require_same_again(again.double(), found.double())


def measured_by(metric: Extension, drawn: Tensor, real: Tensor) -> Tensor | float:
    """Return the terms or the value of a metric that an extension defines; raises TrialError if it is not finite."""
    found = OWN_METRICS[metric](drawn, real)
    if metric.fact("terms"):
        return required(found, drawn.shape[:1])
    if not math.isfinite(value := float(found)):
        raise TrialError("returns a value that is not a finite number; correct it")
    return value


def _try_blocks(network: NetworkConfig) -> None:
    """Build one norm and one attention block, as far as extensions define them."""
    channels, cond = network.level_channels[0], network.cond_channels
    if isinstance(network.norm, Extension):
        _try_block(NORMS[network.norm](channels, cond), network.init)
    if isinstance(network.attention_block, Extension):
        _try_block(ATTENTIONS[network.attention_block](channels, 1, network), network.init)


def _try_block(block: nn.Module, scheme: Initialisation) -> None:
    """Raise TrialError unless it is a module which keeps the weights that it sets to one value, such as zeros."""
    _require_kind(block, nn.Module, "torch.nn.Module")
    before = {name: weights.detach().clone() for name, weights in block.named_parameters()}
    initialise(block, torch.Generator().manual_seed(0), scheme)
    for name, weights in block.named_parameters():
        one = before[name].flatten()[0]
        if weights.numel() > 1 and (before[name] == one).all() and not torch.equal(weights, before[name]):
            remedy = "give the module a method initialise(self, generator) that sets it"
            raise TrialError(f"sets {name} to {float(one):g}, which the network's initialisation replaces; {remedy}")


def _require_kind(value: object, kind: type, name: str) -> None:
    """Raise TrialError unless a value is of a kind, which people know by a name."""
    if not isinstance(value, kind):
        raise TrialError(f"returns {type(value).__name__}; return a {name}")


def _try_network(network: NetworkConfig, hides_labels: bool, shape: tuple[int, ...]) -> None:
    """Build a network and evaluate it, as when images are drawn: it and a copy of its weights have to agree.

    hides_labels: whether it will see images without a class.
    """
    built, copy = (start(network, torch.Generator().manual_seed(seed)).eval() for seed in range(2))
    classes = [0, network.num_classes if hides_labels else 0]  # the number of classes is that of an image without one
    label = torch.tensor(classes) if network.num_classes else None

    def evaluated(module: nn.Module, index: Tensor) -> Tensor:
        with torch.no_grad():
            return module(normals(0, Stream.SAMPLING, index, shape[1:]), torch.zeros(IMAGES), label, None)

    required(evaluated(built, PAIR), shape)
    _randomise(built)  # as a last layer whose weights begin at 0 would hide everything before it
    copy.load_state_dict(built.state_dict())
    found = evaluated(built, PAIR)
    _require_same_again(evaluated(built, PAIR), found, "draw no random numbers in eval mode")
    if not _same(evaluated(copy, PAIR), found):
        kept = "keep tensors in parameters or buffers (register_buffer), and layers in nn.ModuleList, not in lists"
        raise TrialError(f"returns something else after its weights were saved and loaded; {kept}")
    if not _same(evaluated(built, OTHER_PAIR)[:1], found[:1]):
        raise TrialError(f"returns something else for an image when the one beside it differs; {ALONE}")


def _randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for i, weights in enumerate(module.parameters()):
            weights.add_(0.1 * normals(i, Stream.WEIGHTS, torch.tensor([0]), (weights.numel(),)).view_as(weights))


def _try_functions(config: TrainingConfig, shape: tuple[int, ...]) -> None:
    """Try what a training calls in each step, as far as extensions define it."""
    levels = torch.tensor([0.01, 0.5, 20.0])
    if isinstance(config.weighting, Extension):
        with _unchanged(levels):
            weights = required(WEIGHTINGS[config.weighting](config)(levels, SIGMA_DATA), (3,))
        if (weights < 0).any():
            raise TrialError("returns weights below 0, which would make the loss larger; correct it")
    if isinstance(config.noise_distribution, Extension):
        levels_of, z = DISTRIBUTIONS[config.noise_distribution](config), torch.linspace(-3, 3, 9)
        sigma = required(levels_of(z), (9,))
        _require_same_again(levels_of(z), sigma, "take random numbers from z alone")
        if not (sigma > 0).all():
            raise TrialError("returns noise levels that are not above 0; correct it")
    if isinstance(config.augmentation, Extension):
        augment, images, index = AUGMENTATIONS[config.augmentation](config), torch.zeros(shape), torch.arange(shape[0])
        augmented = required(augment(images.clone(), 0, index)[0], shape)
        _require_same_again(augment(images, 0, index)[0], augmented, "take random numbers from normals() alone")
    if isinstance(config.lr_schedule, Extension):
        for seen in (0.0, config.kimg):
            factor: Any = LR_SCHEDULES[config.lr_schedule](config)(seen, config.kimg)
            if not isinstance(factor, int | float | Tensor) or not 0 <= float(factor) < math.inf:
                raise TrialError(f"returns the factor {factor!r} at {seen:g} kimg; return a number, 0 or more")
    if isinstance(config.loss, Extension):
        _try_loss(config, shape)


def _try_loss(config: TrainingConfig, shape: tuple[int, ...]) -> None:
    """Compute a loss of a denoiser that has one weight."""
    scale = torch.ones((), requires_grad=True)

    def denoiser(x: Tensor, sigma: Tensor, label: object = None, augment_labels: object = None) -> Tensor:
        return scale * x

    noise, labels = torch.ones(shape), torch.zeros(shape[0], dtype=torch.int64)
    losses = LOSSES[config.loss](config)(denoiser, torch.zeros(shape), labels, torch.ones(shape[0]), noise, None)
    if not required(losses, shape[:1]).requires_grad:
        raise TrialError("returns a loss that does not depend on the denoiser; call it, without torch.no_grad")


@contextmanager
def _unchanged(*given: Tensor) -> Generator[None]:
    """Raise TrialError at the end of the block if it has changed what an extension was given, which others read."""
    before = [value.clone() for value in given]
    yield
    if not all(torch.equal(value, copy) for value, copy in zip(given, before, strict=True)):
        raise TrialError("changes what it is given, in place; return a new tensor, as x + y does and x += y does not")


def _require_same_again(again: Tensor, first: Tensor, remedy: str = SEEDED) -> None:
    """Raise TrialError unless what a second call returned is what the first did."""
    if not _same(again, first):
        raise TrialError(f"returns something else when it is called again; {remedy}")


def _same(found: Tensor, expected: Tensor) -> bool:
    """Return whether two results are the same but for rounding, measured against the largest value."""
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=0, atol=1e-5 * scale, equal_nan=True)


def required(value: object, shape: tuple[int, ...]) -> Tensor:
    """Return a value; raises TrialError unless it is a tensor of that shape with finite values."""
    if not isinstance(value, Tensor):
        raise TrialError(f"returns {type(value).__name__}, not a tensor; return a tensor of shape {list(shape)}")
    if tuple(value.shape) != shape:
        raise TrialError(f"returns a tensor of shape {list(value.shape)}, where {list(shape)} is needed; correct it")
    if not value.isfinite().all():
        raise TrialError("returns values that are not finite numbers; correct it")
    return value
