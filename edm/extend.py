"""Decorators that make functions of one's own values of a configuration's fields. Imports without torch.

    from dataclasses import dataclass
    from edm import extend

    @dataclass(frozen=True)
    class DampedOptions:
        damping: float = 0.9

    @extend.sampler("damped", options=DampedOptions)
    def damped(step, options):
        return step.here.x + options.damping * (step.to - step.here.sigma) * step.here.slope

A decorator returns the function as it is, so that a file of extensions is also a module to import and to test.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, cast, get_args

from edm.extension import is_option_value
from edm.registry import Kind, Registration

F = TypeVar("F", bound=Callable[..., Any])
Better = Literal["lower", "higher", "neither"]
PLAIN_OPTIONS = "use a number, a text, true or false, None, or a tuple of these"


class RegistrationError(TypeError):
    """A decorator of this module is used in a way that it cannot be: a sentence that says what to change."""


_collections: list[list[Registration]] = []  # of the files that are being loaded, the innermost last


@contextmanager
def collecting() -> Generator[list[Registration]]:
    """Collect what is registered inside the block."""
    found: list[Registration] = []
    _collections.append(found)
    try:
        yield found
    finally:
        _collections.pop()


def _registering(
    kind: Kind, name: Any, options: type | None, called_with: tuple[str, ...], **settings: Any
) -> Callable[[F], F]:
    """Return the decorator that registers a function; raises RegistrationError where its arguments are wrong.

    called_with: the arguments that the function gets before its options.
    """
    if not isinstance(name, str):  # as a type checker would find, which not everybody runs
        raise RegistrationError(f'extend.{kind}: the name is missing; write @extend.{kind}("my_name") above a function')
    if not name.isidentifier():
        raise RegistrationError(f"extend.{kind}: {name!r} cannot be a name; use letters, digits and '_'")
    if options is not None:
        _require_plain_options(kind, name, options)

    def decorate(function: F) -> F:
        _require_arguments(kind, function, (*called_with, *(["options"] if options is not None else [])))
        if _collections:
            _collections[-1].append(Registration(kind, name, function, options, settings))
        return function

    return decorate


def _require_arguments(kind: Kind, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    """Raise RegistrationError unless a function can be called with that many arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some functions that are not written in Python
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        own, given = ", ".join(signature.parameters), ", ".join(arguments)
        how = f"with ({given})" if given else "without arguments"
        what = f"extend.{kind}: {getattr(function, '__name__', 'a function')}({own}) is called {how}"
        missing = "options" in signature.parameters and "options" not in arguments
        remedy = "name their dataclass in the decorator: options=" if missing else "change its arguments"
        raise RegistrationError(f"{what}; {remedy}") from None


