"""Tries the extensions that a plan uses on random input, before anything is started."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from functools import partial
from typing import Any

from edm.config import Extension, extensions_in
from edm.registry import Kind, registration_of
from edm.trying import (
    TrialError,
    try_dataset,
    try_features,
    try_guidance_rule,
    try_metric,
    try_sampler,
    try_training,
)
from experiments.errors import UserError, one_line
from experiments.extensions import place_of, place_of_error, what_to_do
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.trials.datasets import is_prepared
from experiments.trials.extensions import load_as_workers

Phase = Callable[[str], AbstractContextManager[Any]]  # returns a context in which something is done that takes seconds


def check_plan(plan: Plan, store: Store, phase: Phase = nullcontext) -> None:
    """Try each extension with every configuration that the tasks of a plan give it; raises UserError.

    They are loaded from the store, which keeps them from now on, as workers load them.
    """
    with phase("loading extensions as workers do"):
        load_as_workers(plan, store)
    for source in plan.sources.values():
        if isinstance(source.config.name, Extension) and not is_prepared(store, source):
            _try([source.config.name], partial(try_dataset, source.config), phase)
    tried: dict[Any, tuple[list[Extension], Callable[[], None]]] = {}
    for training in plan.trainings.values():
        own = list(extensions_in((training.config, training.network)))
        if own:
            attempt = partial(try_training, training.network, training.config)
            tried[training.config, training.network] = own, attempt
    for evaluation in plan.evaluations.values():
        data, sampling = evaluation.training.data, evaluation.sampling
        side = sampling.resolution or data.resolution
        for value, attempt in ((sampling.sampler, try_sampler), (sampling.guidance_rule, try_guidance_rule)):
            if isinstance(value, Extension):
                tried[value, sampling, side] = [value], partial(attempt, sampling, (data.channels, side, side))
        space = evaluation.features.name
        if isinstance(space, Extension):
            tried[space, side] = [space], partial(try_features, space, (data.channels, side, side))
        for metric in evaluation.config.metrics:
            if isinstance(metric, Extension):
                tried[metric] = [metric], partial(try_metric, metric, evaluation.features.dimension)
    for extensions, attempt in tried.values():
        _try(extensions, attempt, phase)


def _try(extensions: list[Extension], attempt: Callable[[], None], phase: Phase) -> None:
    """Try extensions that work together, such as all of a training; raises UserError."""
    try:
        with phase(f"trying {' and '.join(map(_named, extensions))} on random input"), redirect_stdout(sys.stderr):
            attempt()
    except TrialError as error:
        raise UserError(f"{_together(extensions)} {error}, or run with --no-check") from None
    except (Exception, SystemExit) as error:
        place, raised = place_of_error(error), f"{type(error).__name__}: {one_line(error)}"
        what = f"failed on random input ({raised}{f', at {place}' if place else ''})"
        raise UserError(f"{_together(extensions)} {what}; {what_to_do(error)}, or run with --no-check") from None


def _together(extensions: list[Extension]) -> str:
    return " and ".join(f"{place_of(extension)}: {_named(extension)}" for extension in extensions)


def _named(extension: Extension) -> str:
    return f"the {_in_words(registration_of(extension).kind)} {extension.name!r}"


def _in_words(kind: Kind) -> str:
    return {
        "attention": "attention block",
        "dataset": "data set",
        "features": "feature space",
        "lr_schedule": "learning-rate schedule",
    }.get(kind, kind.replace("_", " "))
