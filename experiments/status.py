"""How every cell of a sweep stands, from what the store says alone: planned, waiting, running, done, failed, pruned."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from experiments import leases
from experiments.forecast import Forecast, forecast
from experiments.planning import Evaluation, Piece, Plan, PlannedCell
from experiments.pruning import Pruning
from experiments.register import named_work, remembered
from experiments.sessions import Session, going_on, is_alive
from experiments.speeds import Speeds
from experiments.store import CHECKPOINTS, FAILURE, KIND_OF_PIECE, PROGRESS, PRUNED, RESULT, Store, StoreKind, read_json

# planned: nothing it stands on has begun. waiting: for its training, which has. interrupted: half done, nobody is at it
CellState = Literal["done", "running", "failed", "pruned", "interrupted", "waiting", "planned"]
STATES: tuple[CellState, ...] = ("done", "running", "failed", "pruned", "interrupted", "waiting", "planned")


@dataclass(frozen=True)
class Standing:
    """How a piece of work, or a cell, stands. why: in words. where: who is at it. progress: done, total, unit, rate."""

    state: CellState
    why: str = ""
    where: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1, where that is known."""
        total = self.progress.get("total")
        return self.progress["done"] / total if total else None

    @property
    def left_s(self) -> float | None:
        """Seconds to its end at the speed it goes on with."""
        rate = self.progress.get("rate")
        return (self.progress["total"] - self.progress["done"]) / rate if rate else None


@dataclass(frozen=True)
class CellStatus:
    """A cell, how it stands, and how its training does."""

    name: str
    training: str
    evaluation: str
    standing: Standing
    of_training: Standing


@dataclass(frozen=True)
class Status:
    """A sweep at one moment.

    left: the forecast of the run that goes on, in words. estimate: where none does, what is left takes on this machine.
    """

    sweep: str
    cells: tuple[CellStatus, ...]
    trainings: Mapping[str, Standing]
    names: Mapping[str, str]
    runs: tuple[Session, ...]
    left: str
    estimate: Forecast | None

    @property
    def counts(self) -> dict[CellState, int]:
        """How many cells are in each state."""
        found = Counter(cell.standing.state for cell in self.cells)
        return {state: found[state] for state in STATES if found[state]}


