"""What can be deleted from a store: what no sweep refers to and no policy keeps. Never what an active run works on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edm.config import SPLITS
from experiments.store import leases
from experiments.store.active_runs import abandoned_runs
from experiments.store.folders import listed
from experiments.store.journal import Journal
from experiments.store.layout import CHECKPOINTS, DAMAGED, KEPT, REPLACED, RUNS, VALIDATION, StoreKind
from experiments.store.removal import remove_folder
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.store.training_records import best_kept, kimg_of
from experiments.sweep.plan import Plan
from experiments.sweep.segments import segment_starts
from experiments.sweep.tasks import DataSource, Evaluation, FeatureSpace, Subset, Training

# unused: no sweep refers to it. policy: a checkpoint that no policy keeps. states: at the ends of trainings. drawings:
# features of images that have all their scores. abandoned: left behind by a run that was killed. damaged: set aside.
# replaced: made again, as other code had made it
Reason = Literal["unused", "policy", "states", "drawings", "abandoned", "damaged", "replaced"]
Keep = Literal["last", "best", "all"] | tuple[float, ...]

SUBSETS: tuple[Subset, ...] = (*SPLITS, "noise")
NEAR_KIMG = 1e-6  # relative; more than the rounding of kimg in names of checkpoints


@dataclass(frozen=True)
class Garbage:
    """A folder or a file that can be deleted. kind, name: where it is in the store. size: in bytes."""

    reason: Reason
    kind: str
    name: str
    path: Path
    size: int


@dataclass(frozen=True)
class CleanupPolicy:
    """What to delete besides what no sweep refers to.

    keep: the checkpoints to keep, by default those that each training's sweep keeps. drawings: also delete features of
    images that have all their scores. states: also delete the states at the ends of trainings whose sweeps keep them.
    data: also delete prepared data sets that no sweep uses. reports: sweeps whose reports to delete.
    """

    keep: Keep | None = None
    drawings: bool = False
    states: bool = False
    data: bool = False
    reports: tuple[str, ...] = ()


def survey(store: Store, plans: Iterable[Plan], policy: CleanupPolicy = CleanupPolicy()) -> list[Garbage]:
    """Return all that can be deleted from a store while keeping what `plans` refer to."""
    plans = tuple(plans)
    used = _used(plans)
    items = [
        Garbage("unused", kind, path.name, path, size_of(path))
        for kind, names in used.items()
        if kind != "data" or policy.data
        for path in _folders(store, kind, names)
    ]
    reports = [path for name in policy.reports if (path := store.report_folder(name)).is_dir()]
    items += [Garbage("unused", "reports", path.name, path, size_of(path)) for path in reports]
    items += [item for training, keep in _policies(plans, policy.keep) for item in _not_kept(store, training, keep)]
    kept = set() if policy.states else {t.signature for p in plans for t in p.trainings.values() if t.config.keep_state}
    items += [item for signature in sorted(used["trainings"] - kept) for item in _states(store, signature)]
    if policy.drawings:
        items += _drawings(store, plans)
    items += [Garbage("abandoned", RUNS, path.name, path, size_of(path)) for path in abandoned_runs(store)]
    items += [Garbage("damaged", DAMAGED, p.name, p, size_of(p)) for p in sorted((store.root / DAMAGED).glob("*"))]
    items += [Garbage("replaced", REPLACED, p.name, p, size_of(p)) for p in sorted((store.root / REPLACED).glob("*"))]
    return items


def free(store: Store, items: Iterable[Garbage]) -> Iterator[Garbage]:
    """Delete items; yields each that is gone. Others are in use by now, or their files may not be deleted."""
    for item in items:
        if item.reason in ("policy", "states"):
            if _drop_checkpoint(store, item):
                yield item
        elif item.path.is_dir():
            if remove_folder(item.path, store.lease_timing):
                yield item
        elif item.path.is_file():
            with suppress(OSError):
                item.path.unlink(missing_ok=True)
                yield item


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; a run may remove some of them at the same time."""
    if not path.is_dir():
        return _bytes_of(path)
    return sum(_bytes_of(Path(folder, name)) for folder, _, names in os.walk(path) for name in names)


def _bytes_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _is_held(folder: Path) -> bool:
    return leases.holder(folder) is not None


def _folders(store: Store, kind: str, used: set[str]) -> list[Path]:
    """The folders of a kind that are neither used nor held."""
    unused = sorted(path for path in (store.root / kind).glob("[!.]*") if path.name not in used)
    return [path for path in unused if path.is_dir() and not _is_held(path)]


