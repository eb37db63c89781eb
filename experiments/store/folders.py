"""Makes folders inside a store, but never the store itself: only `Store.create` does that."""

from __future__ import annotations

from pathlib import Path


def make_inside(root: Path, folder: Path) -> None:
    """Make a folder inside a store, and those between.

    Raises FileNotFoundError where the store is not there: it was moved while this process worked with it, and must not
    grow anew at its old path.
    """
    for part in reversed((folder, *folder.parents)):
        if part != root and part.is_relative_to(root):
            part.mkdir(exist_ok=True)