class Observer:
    """Looks at a sweep again and again; what is done is not read twice."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self._done: dict[str, Standing] = {}
        self._estimates: dict[frozenset[str], Forecast] = {}

    def look(self) -> Status:
        """The sweep as it is now."""
        begun = {kind: _names(self.store, kind) for kind in ("trainings", "evaluations")}
        runs = tuple(going_on(self.store, self.plan.sweep.name))
        cancelled = {name for run in runs for name in self.store.cancelled(run.name)}
        trainings = {name: self._standing(t, begun["trainings"]) for name, t in self.plan.trainings.items()}
        found = (self._cell(planned, trainings, begun["evaluations"]) for planned in self.plan.cells)
        cells = tuple(_left_out(cell) if cell.evaluation in cancelled else cell for cell in found)
        told = next((str(run.progress["left"]) for run in runs if run.progress.get("left")), "")
        estimate = None if runs else self._estimate(cells, trainings)
        return Status(self.plan.sweep.name, cells, trainings, self.plan.names, runs, told, estimate)

    def _cell(self, planned: PlannedCell, trainings: Mapping[str, Standing], begun: set[str]) -> CellStatus:
        evaluation, training = planned.evaluation, planned.training.signature
        own = self._standing(evaluation, begun)
        if own.state not in ("done", "running", "failed"):
            below = [trainings[needed.signature] for needed in evaluation.stands_on]
            own = _standing_on(own, below)
        return CellStatus(self.plan.cell_name(planned), training, evaluation.signature, own, trainings[training])

    def _standing(self, piece: Piece, begun: set[str]) -> Standing:
        if piece.signature not in begun:
            return Standing("planned")
        if piece.signature in self._done:
            return self._done[piece.signature]
        found = standing_of(piece, self.store)
        if found.state == "done":
            self._done[piece.signature] = found
        return found

    def _estimate(self, cells: Iterable[CellStatus], trainings: Mapping[str, Standing]) -> Forecast | None:
        """What is left would take on this machine."""
        left: dict[str, Piece] = {}
        for planned, cell in zip(self.plan.cells, cells, strict=True):
            if cell.standing.state in ("done", "pruned"):
                continue
            left[cell.evaluation] = planned.evaluation
            needed = {t.signature: t for t in planned.evaluation.stands_on}
            left |= {name: t for name, t in needed.items() if trainings[name].state != "done"}
        key = frozenset(left)
        if key not in self._estimates:
            speeds = Speeds(self.store, self.plan)
            self._estimates = {key: forecast(self.plan, left.values(), self.store, speeds)}
        return self._estimates[key] if left else None


def _left_out(cell: CellStatus) -> CellStatus:
    """A cell that a person asked the run to leave."""
    if cell.standing.state not in ("waiting", "planned", "interrupted"):
        return cell
    return replace(cell, standing=replace(cell.standing, why="cancelled: the next run goes on with it"))


def standing_of(piece: Piece, store: Store) -> Standing:
    """How one piece of work stands."""
    kind: StoreKind = KIND_OF_PIECE[piece.kind]
    folder = store.folder(kind, piece.signature)
    try:
        there = set(os.listdir(folder))
    except FileNotFoundError:
        return Standing("planned")
    if RESULT in there and (done := _done(piece, folder)) is not None:
        return done
    if any(name.startswith(".lease-") for name in there) and is_alive(folder):
        holder = leases.holder(folder)
        where = holder.text if holder is not None else ""
        return Standing("running", where=where, progress=read_json(folder / PROGRESS) or {})
    if FAILURE in there:
        return Standing("failed", str((read_json(folder / FAILURE) or {}).get("message", "")))
    if PRUNED in there and (pruning := Pruning.of(folder)) is not None:
        return Standing("pruned", pruning.text)
    return _begun(piece, folder, store)


def _done(piece: Piece, folder: Path) -> Standing | None:
    """Of a finished piece that has all it is asked for."""
    if not isinstance(piece, Evaluation):
        return Standing("done")
    result = read_json(folder / RESULT)
    if result is None or not piece.is_covered_by(result):
        return None
    at = result.get("stopped_at")
    return Standing("done", f"stopped at {at:,} images, as clearly worse than another" if at else "")


def _begun(piece: Piece, folder: Path, store: Store) -> Standing:
    """Of a piece that nobody is at: how far it came."""
    if isinstance(piece, Evaluation):
        shelf = store.folder("drawings", piece.drawing) / piece.features.signature
        segments = sum(1 for _ in shelf.glob("[!.]*.safetensors"))
        why = f"{segments} of {piece.num_segments} segments are drawn"
        return Standing("interrupted", why) if segments else Standing("planned")
    saved = sorted(path.name for path in (folder / CHECKPOINTS).glob("[!.]*.safetensors"))
    if not saved:
        return Standing("planned")
    config = piece.config
    kimg = int(saved[-1].partition("-")[0]) * config.batch_size / 1000
    total = config.num_steps * config.batch_size / 1000
    progress = {"done": kimg, "total": total, "unit": "kimg", "rate": 0.0}
    return Standing("interrupted", f"saved at {kimg:g} of {total:g} kimg", progress=progress)


def _standing_on(own: Standing, below: list[Standing]) -> Standing:
    """How a cell stands whose own work is not done, by the trainings that it stands on."""
    for state in ("failed", "pruned"):
        ended = next((one for one in below if one.state == state), None)
        if ended is not None:
            return Standing(state, f"its training {'failed: ' if state == 'failed' else 'was '}{ended.why}")
    if all(one.state == "done" for one in below):
        return own
    begun = next((one for one in below if one.state in ("running", "interrupted")), None)
    if begun is None:
        return Standing("planned")
    return Standing("waiting", f"for its training{'' if begun.state == 'running' else ', which was interrupted'}")


def _names(store: Store, kind: str) -> set[str]:
    try:
        return set(os.listdir(store.root / kind))
    except FileNotFoundError:
        return set()


@dataclass(frozen=True)
class Overview:
    """A remembered sweep in a line: its cells, those whose work is finished, and the runs that are at it."""

    sweep: str
    cells: int
    done: int
    runs: tuple[Session, ...]


def overviews(store: Store) -> Iterator[Overview]:
    """All sweeps that were run on a store."""
    runs = going_on(store)
    for name in remembered(store):
        evaluations = [work["evaluation"] for work in named_work(name, store).values() if "evaluation" in work]
        done = sum((store.root / "evaluations" / one / RESULT).exists() for one in evaluations)
        yield Overview(name, len(evaluations), done, tuple(run for run in runs if run.sweep == name))