def _used(plans: Iterable[Plan]) -> dict[StoreKind, set[str]]:
    """The signatures of all that plans refer to, by kind."""
    # probes and scales always stay: they are small, and many sweeps share them
    used: dict[StoreKind, set[str]] = {
        kind: set()
        for kind in (
            "trainings",
            "evaluations",
            "drawings",
            "segments",
            "exact",
            "references",
            "classifiers",
            "data",
            "reference_statistics",
            "weights",
            "extensions",
        )
    }
    for plan in plans:
        used["trainings"] |= plan.trainings.keys()
        used["data"] |= plan.sources.keys()
        for task in plan.preparations.values():
            used[task.store_kind].add(task.signature)
        used["extensions"] |= plan.extensions.keys()
        for evaluation in plan.evaluations.values():
            used["evaluations"].add(evaluation.signature)
            used["drawings"].add(evaluation.drawing)
            starts = segment_starts(evaluation.config.images)
            used["segments"] |= {evaluation.segment_name(start) for start in starts}
        for space, data in {pair for evaluation in plan.evaluations.values() for pair in _spaces(evaluation)}:
            used["references"] |= {space.reference(data, subset) for subset in SUBSETS}
            if space.classifier is not None:
                used["classifiers"].add(space.classifier)
    return used


def _spaces(evaluation: Evaluation) -> set[tuple[FeatureSpace, DataSource]]:
    """The feature spaces that an evaluation uses, each with the data set that it compares with."""
    spaces = (evaluation.features, evaluation.judge, *(space for space, _ in evaluation.spaces))
    return {(space, evaluation.training.data) for space in spaces}


# checkpoints --------------------------------------------------------------------------------------


def _policies(plans: Iterable[Plan], keep: Keep | None) -> list[tuple[Training, Keep]]:
    """The policy of each training; where sweeps differ, what any of them keeps is kept."""
    found: dict[str, tuple[Training, Keep]] = {}
    for training in (training for plan in plans for training in plan.trainings.values()):
        own = keep or training.config.keep
        other = found.get(training.signature, (training, own))[1]
        found[training.signature] = training, _union(other, own)
    return list(found.values())


def _union(a: Keep, b: Keep) -> Keep:
    """A policy that keeps what either of two keeps."""
    if a == b or b == "last":
        return a
    if a == "last":
        return b
    return (*a, *b) if isinstance(a, tuple) and isinstance(b, tuple) else "all"


def _not_kept(store: Store, training: Training, keep: Keep) -> Iterator[Garbage]:
    """The checkpoints of a finished training that a policy does not keep; an unfinished one keeps all."""
    folder = store.folder_of(training)
    files = _checkpoints(store, training.signature, KEPT)
    if not files or keep == "all":
        return
    lines = Journal(folder / VALIDATION).read()
    kept = set(best_kept(files, lines)) if keep == "best" else {path for path in files if _is_listed(path, keep)}
    for path in files:
        if path not in kept:
            yield Garbage("policy", "trainings", f"{training.signature}/{KEPT}/{path.name}", path, size_of(path))


def _states(store: Store, signature: str) -> Iterator[Garbage]:
    """The state at the end of a finished training, at which longer ones may begin."""
    for path in _checkpoints(store, signature, CHECKPOINTS):
        yield Garbage("states", "trainings", f"{signature}/{CHECKPOINTS}/{path.name}", path, size_of(path))


def _checkpoints(store: Store, signature: str, place: str) -> list[Path]:
    """The checkpoints in a place of a finished training's folder; none while somebody works on it."""
    folder = store.folder("trainings", signature)
    files = listed(folder / place, "[!.]*")
    return files if files and store.has_result("trainings", signature) and not _is_held(folder) else []


def _is_listed(path: Path, keep: Keep) -> bool:
    """Whether a policy lists the kimg of a checkpoint."""
    return isinstance(keep, tuple) and any(abs(kimg_of(path) - kimg) < 1e-3 + NEAR_KIMG * kimg for kimg in keep)


def _drop_checkpoint(store: Store, item: Garbage) -> bool:
    """Delete a checkpoint and its checksum in the training's result; False if it is in use or may not be deleted."""
    signature, _, name = item.name.partition("/")
    try:
        with store.try_lock("trainings", signature):
            store.disown("trainings", signature, [name])
            item.path.unlink(missing_ok=True)
    except (leases.Held, OSError):
        return False
    return True


def _drawings(store: Store, plans: Iterable[Plan]) -> Iterator[Garbage]:
    """The features of images that have all the scores that any sweep asks for."""
    pending: set[str] = set()
    drawn: dict[str, None] = {}
    for evaluation in (evaluation for plan in plans for evaluation in plan.evaluations.values()):
        result = store.result(EvaluationResult, evaluation.signature)
        if result is None or not evaluation.is_covered_by(result):
            pending.add(evaluation.drawing)
        drawn[evaluation.drawing] = None
    for name in drawn:
        path = store.folder("drawings", name)
        if name not in pending and path.exists() and not _is_held(path):
            yield Garbage("drawings", "drawings", name, path, size_of(path))
