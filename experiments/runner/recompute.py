"""Makes room for results that are done again, because other code than today's has made those that are there.

<root>/replaced/<kind>/<signature>/<n>/...    what was there before
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from experiments.runner.schedule import Schedule
from experiments.store.code_files import BETWEEN
from experiments.store.folders import make_inside
from experiments.store.layout import REPLACED, StoreKind
from experiments.store.results import BaselineRecord, Result, SolutionRecord
from experiments.store.store import Store
from experiments.sweep.code_changes import CodeChange, outdated_parts
from experiments.sweep.code_parts import of_drawing, of_features
from experiments.sweep.jobs import Task
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ExactSolution, FeatureClassifier, ReferenceStatistics, preparations_of
from experiments.sweep.tasks import Evaluation


def with_dependents(plan: Plan, changed: Collection[str]) -> set[str]:
    """Return the signatures of changed results of a plan, and of all that are made from them."""
    found = set(changed)

    def add(signature: str, needed: Iterable[Task]) -> None:
        if any(other.signature in found for other in needed):
            found.add(signature)

    prepared = plan.preparations.values()  # what others depend on comes first
    for preparation in prepared:
        if isinstance(preparation, FeatureClassifier | ReferenceStatistics):
            add(preparation.signature, (preparation.data, *preparation.depends_on))
    for training in plan.trainings.values():
        add(training.signature, [training.data, *training.depends_on])
    for solution in (preparation for preparation in prepared if isinstance(preparation, ExactSolution)):
        add(solution.signature, solution.depends_on)
    for evaluation in plan.evaluations.values():
        add(evaluation.signature, (*evaluation.depends_on, *preparations_of(evaluation)))
    return found


def make_room(schedule: Schedule, store: Store) -> None:
    """Move what a schedule does again out of the way, with what is kept of its steps; what is in use stays.

    What depends on a result goes before it, so that a run that is killed leaves none whose origin is gone.
    """
    again = with_dependents(schedule.plan, schedule.changes)
    for task in reversed(schedule.of("waiting")):
        if task.signature not in again:
            continue
        for kind, signature in _steps(task, schedule.changes.get(task.signature)):
            _replace(store, kind, signature)
        _replace(store, task.store_kind, task.signature)
    for signature in schedule.plan.sources.keys() & schedule.changes.keys():
        _replace(store, "data", signature)
    for result_type in (BaselineRecord, SolutionRecord):
        for signature in _outdated(store, result_type):
            _replace(store, result_type.kind, signature)


def _steps(task: Task, change: CodeChange | None) -> Iterator[tuple[StoreKind, str]]:
    """Yield what is kept of a task's steps and has to be made anew."""
    if isinstance(task, Evaluation):
        spaces = [part for space, _ in task.spaces for part in of_features(space)]
        drawn_by = {*of_drawing(task), *of_features(task.features), *spaces}
        # scores alone are computed again from the images that are there
        if change is None or any(name in drawn_by or _is_of_networks(name) for name in change.outdated):
            yield "drawings", task.drawing
    elif isinstance(task, ReferenceStatistics):
        for subset in task.counts:
            yield "references", task.features.reference(task.data, subset)


def _is_of_networks(name: str) -> bool:
    """Whether a name in an evaluation's code is of what its images, or their features, were made from."""
    return BETWEEN in name and not name.startswith(("references", "solution"))


def _outdated(store: Store, result_type: type[Result]) -> list[str]:
    results = {name: store.peek(result_type, name) for name in store.signatures(result_type.kind)}
    return [name for name, result in results.items() if result is not None and outdated_parts(result.code)]


def _replace(store: Store, kind: StoreKind, signature: str) -> None:
    folder = store.folder(kind, signature)
    if folder.exists() and store.holder(kind, signature) is None:
        place = next(place for place in _places(store, kind, signature) if not place.exists())
        make_inside(store.root, place.parent)
        with suppress(FileNotFoundError):  # another run has moved it just now
            folder.rename(place)


def _places(store: Store, kind: StoreKind, signature: str) -> Iterator[Path]:
    return (store.root / REPLACED / kind / signature / str(number) for number in itertools.count(1))
