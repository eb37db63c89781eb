"""The final table as a data frame: one row for each cell, equal whether it is read from the store or from MLflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from edm.config import NetworkConfig
from experiments.store.journal import Journal
from experiments.store.layout import JOURNAL, VALIDATION
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.sweep.code_changes import CodeChange, ResultCode, change_of
from experiments.sweep.drawing_costs import nfe_of
from experiments.sweep.forms import scores_to_compute
from experiments.sweep.metrics import ERRORS, HEADLINES, baselines_of, describe_reference, metrics_of
from experiments.sweep.plan import Plan, PlannedCell
from experiments.sweep.spec import OPTIONS, Cell, section_parameters, unused_parameters
from experiments.sweep.tasks import Evaluation, Training, called

ABSENT = "-"  # the value of an axis, or of an extension's option, that means nothing in a cell


@dataclass(frozen=True)
class EvaluationScores:
    """What is known of an evaluation: its metrics, the scores that they answer, and remarks.

    pruned_at: at how many kimg a training that it depends on was ended early, where the evaluation was not done.
    change: how the code that made it differs from today's.
    """

    metrics: Mapping[str, float]
    scores: frozenset[str]
    notes: tuple[str, ...]
    stopped_at: int | None = None
    stopped_by: str | None = None
    pruned_at: float | None = None
    change: CodeChange | None = None

    @classmethod
    def of(cls, result: EvaluationResult) -> EvaluationScores:
        """Return what a finished evaluation's result says."""
        scores = frozenset(result.scores)
        return cls(result.metrics, scores, result.notes, result.stopped_at, result.stopped_by)

    def covers(self, evaluation: Evaluation, scores: tuple[str, ...]) -> bool:
        """Return whether it has `scores`, of all images, or of fewer where a rival of `evaluation` stopped it."""
        return set(scores) <= self.scores and (self.stopped_by is None or self.stopped_by in evaluation.rivals)


@dataclass(frozen=True)
class TrainingSummary:
    """What a report needs to know of a training.

    pruned_at: at how many kimg it was ended early. micro_batch: how many images went through the network at once,
    where they were fewer than a batch.
    """

    pruned_at: float | None = None
    micro_batch: int | None = None


def scores_in_store(plan: Plan, store: Store) -> dict[str, EvaluationScores]:
    """Return a plan's finished evaluations, and those whose training was pruned, by signature."""
    done: dict[str, EvaluationScores] = {}
    for signature, evaluation in plan.evaluations.items():
        result = store.result(EvaluationResult, signature)
        if result is not None:
            change = change_of(store, evaluation, ResultCode.of(result))
            done[signature] = dataclasses.replace(EvaluationScores.of(result), change=change)
    return add_training_notes(plan, done, {signature: _summary_of(store, signature) for signature in plan.trainings})


def _summary_of(store: Store, signature: str) -> TrainingSummary:
    result = store.result(TrainingResult, signature)
    if result is not None:
        return TrainingSummary(micro_batch=result.computing.micro_batch if result.computing is not None else None)
    pruning = Pruning.of(store.folder("trainings", signature))
    return TrainingSummary(pruned_at=pruning.kimg if pruning is not None else None)


def add_training_notes(
    plan: Plan, done: dict[str, EvaluationScores], trained: dict[str, TrainingSummary]
) -> dict[str, EvaluationScores]:
    """Return what is known of a plan's evaluations, with the remarks that follow from their trainings."""
    found = {}
    for signature, evaluation in plan.evaluations.items():
        own = [trained[training.signature] for training in evaluation.depends_on]
        pruned = [one.pruned_at for one in own if one.pruned_at is not None]
        if signature in done:
            notes = (*done[signature].notes, *_memory_notes(evaluation, trained), *_pretrained_notes(evaluation))
            found[signature] = dataclasses.replace(done[signature], notes=notes)
        elif pruned:
            found[signature] = EvaluationScores({}, frozenset(), evaluation.notes, pruned_at=pruned[0])
    return found