def _require_plain_options(kind: Kind, name: str, options: type) -> None:
    parameters: Any = getattr(options, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise RegistrationError(
            f"extend.{kind}: the options of {name!r} are not a frozen dataclass; use @dataclass(frozen=True)"
        )
    for field in dataclasses.fields(cast(Any, options)):
        what = f"extend.{kind}: option {field.name!r} of {name!r}"
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RegistrationError(f"{what} has no default; give it one")
        if field.default is not dataclasses.MISSING and not is_option_value(field.default):
            raise RegistrationError(f"{what} is {type(field.default).__name__} by default; {PLAIN_OPTIONS}")


def sampler(
    name: str,
    *,
    options: type | None = None,
    loop: bool = False,
    history: int = 0,
    evaluations: int | Callable[..., Sequence[float]] = 1,
    adds_noise: bool = False,
) -> Callable[[F], F]:
    """Register a sampler: a step rule `(step) -> x`, or with `loop` the whole of `(denoiser, x, sigmas, noise) -> x`.

    step: where the step begins and ends, and its denoiser (edm.samplers.Step). denoiser: `(x, sigma) -> denoised`, with
    a number for sigma. x: noise of level sigmas[0], in float64. noise: returns fresh standard normal noise of the shape
    of `x` at each call. Options come last.

    history: how many earlier points a step rule reads from `step.past`. evaluations: how often a step rule calls the
    network in each step, its first call, of which it gets the result, included; or a function of the noise levels (and
    the options) that returns the noise level of every call, in order. adds_noise: whether it draws noise.
    """
    given = {"loop": loop, "history": history, "evaluations": evaluations, "adds_noise": adds_noise}
    called_with = ("denoiser", "x", "sigmas", "noise") if loop else ("step",)
    if callable(evaluations):
        _require_arguments("sampler", evaluations, ("sigmas", *(["options"] if options is not None else [])))
    return _registering("sampler", name, options, called_with, **given)


def weighting(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register weights of the loss over noise levels: `(sigma, sigma_data) -> weight`, one for each image.

    The weight is of the mean squared error of the denoised image; EDM's is (sigma**2 + sigma_data**2) / (sigma *
    sigma_data)**2.
    """
    return _registering("weighting", name, options, ("sigma", "sigma_data"))


def noise_distribution(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register the noise levels of training: `(z) -> sigma`, given a standard normal number for each image."""
    return _registering("noise_distribution", name, options, ("z",))


def loss(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register a loss: `(denoiser, images, labels, sigma, noise, augment_labels) -> loss`, one for each image.

    denoiser: called as `denoiser(x, sigma, labels, augment_labels)` (edm.precondition.Denoiser). images: clean, in
    [-1, 1]. noise: standard normal, of their shape. augment_labels: None without augmentation.
    """
    return _registering("loss", name, options, ("denoiser", "images", "labels", "sigma", "noise", "augment_labels"))


def optimizer(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register an optimizer: `(parameters, lr) -> torch.optim.Optimizer`.

    Its learning rate is set before every step, and its state saved with every checkpoint.
    """
    return _registering("optimizer", name, options, ("parameters", "lr"))


def lr_schedule(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register a schedule of the learning rate: `(kimg, total_kimg) -> factor`, given how much of it has been seen.

    The rate is multiplied by the factor, and by that of the warm-up.
    """
    return _registering("lr_schedule", name, options, ("kimg", "total_kimg"))


def augmentation(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register an augmentation: `(images, normals) -> images`. The network does not learn that images were changed.

    images: in [-1, 1]. normals: normals(n) returns n standard normal numbers for each image, of shape (b, n), the same
    at every call; they depend on the seed and on the image's place in the stream of training images alone.
    """
    return _registering("augmentation", name, options, ("images", "normals"))


def schedule(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register noise levels of sampling: `(steps, sigma_min, sigma_max) -> levels`, `steps` numbers that decrease.

    They lie from sigma_max to sigma_min, and the final 0 is added to them. It is called with Python's numbers, as a
    plan needs them, and must not need torch.
    """
    return _registering("schedule", name, options, ("steps", "sigma_min", "sigma_max"))


def guidance_rule(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register how guidance combines its branches: `(weaker, denoised, scale, sigma) -> denoised`.

    weaker: the denoised images without a label, or of the guide. denoised: those for the label.
    """
    return _registering("guidance_rule", name, options, ("weaker", "denoised", "scale", "sigma"))


def network(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register what builds a network F: `(image_channels, resolution, num_classes) -> torch.nn.Module`.

    The module is called as `(x, c_noise, label, augment_labels)` and returns a tensor of the shape of `x`. label: class
    ids, of which `num_classes` means no class; None for a data set without classes. augment_labels: 9 numbers for each
    image in a training with augmentation, else None. Its weights are initialised by itself, from the training's seed.
    """
    return _registering("network", name, options, ("image_channels", "resolution", "num_classes"))


def norm(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register what builds a norm of the U-Net's blocks: `(channels, cond_channels) -> torch.nn.Module`.

    The module is called as `(x, cond)`, cond being the embedding of noise level and label, of shape (b, cond_channels),
    and returns a tensor of the shape of `x`. Its convolutions and linear layers get their initial weights as all others
    of the network do, unless it has a method `initialise(generator)` that sets them.
    """
    return _registering("norm", name, options, ("channels", "cond_channels"))


def attention(name: str, *, options: type | None = None) -> Callable[[F], F]:
    """Register what builds an attention block of the U-Net: `(channels, heads, cond_channels) -> torch.nn.Module`.

    The module is called as `(x, cond)` and returns a tensor of the shape of `x`, which it is added to by itself. Its
    initial weights are as those of a norm.
    """
    return _registering("attention", name, options, ("channels", "heads", "cond_channels"))


def metric(
    name: str, *, title: str = "", better: Better = "lower", terms: bool = False, options: type | None = None
) -> Callable[[F], F]:
    """Register a metric of drawn images against the real ones of each split: `(drawn, real) -> value`.

    drawn, real: features of both, of shape (n, d) and (m, d), in float32. terms: it returns one number for each drawn
    image instead, of which the metric is the mean; it then has a standard error, an interval and paired differences.
    title: what tables call it, by default its name. better: "lower", "higher" or "neither".
    """
    if better not in get_args(Better):
        raise RegistrationError(f"extend.metric: better={better!r} is not one of {', '.join(get_args(Better))}")
    title = title or str(name).replace("_", " ")
    return _registering("metric", name, options, ("drawn", "real"), title=title, better=better, terms=terms)


def features(name: str, *, dimension: int, options: type | None = None) -> Callable[[F], F]:
    """Register a feature space: `(images) -> features`, of shape (b, dimension), in which scores compare images.

    images: uint8, of shape (b, c, h, w), on the device of the task. Scores can only be compared within one space.
    """
    _require_whole("features", name, dimension=(dimension, 1))
    return _registering("features", name, options, ("images",), dimension=dimension)


def dataset(
    name: str,
    *,
    channels: int,
    resolution: int,
    num_classes: int,
    splits: Mapping[str, int],
    options: type | None = None,
) -> Callable[[F], F]:
    """Register a data set: `() -> iterator of (image, label)`, always the same ones in the same order.

    image: a uint8 array of shape (channels, resolution, resolution). label: 0 to num_classes - 1; with num_classes 0 it
    is ignored. splits: the numbers of images of train, val and test, which a rule picks from all.
    """
    if {*splits} != {"train", "val", "test"}:
        raise RegistrationError(
            f"extend.dataset: the splits of {name!r} are not train, val and test; give the number of each"
        )
    sizes = {split: splits[split] for split in ("train", "val", "test")}
    shape = {"channels": channels, "resolution": resolution, "num_classes": num_classes}
    _require_whole("dataset", name, channels=(channels, 1), resolution=(resolution, 1), num_classes=(num_classes, 0))
    _require_whole("dataset", name, **{split: (size, 2) for split, size in sizes.items()})  # one has no covariance
    return _registering("dataset", name, options, (), **shape, **sizes)


def _require_whole(kind: Kind, name: str, **numbers: tuple[Any, int]) -> None:
    """Raise RegistrationError unless each value is a whole number, and not below the least that is given beside it."""
    for setting, (value, least) in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            what = f"extend.{kind}: {setting}={value!r} of {name!r}"
            raise RegistrationError(f"{what} has to be a whole number, {least} or more")
