"""How work on data sets tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is, or 0


def ignore_progress(_step: str, _done: int, _total: int) -> None:
    """Do nothing with the progress of some work."""
