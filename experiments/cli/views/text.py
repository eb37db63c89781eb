"""Words that several views share."""

from __future__ import annotations

from experiments.wording import count, duration

__all__ = ["VERBS", "count", "duration"]

VERBS = {"probe": "measure", "training": "train", "evaluation": "evaluate"}
