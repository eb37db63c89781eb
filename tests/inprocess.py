"""An executor that runs trials in this process, one after the other: small, and honest about what they do."""

import itertools

import torch

from experiments.dispatch import Dispatcher
from experiments.ingredients import ensure_data, ensure_extractor
from experiments.measuring import References
from experiments.planning import Evaluation
from experiments.schedule import Schedule
from experiments.session import open_schedule
from experiments.store import Store
from experiments.trial import Setting
from experiments.work import perform_job

SETTING = Setting(session="test", threads=1, sampling_batch=40)


def execute(schedule: Schedule, store: Store, setting: Setting = SETTING) -> list[str]:
    """Do all that the schedule has to start; the kinds of the pieces in the order they were done."""
    dispatcher, order = Dispatcher(schedule, store), []
    for key in map(str, itertools.count()):
        job = dispatcher.next(key)
        if job is None:
            return order
        for name, outcome in perform_job(store, job, setting):
            dispatcher.outcome(key, name, outcome)
            order.append(schedule.pieces[name].kind)
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
