"""Why a cell has to be worked on, or not: what it stands on, what of that is done, and what the rest differs in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.differences import Nearest, nearest, show
from experiments.errors import UserError
from experiments.names import SWEEP_FILES, Named, find_one, planned_piece
from experiments.planning import DataSource, Evaluation, FeatureSpace, Piece, Plan, plan_sweep
from experiments.register import recall
from experiments.spec import load_sweep
from experiments.status import Standing, standing_of
from experiments.store import RESULT, Store, StoreKind, read_json

MOST_FIELDS = 12  # that are told of one difference


@dataclass(frozen=True)
class Step:
    """Something that a cell stands on, or its own work, and how it stands. remark: what its being undone comes from."""

    what: str
    kind: StoreKind
    signature: str
    standing: Standing
    remark: str = ""
    nearest: Nearest | None = None


@dataclass(frozen=True)
class Explanation:
    """A cell, or a training, and all that it stands on, the first first."""

    work: Named
    steps: tuple[Step, ...] = field(default_factory=tuple)

    @property
    def undone(self) -> list[Step]:
        """What there is to do."""
        return [step for step in self.steps if step.standing.state != "done"]


def explain(text: str, store: Store) -> Explanation:
    """What the cell that `text` stands for needs; raises UserError where it stands for none."""
    work = find_one(text, store)
    piece = piece_of(work, text, store)
    return Explanation(work, tuple(_steps(piece, store)))


def piece_of(work: Named, text: str, store: Store) -> Piece:
    """A cell's own work, as its sweep asks for it now."""
    sweep = text.rpartition(":")[0]
    if Path(sweep).suffix in SWEEP_FILES:
        plan = plan_sweep(load_sweep(sweep))
    elif work.sweep:
        plan = _recalled(work.sweep, store.root)
    else:
        return planned_piece("evaluation" if work.evaluation else "training", work.signature, text, store)
    found = {**plan.trainings, **plan.evaluations}.get(work.signature)
    if found is None:  # planned by another version of edm-sweep
        raise UserError(f"{text}: was planned by another version of edm-sweep; run its sweep again, with its file")
    return found


@lru_cache(maxsize=2)  # two cells of a large sweep ask for the same
def _recalled(sweep: str, root: Path) -> Plan:
    return recall(sweep, Store(root))


def _steps(piece: Piece, store: Store) -> Iterator[Step]:
    trainings = piece.stands_on if isinstance(piece, Evaluation) else (piece,)
    yield _made_once("data set", "data", trainings[0].data.signature, store, trainings[0].data.config.name)
    for what, training in zip(("training", "guide"), trainings, strict=False):
        yield _piece(what, training, store)
    if isinstance(piece, Evaluation):
        for space in dict.fromkeys((piece.features, *(space for space, _ in piece.spaces))):
            if space.classifier is not None:
                yield _made_once("classifier", "classifiers", space.classifier, store)
        yield _references(piece.features, piece.training.data, store)
        yield _piece("evaluation", piece, store)


def _made_once(what: str, kind: StoreKind, signature: str, store: Store, title: str = "") -> Step:
    done = (store.folder(kind, signature) / RESULT).exists()
    standing = Standing("done" if done else "planned")
    return Step(f"{what} {title}".strip(), kind, signature, standing, "" if done else "made when it is first needed")


def _references(space: FeatureSpace, data: DataSource, store: Store) -> Step:
    """What real images measure in a feature space."""
    name = space.reference(data, "test")
    there = any((store.folder("references", name)).glob("statistics-*.safetensors"))
    standing = Standing("done" if there else "planned")
    remark = "" if there else "worked out when it is first needed"
    return Step(f"real images in {space.label}", "references", name, standing, remark)


def _piece(what: str, piece: Piece, store: Store) -> Step:
    """A training or an evaluation, and, where it has to be done, which finished one is nearest to it."""
    standing = standing_of(piece, store)
    kind: StoreKind = "evaluations" if isinstance(piece, Evaluation) else "trainings"
    if standing.state == "done":
        return Step(what, kind, piece.signature, standing)
    lacking = _lacking(piece, store) if isinstance(piece, Evaluation) else []
    if lacking:
        remark = f"{', '.join(lacking)} is asked for as well: scored from the images' features, which are there"
        return Step(what, kind, piece.signature, standing, remark)
    if isinstance(piece, Evaluation) and any(standing_of(below, store).state != "done" for below in piece.stands_on):
        return Step(what, kind, piece.signature, standing, "follows its training")
    if standing.state not in ("planned", "failed"):
        return Step(what, kind, piece.signature, standing)
    near = nearest(piece, store)
    return Step(what, kind, piece.signature, standing, _remark(what, piece, near), near)


def _lacking(piece: Evaluation, store: Store) -> list[str]:
    """The scores that a finished evaluation was not asked for before."""
    result = read_json(store.folder("evaluations", piece.signature) / RESULT)
    return [] if result is None else [score for score in piece.scores if score not in result["scores"]]


def _remark(what: str, piece: Piece, near: Nearest | None) -> str:
    if near is None:
        of = " of this training" if isinstance(piece, Evaluation) else ""
        return f"no {'training' if what == 'guide' else what}{of} is finished in this store"
    if not near.differences:
        return f"{near.signature} is the same in every field, but was made by another version of edm-sweep"
    told = "; ".join(f"{d.field} {show(d.here)}, there {show(d.there)}" for d in near.differences[:MOST_FIELDS])
    more = len(near.differences) - MOST_FIELDS
    return f"nearest finished: {near.signature}, which differs in {told}{f' and {more} more' if more > 0 else ''}"


# for people and scripts ---------------------------------------------------------------------------


def explanation_lines(found: Explanation) -> Iterator[str]:
    """An explanation in sentences."""
    yield f"{found.work.name}{f' of {found.work.sweep}' if found.work.sweep else ''}"
    width = max(len(step.what) for step in found.steps)
    for step in found.steps:
        told = " ".join(filter(None, [step.standing.why, f"on {step.standing.where}" if step.standing.where else ""]))
        yield f"  {step.what:<{width}}  {step.signature}  {step.standing.state}{f': {told}' if told else ''}"
        if step.remark:
            yield f"  {'':<{width}}  {step.remark}"
    undone = [step.what for step in found.undone]
    yield f"To do: {', '.join(undone)}." if undone else "Nothing is left to do for it."


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