def _memory_notes(evaluation: Evaluation, trained: dict[str, TrainingSummary]) -> Iterator[str]:
    """Yield a remark on each training whose memory was too small for what the sweep asked for."""
    for who, training in zip(("", "its guide was "), evaluation.depends_on, strict=False):
        used = trained[training.signature].micro_batch
        if used is not None and _shows_in_the_network(used, training):
            yield (
                f"{who}trained in micro-batches of {used} of {training.config.batch_size} for want of memory: "
                "batch norm saw the smaller ones"
            )


def _pretrained_notes(evaluation: Evaluation) -> Iterator[str]:
    """Yield a remark on each network that was not trained here, or not from the start."""
    for who, training in zip(("pretrained", "its guide is pretrained"), evaluation.depends_on, strict=False):
        if training.pretrained is not None:
            yield f"{who}: the network of {called(training.pretrained)}"
    for who, training in zip(("", "its guide was "), evaluation.depends_on, strict=False):
        if training.start is not None:
            began = f"the training began with the network of {called(training.start)}"
            yield f"{who}fine-tuned: {began}{_new_classes(training.start.network, training.network)}"


def _new_classes(before: NetworkConfig, now: NetworkConfig) -> str:
    """What a fine-tuned network had to learn anew, where the one that it began with had other classes."""
    if not now.num_classes or before.num_classes == now.num_classes:
        return ""
    known = f"had {before.num_classes} other classes" if before.num_classes else "had no classes"
    return f", which {known}: the embedding of classes began at random"


def _shows_in_the_network(micro_batch: int, training: Training) -> bool:
    """Return whether a training in smaller micro-batches than asked for makes another network."""
    asked = training.config.micro_batch or training.config.batch_size
    return micro_batch < asked and training.network.norm == "batch"


