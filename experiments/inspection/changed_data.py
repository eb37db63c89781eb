"""Whether the files that a sweep names have changed: since its last run, or since a task failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from edm.data.listing import MAX_DEPTH
from experiments.errors import UserError
from experiments.store.failures import Failure
from experiments.store.store import Store
from experiments.store.sweep_records import is_recorded, read_record
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import named_networks
from experiments.sweep.tasks import DataSource
from experiments.tracking.records import recall_plan


def changed_files(plan: Plan, store: Store) -> list[str]:
    """Return a sentence for each folder of images and each trained network that has changed since the last run."""
    return [*_changed_images(plan, store), *_changed_networks(plan, store)]


def _changed_images(plan: Plan, store: Store) -> list[str]:
    """Return a sentence for each folder whose images or labels have changed since the last run of the sweep."""
    folders = [source for source in plan.sources.values() if source.config.name == "folder"]
    new = [source for source in folders if not store.has_result(source.store_kind, source.signature)]
    name, before = plan.sweep.name, {}
    if new and is_recorded(name, store):
        with suppress(UserError):  # a record that cannot be read
            before = {source.config: source for source in recall_plan(name, store).sources.values()}
    return [
        f"{source.config.path}: has {_other(before[source.config].images, source.images, name)}, so that no earlier "
        "result holds for them; with the earlier ones, these results count again"
        for source in new
        if source.config in before and before[source.config].signature != source.signature
    ]


def _changed_networks(plan: Plan, store: Store) -> list[str]:
    name, networks = plan.sweep.name, named_networks(plan)
    record = read_record(name, store) if networks else None
    before = {entry["path"]: entry["digest"] for entry in (record or {}).get("pretrained", ())}
    return [
        f"{network.path}: holds other weights than at the last run of {name}, so that no earlier result holds for "
        "them; with the earlier weights, these results count again"
        for network in networks
        if before.get(network.path, network.digest) != network.digest
    ]


def _other(then: int, now: int, sweep: str) -> str:
    """Say what there is now; of as many images as before, nothing tells whether the pixels or the labels are others."""
    if then == now:
        return f"other images or other labels than at the last run of {sweep}"
    return f"other images than at the last run of {sweep} ({then:,} then, {now:,} now)"


def note_of_change(source: DataSource | None, failure: Failure) -> str:
    """Return what to say of a failure on images that have changed since; empty where none is known to have.

    source: the data set that the task read. Only the times of files tell: a folder may have hundreds of thousands.
    """
    path = source.config.path if source is not None else None
    if path is None or _last_change(path) <= failure.time:
        return ""
    return f"failed before {path} changed: the next run reads its images again"


@cache  # a status that is shown again and again looks once
def _last_change(path: str) -> float:
    """Return when anything in a folder, or an archive, was last written, renamed or made readable; 0 if it is gone."""
    root = Path(path).expanduser()
    return max(map(_changed, _places(root)))


def _places(root: Path) -> Iterator[Path]:
    yield root
    for folder, folders, files in os.walk(root, followlinks=True):
        if len(Path(folder).relative_to(root).parts) >= MAX_DEPTH:  # a link that leads in a circle
            folders.clear()
        yield from (Path(folder, name) for name in (*folders, *files))


def _changed(place: Path) -> float:
    try:
        return place.stat().st_ctime  # of the content or of the permissions
    except OSError:
        return 0.0
