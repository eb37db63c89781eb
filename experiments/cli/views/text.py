"""Words that several views share."""

from __future__ import annotations

from experiments.wording import count, duration

__all__ = ["VERBS", "count", "duration", "size"]

VERBS = {"probe": "measure", "training": "train", "evaluation": "evaluate"}


def size(number: int) -> str:
    """Return bytes as a person says them: 1.2 GiB."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number} bytes"
