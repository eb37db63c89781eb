"""Makes folders inside a store, but never the store itself: only `Store.create` does that. Lists what may vanish.

`Path.glob` and `Path.rglob` raise FileNotFoundError in Python before 3.13 where another process removes a folder
between their two looks at it: as a run does whose training has ended, or `gc`.
"""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path


def make_inside(root: Path, folder: Path) -> None:
    """Make a folder inside a store, and those between.

    Raises FileNotFoundError where the store is not there: it was moved while this process worked with it, and must not
    grow anew at its old path.
    """
    for part in reversed((folder, *folder.parents)):
        if part != root and part.is_relative_to(root):
            part.mkdir(exist_ok=True)


def existing(folder: Path) -> Path:
    """Return a folder, or the innermost one around it, that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return what lies in a folder under names that match a pattern, sorted; nothing where there is no such folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(fnmatch.filter(names, pattern))]


def listed_below(folder: Path, pattern: str) -> list[Path]:
    """Return what lies in a folder, or in those below it, under names that match a pattern."""
    walked = os.walk(folder)  # which passes over folders that vanish
    return [Path(place, name) for place, folders, files in walked for name in fnmatch.filter(folders + files, pattern)]
