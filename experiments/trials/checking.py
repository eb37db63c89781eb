"""Tries the extensions that a plan uses on random input, before anything is started."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial

from edm.config import Extension
from edm.trying import TrialError, try_sampler
from experiments.errors import UserError, one_line
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.trials.extensions import require_loaded


def check_plan(plan: Plan, store: Store) -> None:
    """Try each extension with every configuration that the tasks of a plan give it; raises UserError."""
    for task in (*plan.trainings.values(), *plan.evaluations.values()):
        require_loaded(task, store)
    tried = {}
    for evaluation in plan.evaluations.values():
        data, sampling = evaluation.training.data, evaluation.sampling
        side = sampling.resolution or data.resolution
        if isinstance(sampling.sampler, Extension):
            tried[sampling, side] = sampling.sampler, partial(try_sampler, sampling, (data.channels, side, side))
    for extension, attempt in tried.values():
        _try(extension, attempt)


def _try(extension: Extension, attempt: Callable[[], None]) -> None:
    what = f"{extension.where}: {extension.name!r}"
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
