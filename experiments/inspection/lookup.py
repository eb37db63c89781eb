"""From what a person calls a task to what it is: cell names of past sweeps, signatures, how either begins."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from experiments.errors import UserError
from experiments.store.layout import CONFIG, FOLDER_OF_TASK
from experiments.store.registry import named_work, remembered
from experiments.store.store import Store
from experiments.sweep.names import matching
from experiments.sweep.plan import Plan, plan_sweep
from experiments.sweep.reader import load_sweep
from experiments.sweep.tasks import Evaluation, SweepTask, Training

SHORTEST_SIGNATURE = 4
SHOWN = 6  # names, where there are too many
SWEEP_FILES = (".yaml", ".yml")


@dataclass(frozen=True)
class NamedTask:
    """A cell of a sweep, or, without an evaluation, one of its trainings."""

    sweep: str
    name: str
    training: str
    evaluation: str | None = None

    @property
    def signature(self) -> str:
        """Of its own task."""
        return self.evaluation or self.training


def tasks_of(plan: Plan) -> Iterator[NamedTask]:
    """The cells and trainings of a plan by name."""
    for planned in plan.cells:
        tasks = planned.training.signature, planned.evaluation.signature
        yield NamedTask(plan.sweep.name, plan.cell_name(planned), *tasks)
    for name in plan.trainings:
        yield NamedTask(plan.sweep.name, plan.names[name], name)


def tasks_matching(text: str, store: Store) -> list[NamedTask]:
    """All that `text` stands for in the sweeps that were run on a store; SWEEP:CELL says in which.

    SWEEP may be a file as well, of a sweep that was never run.
    """
    sweep, colon, cell = text.rpartition(":")
    if colon and Path(sweep).suffix in SWEEP_FILES:
        known = list(tasks_of(plan_sweep(load_sweep(sweep))))
    else:
        sweeps = remembered(store) if not colon else [sweep]
        known = [
            NamedTask(own, name, **signatures) for own in sweeps for name, signatures in named_work(own, store).items()
        ]
    names = set(matching(cell, dict.fromkeys(one.name for one in known)))
    return [one for one in known if one.name in names]


def find_one(text: str, store: Store) -> NamedTask:
    """The one cell or training that `text` stands for, be it by its signature; raises UserError.

    What several cells of one training share names that training.
    """
    found = tasks_matching(text, store)
    exact = [one for one in found if one.name == text.rpartition(":")[2]]
    cells = [one for one in found if one.evaluation is not None]
    for alike in (exact,) if exact else (cells,):
        if len({one.signature for one in alike}) == 1:
            return alike[0]
    if len({one.training for one in found}) == 1 and not any(one.evaluation for one in exact):
        return _as_training(found)
    if found:
        shown = exact or cells or found
        names = ", ".join(f"{one.sweep}:{one.name}" for one in shown[:SHOWN])
        raise UserError(
            f"{text}: stands for {len(shown)} cells ({names}{', ...' if len(shown) > SHOWN else ''}); "
            "give more of one, or SWEEP:CELL"
        )
    return _by_signature(text, store)


def _as_training(found: list[NamedTask]) -> NamedTask:
    one = next((one for one in found if one.evaluation is None), found[0])
    return NamedTask(one.sweep, one.name, one.training)


def find(text: str, store: Store) -> SweepTask:
    """The task that `text` stands for, as it was planned; raises UserError."""
    one = find_one(text, store)
    return recorded_task("evaluation" if one.evaluation else "training", one.signature, text, store)


def _by_signature(text: str, store: Store) -> NamedTask:
    found: list[tuple[str, str]] = []
    if len(text) >= SHORTEST_SIGNATURE and text.isalnum():
        for kind in ("training", "evaluation"):
            folder = FOLDER_OF_TASK[kind]
            found += [(kind, path.parent.name) for path in sorted(store.root.glob(f"{folder}/{text}*/{CONFIG}"))]
    if len(found) == 1:
        return _with_signature(*found[0], text, store)
    if found:
        raise UserError(f"{text}: begins {len(found)} signatures; give more of one")
    every = {name for sweep in remembered(store) for name in named_work(sweep, store)}
    close = difflib.get_close_matches(text, sorted(every), n=1, cutoff=0.5)
    raise UserError(
        f"{text}: is no cell of a sweep that was run on {store.root}, and no signature in it; "
        + (f"did you mean {close[0]!r}? " if close else "")
        + "'edm-sweep plan FILE' shows what its cells are called, --store chooses another store"
    )


def _with_signature(kind: str, signature: str, text: str, store: Store) -> NamedTask:
    """By the name that it has in a sweep, or, where none knows it any more, by its signature."""
    for sweep in remembered(store):
        for name, signatures in named_work(sweep, store).items():
            if signatures.get(kind) == signature and (kind == "evaluation" or "evaluation" not in signatures):
                return NamedTask(sweep, name, **signatures)
    task = recorded_task(kind, signature, text, store)
    if isinstance(task, Evaluation):
        return NamedTask("", signature, task.training.signature, signature)
    return NamedTask("", signature, signature)


def recorded_task(kind: str, signature: str, text: str, store: Store) -> SweepTask:
    """A task as it was planned when it was begun; raises UserError, which calls it `text`."""
    path = store.folder(FOLDER_OF_TASK[kind], signature) / CONFIG
    try:
        content = yaml.safe_load(path.read_text())
        return _adapter(Training if kind == "training" else Evaluation).validate_json(json.dumps(content))
    except FileNotFoundError:
        raise UserError(f"{text}: its {kind} has not begun; run its sweep first") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); run its sweep again") from None


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
