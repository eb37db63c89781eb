"""Why a cell has to be worked on, or not: what it stands on, what of that is done, and what the rest differs in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.inspection.config_diff import NearestTask, nearest, shown
from experiments.inspection.lookup import SWEEP_FILES, NamedTask, find_one, plan_of_file, recorded_task
from experiments.inspection.recall import recall
from experiments.inspection.status import TaskStatus, status_of_task
from experiments.store.files import read_json
from experiments.store.layout import RESULT, StoreKind
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import DataSource, Evaluation, FeatureSpace, SweepTask

MOST_FIELDS = 12  # that are told of one difference


@dataclass(frozen=True)
class Dependency:
    """Something that a cell stands on, or its own work, and how it stands. remark: what its being undone comes from."""

    what: str
    kind: StoreKind
    signature: str
    standing: TaskStatus
    remark: str = ""
    nearest: NearestTask | None = None


@dataclass(frozen=True)
class Explanation:
    """A cell, or a training, and all that it stands on, the first first."""

    work: NamedTask
    steps: tuple[Dependency, ...] = field(default_factory=tuple)

    @property
    def undone(self) -> list[Dependency]:
        """What there is to do."""
        return [step for step in self.steps if step.standing.state != "done"]


def explain(text: str, store: Store) -> Explanation:
    """What the cell that `text` stands for needs; raises UserError where it stands for none."""
    work = find_one(text, store)
    task = piece_of(work, text, store)
    return Explanation(work, tuple(_steps(task, store)))


def piece_of(work: NamedTask, text: str, store: Store) -> SweepTask:
    """A cell's own work, as its sweep asks for it now."""
    sweep = text.rpartition(":")[0]
    if Path(sweep).suffix in SWEEP_FILES:
        plan = plan_of_file(sweep)
    elif work.sweep:
        plan = _recalled(work.sweep, store.root)
    else:
        return recorded_task("evaluation" if work.evaluation else "training", work.signature, text, store)
    found = {**plan.trainings, **plan.evaluations}.get(work.signature)
    if found is None:  # planned by another version of edm-sweep
        raise UserError(f"{text}: was planned by another version of edm-sweep; run its sweep again, with its file")
    return found


@lru_cache(maxsize=2)  # two cells of a large sweep ask for the same
def _recalled(sweep: str, root: Path) -> Plan:
    return recall(sweep, Store(root))


def _steps(task: SweepTask, store: Store) -> Iterator[Dependency]:
    trainings = task.depends_on if isinstance(task, Evaluation) else (task,)
    yield _made_once("data set", "data", trainings[0].data.signature, store, trainings[0].data.config.name)
    for what, training in zip(("training", "guide"), trainings, strict=False):
        yield _piece(what, training, store)
    if isinstance(task, Evaluation):
        for space in dict.fromkeys((task.features, *(space for space, _ in task.spaces))):
            if space.classifier is not None:
                yield _made_once("classifier", "classifiers", space.classifier, store)
        yield _references(task.features, task.training.data, store)
        yield _piece("evaluation", task, store)


def _made_once(what: str, kind: StoreKind, signature: str, store: Store, title: str = "") -> Dependency:
    done = (store.folder(kind, signature) / RESULT).exists()
    standing = TaskStatus("done" if done else "planned")
    return Dependency(
        f"{what} {title}".strip(), kind, signature, standing, "" if done else "made when it is first needed"
    )


def _references(space: FeatureSpace, data: DataSource, store: Store) -> Dependency:
    """What real images measure in a feature space."""
    name = space.reference(data, "test")
    there = any((store.folder("references", name)).glob("statistics-*.safetensors"))
    standing = TaskStatus("done" if there else "planned")
    remark = "" if there else "worked out when it is first needed"
    return Dependency(f"real images in {space.label}", "references", name, standing, remark)


def _piece(what: str, task: SweepTask, store: Store) -> Dependency:
    """A training or an evaluation, and, where it has to be done, which finished one is nearest to it."""
    standing = status_of_task(task, store)
    kind: StoreKind = "evaluations" if isinstance(task, Evaluation) else "trainings"
    if standing.state == "done":
        return Dependency(what, kind, task.signature, standing)
    lacking = _lacking(task, store) if isinstance(task, Evaluation) else []
    if lacking:
        remark = f"{', '.join(lacking)} is asked for as well: scored from the images' features, which are there"
        return Dependency(what, kind, task.signature, standing, remark)
    if isinstance(task, Evaluation) and any(status_of_task(below, store).state != "done" for below in task.depends_on):
        return Dependency(what, kind, task.signature, standing, "follows its training")
    if standing.state not in ("planned", "failed"):
        return Dependency(what, kind, task.signature, standing)
    near = nearest(task, store)
    return Dependency(what, kind, task.signature, standing, _remark(what, task, near), near)


def _lacking(task: Evaluation, store: Store) -> list[str]:
    """The scores that a finished evaluation was not asked for before."""
    result = read_json(store.folder("evaluations", task.signature) / RESULT)
    return [] if result is None else [score for score in task.scores if score not in result["scores"]]


def _remark(what: str, task: SweepTask, near: NearestTask | None) -> str:
    if near is None:
        of = " of this training" if isinstance(task, Evaluation) else ""
        return f"no {'training' if what == 'guide' else what}{of} is finished in this store"
    if not near.differences:
        return f"{near.signature} is the same in every field, but was made by another version of edm-sweep"
    told = "; ".join(f"{d.field} {shown(d.here)}, there {shown(d.there)}" for d in near.differences[:MOST_FIELDS])
    more = len(near.differences) - MOST_FIELDS
    return f"nearest finished: {near.signature}, which differs in {told}{f' and {more} more' if more > 0 else ''}"


def explanation_json(found: Explanation) -> dict[str, Any]:
    """An explanation for a script."""
    return {
        "cell": asdict(found.work),
        "steps": [
            {
                "what": step.what,
                "kind": step.kind,
                "signature": step.signature,
                "state": step.standing.state,
                "why": step.standing.why or None,
                "where": step.standing.where or None,
                "remark": step.remark or None,
                "nearest": asdict(step.nearest) if step.nearest is not None else None,
            }
            for step in found.steps
        ],
    }
