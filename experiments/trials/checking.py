"""Tries the extensions that a plan uses on random input, before anything is started."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from edm.config import Extension, extensions_in
from edm.trying import TrialError, try_features, try_guidance_rule, try_metric, try_sampler, try_training
from experiments.errors import UserError, one_line
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.trials.extensions import require_loaded


def check_plan(plan: Plan, store: Store) -> None:
    """Try each extension with every configuration that the tasks of a plan give it; raises UserError."""
    for task in (*plan.trainings.values(), *plan.evaluations.values()):
        require_loaded(task, store)
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
        _try(extensions, attempt)


def _try(extensions: list[Extension], attempt: Callable[[], None]) -> None:
    what = " and ".join(f"{extension.where}: {extension.name!r}" for extension in extensions)
    try:
        attempt()
    except TrialError as error:
        raise UserError(f"{what} {error}, or run with --no-check") from None
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename}:{frame.lineno}"
        raise UserError(
            f"{what} failed on random input ({type(error).__name__}: {one_line(error)}, at {place}); correct it, or "
            "run with --no-check"
        ) from None
