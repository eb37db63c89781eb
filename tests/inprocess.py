"""An executor that runs trials in this process, one after the other: small, and honest about what they do."""

import torch

from experiments.ingredients import ensure_data, ensure_extractor
from experiments.measuring import References
from experiments.plan import Evaluation
from experiments.schedule import Schedule
from experiments.session import open_schedule
from experiments.store import Store
from experiments.trial import Setting
from experiments.work import perform

SETTING = Setting(session="test", threads=1, sampling_batch=40)


def execute(schedule: Schedule, store: Store, setting: Setting = SETTING) -> list[str]:
    """Do all that the schedule has to start; the kinds of the pieces in the order they were done."""
    order = []
    while (piece := schedule.take()) is not None:
        outcome = perform(store, piece, setting)
        schedule.ended(piece.signature, outcome.state, outcome.message)
        order.append(piece.kind)
    return order


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
