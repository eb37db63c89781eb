"""Whether the images of a folder have changed since a task failed, told by the times of its files alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from edm.data.listing import MAX_DEPTH
from experiments.store.failures import Failure
from experiments.sweep.tasks import DataSource


def note_of_change(source: DataSource | None, failure: Failure) -> str:
    """Return what to say of a failure on images that have changed since; empty where none is known to have.

    source: the data set that the task read. No file is read: the folder may have hundreds of thousands.
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
