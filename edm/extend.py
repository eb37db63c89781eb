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
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from edm.registry import Kind, Registration

F = TypeVar("F", bound=Callable[..., Any])

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


def _registering(kind: Kind, name: str, options: type | None, **settings: Any) -> Callable[[F], F]:
    """Return the decorator that registers a function; raises TypeError where its arguments are wrong."""
    if not isinstance(name, str) or not name.isidentifier():
        raise TypeError(f"extend.{kind}: {name!r} cannot be a name; use letters, digits and '_'")
    if options is not None:
        _require_plain_options(kind, name, options)

    def decorate(function: F) -> F:
        if _collections:
            _collections[-1].append(Registration(kind, name, function, options, settings))
        return function

    return decorate


def _require_plain_options(kind: Kind, name: str, options: type) -> None:
    frozen = dataclasses.is_dataclass(options) and options.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    if not frozen:
        raise TypeError(
            f"extend.{kind}: the options of {name!r} are not a frozen dataclass; use @dataclass(frozen=True)"
        )
    for field in dataclasses.fields(options):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise TypeError(f"extend.{kind}: option {field.name!r} of {name!r} has no default; give it one")


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

    step: where the step begins and ends, and the denoiser (edm.samplers.Step). denoiser: `(x, sigma) -> denoised`, with
    a number for sigma. x: noise of level sigmas[0], in float64. noise: returns fresh standard normal noise of the shape
    of `x` at each call. Options come last.

    history: how many earlier points a step rule reads from `step.past`. evaluations: how often a step rule calls the
    network in each step, its first call, of which it gets the result, included; or a function of the noise levels (and
    the options) that returns the noise level of every call, in order. adds_noise: whether it draws noise.
    """
    given = {"loop": loop, "history": history, "evaluations": evaluations, "adds_noise": adds_noise}
    return _registering("sampler", name, options, **given)
