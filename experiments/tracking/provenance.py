"""Where a sweep's numbers come from, as a report states it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from experiments.store.results import (
    ClassifierRecord,
    ComputingRecord,
    DatasetRecord,
    EvaluationResult,
    TrainingResult,
)
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import FeatureClassifier
from experiments.wording import duration


def provenance_of(plan: Plan, store: Store) -> dict[str, str]:
    """Return where a plan's numbers come from: code, packages, machines, and how long the work took."""
    done = {name: result for name in plan.trainings if (result := store.result(TrainingResult, name)) is not None}
    trained = list(done.values())
    scored = [result for name in plan.evaluations if (result := store.result(EvaluationResult, name)) is not None]
    origins = [result.provenance for result in (*trained, *scored)]
    used = {name for extension in plan.extensions.values() for name in extension.uses if "." not in name}
    packages = dict.fromkeys(("torch", "ray", "mlflow", *sorted(used)))
    provenance = {
        "git_commit": _united(origin.git_commit for origin in origins),
        "git_dirty": _united(origin.git_dirty for origin in origins),
        "host": _united(origin.host for origin in origins),
        "python": _united(origin.python for origin in origins),
        **{name: _united(origin.packages.get(name) for origin in origins) for name in packages},
        "extensions": _united(f"{e.name} ({e.where}; {e.code})" for e in plan.extensions.values()),
        "devices": _united(result.device for result in (*trained, *scored)),
        "trained in": _united(_precision(result.computing) for result in trained if result.computing is not None),
        "compute": f"{_training_s(done) + sum(result.seconds for result in scored):,.0f} s on those devices",
    }
    return {key: value for key, value in provenance.items() if value}


def _training_s(done: Mapping[str, TrainingResult]) -> float:
    """Return how long trainings took; one that began where another of them ended has the seconds of that, too."""
    continued = (done.get(result.continues) for result in done.values() if result.continues is not None)
    shared = sum(other.seconds for other in continued if other is not None)
    return sum(result.seconds for result in done.values()) - shared


def classifier_notes(plan: Plan, store: Store, titles: Mapping[str, str]) -> list[str]:
    """Return a sentence on each feature classifier that a plan's scores use and whose training a store knows.

    titles: of data sets, by signature.
    """
    tasks = [task for task in plan.preparations.values() if isinstance(task, FeatureClassifier)]
    found = [(task, store.result(ClassifierRecord, task.signature)) for task in tasks]
    named = [(titles.get(task.data.signature, task.data.config.title), task, record) for task, record in found]
    return [_classifier_note(title, task, record) for title, task, record in named if record is not None]


def _classifier_note(title: str, task: FeatureClassifier, record: ClassifierRecord) -> str:
    accuracy = ", ".join(f"{share:.1%} on {split}" for split, share in record.accuracy.items())
    text = (
        f"The feature classifier of {title} (version {task.data.classifier_version}) reaches an accuracy of {accuracy}"
    )
    if record.images is None:  # of before that was recorded
        return text
    return f"{text}; trained on {record.images:,} images in {duration(record.seconds)} on {record.device}"


def image_notes(plan: Plan, store: Store) -> list[str]:
    """Return a sentence for each thing that was noticed as the data sets of a plan were prepared."""
    records = [(source.config.title, store.result(DatasetRecord, name)) for name, source in plan.sources.items()]
    notes = [note for title, record in records if record is not None for note in _image_notes(title, record)]
    return list(dict.fromkeys(notes))  # the same images at several sizes are noticed once


def _image_notes(title: str, record: DatasetRecord) -> Iterable[str]:
    """Yield what was noticed, with the data set's title in place of the path. Early bundles have texts without it."""
    source = record.source or {}
    place = f"{next(iter(source.get('files', ())), '')}: "
    return (f"{title}: {text.removeprefix(place)}" for text in source.get("noticed", ()) if text.startswith(place))


def _precision(computing: ComputingRecord) -> str:
    """Return the precision that a training was computed in, and whether its network was compiled."""
    return computing.precision + (" compiled" if computing.compiled else "")


def _united(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values}))