def results_frame(plan: Plan, found: dict[str, EvaluationScores], other_axes: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return one row for each cell, in the sweep's order.

    Columns: name, axes, all other parameters, signatures, what the scores are, scores. Scores that have errors are
    followed by _se, _low and _high; noise_ and real_ are the scores of pure noise and of real images, for comparison.
    A cell without scores yet has status "missing", one that was stopped early "stopped", one whose training was ended
    early "pruned", and all of them have empty scores. Nothing in the frame depends on when, where or how fast a task
    was done, except that memory may have forced smaller micro-batches, which makes another network, and that other code
    than today's may have made it: then there is a column `code`, which says what changed since. other_axes: those of
    other sweeps that it is compared with.
    """
    axes = tuple(dict.fromkeys((*plan.sweep.axes, *other_axes)))
    parameters = _Parameters(dict.fromkeys(_options(plan), ABSENT))
    frame = pd.DataFrame([_row(plan, planned, found, parameters.of(planned.cell), axes) for planned in plan.cells])
    named = {name for scores in {_scores(planned) for planned in plan.cells} for name in _columns(scores)}
    kept = {name for name in frame if str(name).startswith(HEADLINES[:2]) and not str(name).endswith(ERRORS)}
    optional = [n for n in frame if n in named | {"real_images", "stopped_at", "pruned_at", "code"} and n not in kept]
    empty = [name for name in optional if not any(frame[name].notna().tolist())]
    return frame.drop(columns=[*empty, *(unused_parameters(plan.sweep.cells) - {*axes})])


def _options(plan: Plan) -> tuple[str, ...]:
    """Return the options of extensions that any cell has."""
    names = (name for planned in plan.cells for name in planned.cell.parameters() if f"{OPTIONS}." in name)
    return tuple(dict.fromkeys(names)) if plan.extensions else ()


class _Parameters:
    """The parameters of cells as a frame has them, those of a section worked out once for all cells that share it.

    options: those of extensions, with what stands for one in cells that do not have it.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        self._of_sections: dict[int, dict[str, Any]] = {}  # by identity: 1 and 1.0 are equal, but not the same text

    def of(self, cell: Cell) -> dict[str, Any]:
        own = cell.parameters(self._of_section)
        return {**own, **self._options, **own} if self._options else own

    def _of_section(self, section: str, config: object) -> dict[str, Any]:
        if id(config) not in self._of_sections:
            values = section_parameters(section, config)
            self._of_sections[id(config)] = {name: plain_value(value) for name, value in values.items()}
        return self._of_sections[id(config)]


def _row(
    plan: Plan,
    planned: PlannedCell,
    found: dict[str, EvaluationScores],
    parameters: Mapping[str, Any],
    axes: tuple[str, ...],
) -> dict[str, Any]:
    evaluation, sizes = planned.evaluation, planned.training.data.sizes
    own, wanted = found.get(evaluation.signature), _scores(planned)
    done = own is not None and own.covers(evaluation, wanted)
    shown = own.metrics if own is not None and done and own.stopped_at is None else {}
    context = own.metrics if own is not None else {}
    return {
        "cell": plan.cell_name(planned),
        **{axis: parameters[axis] if planned.cell.has(axis) else ABSENT for axis in axes},
        **{name: value for name, value in parameters.items() if name not in axes},
        "data": planned.training.data.signature,
        "training": planned.training.signature,
        "evaluation": evaluation.signature,
        "features": evaluation.features.label,
        "reference": describe_reference(planned.cell.evaluation, sizes),
        "nfe": nfe_of(evaluation.sampling),
        "status": _status(own, done),
        "stopped_at": own.stopped_at if own is not None and done else None,
        "pruned_at": own.pruned_at if own is not None and not done else None,
        "code": own.change.text if own is not None and done and own.change is not None else None,
        **{name: shown.get(name) for name in _metrics(wanted)},
        **{name: context.get(name) for name in _baselines(wanted)},
        "real_images": context.get("real_images"),
        "notes": "; ".join(own.notes if own is not None else evaluation.notes),
    }


def _status(own: EvaluationScores | None, done: bool) -> str:
    if own is not None and own.pruned_at is not None:
        return "pruned"
    return ("stopped" if own and own.stopped_at else "done") if done else "missing"


def _scores(planned: PlannedCell) -> tuple[str, ...]:
    """Return the scores that a cell asks for, which may be fewer than its evaluation has."""
    deterministic = planned.evaluation.sampling.is_deterministic
    return scores_to_compute(planned.cell.evaluation, planned.training.data, deterministic).scores


def _columns(scores: tuple[str, ...]) -> tuple[str, ...]:
    return (*_metrics(scores), *_baselines(scores))


@cache
def _metrics(scores: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for score in scores for name in metrics_of(score))


@cache
def _baselines(scores: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for score in scores for name in baselines_of(score))


def plain_value(value: Any) -> Any:
    """Return a value as a frame has it: lists and mappings as one word, which compares, groups and prints as one."""
    if isinstance(value, tuple | list):
        return ",".join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in value)
    return str(value) if dataclasses.is_dataclass(value) else value


def curves_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Return the loss against kimg of every training that has begun.

    Columns: training, kimg, and of loss and val_loss one in each row, the other empty.
    """
    rows: list[dict[str, Any]] = []
    for signature in plan.trainings:
        folder = store.folder("trainings", signature)
        for journal, key in ((JOURNAL, "loss"), (VALIDATION, "val_loss")):
            lines = Journal(folder / journal).read()
            rows += [{"training": plan.names[signature], "kimg": line["kimg"], key: line[key]} for line in lines]
    return pd.DataFrame(rows, columns=["training", "kimg", "loss", "val_loss"])


def levels_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Return the newest loss of every training on the val split at each noise level: training, sigma, val_loss."""
    rows: list[dict[str, Any]] = []
    for signature in plan.trainings:
        lines = Journal(store.folder("trainings", signature) / VALIDATION).read()
        levels = lines[-1].get("levels", {}) if lines else {}
        rows += [{"training": plan.names[signature], "sigma": float(s), "val_loss": loss} for s, loss in levels.items()]
    return pd.DataFrame(rows, columns=["training", "sigma", "val_loss"])
