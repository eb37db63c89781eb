"""An executor that runs trials in this process, one after the other: small, and honest about what they do."""

import itertools

import torch

from experiments.runner.dispatch import Dispatcher
from experiments.runner.resume import open_schedule
from experiments.runner.schedule import Schedule
from experiments.store.store import Store
from experiments.sweep.tasks import Evaluation
from experiments.trials.assets import ensure_data, ensure_extractor
from experiments.trials.context import TrialContext
from experiments.trials.evaluation.references import References
from experiments.trials.perform import perform_job

SETTING = TrialContext(run_id="test", threads=1, sampling_batch=40)


def execute(schedule: Schedule, store: Store, setting: TrialContext = SETTING) -> list[str]:
    """Do all that the schedule has to start; the kinds of the tasks in the order they were done."""
    dispatcher, order = Dispatcher(schedule, store), []
    for key in map(str, itertools.count()):
        job = dispatcher.next(key)
        if job is None:
            return order
        for name, outcome in perform_job(store, job, setting):
            dispatcher.outcome(key, name, outcome)
            order.append(schedule.tasks[name].kind)
        dispatcher.closed(key)


def run_all(plan, store: Store) -> Schedule:
    """Plan, subtract, do: a whole run without Ray and MLflow."""
    schedule = open_schedule(plan, store)
    execute(schedule, store)
    return schedule


def references_of(evaluation: Evaluation, store: Store) -> References:
    """What real images measure in an evaluation's feature space."""
    source, cpu = evaluation.training.data, torch.device("cpu")
    extractor = ensure_extractor(store, source, evaluation.features, cpu)
    return References(store, source, evaluation.features, extractor, ensure_data(store, source), cpu)
