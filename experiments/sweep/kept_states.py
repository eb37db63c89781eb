"""The states that finished trainings have kept, at which longer ones may begin."""

from __future__ import annotations

from collections.abc import Container, Iterable

from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.store.training_records import saved_step
from experiments.sweep.code_changes import outdated_parts
from experiments.sweep.shorter import Shorter


def step_reached(signature: str, store: Store) -> int | None:
    """Return after how many steps a training was saved that is not done; None where it has not begun, or is done."""
    if store.has_result(TrainingResult.kind, signature):
        return None
    return saved_step(store.folder(TrainingResult.kind, signature))


def result_with_state(shorter: Shorter, store: Store) -> TrainingResult | None:
    """Return a training's result, if the store has that and the state at its end, and today's code would make both."""
    if saved_step(store.folder(TrainingResult.kind, shorter.signature)) != shorter.steps:
        return None
    result = store.result(TrainingResult, shorter.signature)
    return None if result is None or outdated_parts(result.code) else result


def beginning(shorter: Iterable[Shorter], left: Container[str], store: Store) -> Shorter | None:
    """Return the training at whose end one begins that passes `shorter`.

    Its state is in the store, or will be. left: the trainings that are still to be done, or to be done again.
    """
    return next((o for o in shorter if o.signature in left or result_with_state(o, store) is not None), None)
