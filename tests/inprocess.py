"""An executor that runs trials in this process, one after the other: small, and honest about what they do."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch

from experiments.runner.dispatch import Dispatcher
from experiments.runner.ray_run import RayRun
from experiments.runner.resume import open_schedule
from experiments.runner.schedule import Schedule
from experiments.store.store import Store
from experiments.sweep import segments
from experiments.sweep.tasks import Evaluation
from experiments.trials.assets import ensure_data
from experiments.trials.context import TrialContext
from experiments.trials.evaluation.references import References
from experiments.trials.extractors import ensure_extractor
from experiments.trials.perform import perform_job

CONTEXT = TrialContext(run_id="test", threads=1, sampling_batch=40, wait_s=0.01)
WATCHFUL = replace(CONTEXT, report_s=0.0)  # looks for a request to stop after every step


def cut_segments(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    """Let images be drawn and measured in segments of so many, in this process."""
    monkeypatch.setattr(segments, "SEGMENT_IMAGES", images)


def execute(schedule: Schedule, store: Store, context: TrialContext = CONTEXT) -> list[str]:
    """Do all that the schedule has to start; the kinds of the tasks in the order they were done."""
    return _drain(Dispatcher(schedule, store), replace(context, shorter=schedule.plan.shorter))


def _drain(dispatcher: Dispatcher, context: TrialContext, after_job: Callable[[], None] = lambda: None) -> list[str]:
    order: list[str] = []
    for key in map(str, itertools.count()):
        job = dispatcher.next(key)
        if job is None:
            break
        for name, outcome in perform_job(dispatcher.store, job, context):
            dispatcher.outcome(key, name, outcome)
            order.append(dispatcher.schedule.tasks[name].kind)
        dispatcher.closed(key)
        after_job()
    return order


@contextmanager
def without_ray(after_job: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let `edm-sweep run` in this process do its tasks here, for tests that test no Ray.

    after_job: called after each job, while the run goes on.
    """
    from experiments.runner import cluster, run, tune  # import Ray, as a run does
    from tests import databases

    def run_here(run: RayRun) -> float:
        dispatcher = Dispatcher(run.schedule, run.store, run.on_change, run.notify, run_id=run.context.run_id)
        _drain(dispatcher, replace(run.context, threads=1), after_job)
        return dispatcher.worked_s

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "starting", lambda store, address: nullcontext(cluster.StartedRay()))
        patch.setattr(run, "sharing_machine", lambda *_: nullcontext())  # nothing here needs to be shared
        patch.setattr(tune, "run_here", run_here)
        databases.copied(patch)
        yield


def run_all(plan, store: Store) -> Schedule:
    """Plan, subtract, do: a whole run without Ray and MLflow."""
    schedule = open_schedule(plan, store)
    execute(schedule, store)
    return schedule


def references_of(evaluation: Evaluation, store: Store) -> References:
    """Return the references of an evaluation's feature space."""
    source, cpu = evaluation.training.data, torch.device("cpu")
    extractor = ensure_extractor(store, source, evaluation.features, cpu)
    return References(store, source, evaluation.features, extractor, ensure_data(store, source), cpu)
