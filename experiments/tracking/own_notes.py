"""Descriptions that a mirror writes into MLflow, and never over what a person has written there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run or an experiment
MARK = "edm.wrote."  # begins the tag with digests of what a mirror has written into another tag


def own_tags(found: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the tags to set, in this order, for `wanted` to be there, without those that a person has changed.

    found: the tags that are there. A mark names the new text and the one before it, because a kill may come between
    setting the mark and the text.
    """
    changes: dict[str, str] = {}
    for key, value in wanted.items():
        if found.get(key) != value and is_own(found, key):
            changes |= marked(key, value, found.get(key, ""))
    return changes


def is_own(found: Mapping[str, str], key: str) -> bool:
    """Return whether a tag is empty or as a mirror has written it."""
    text = found.get(key, "")
    return not text or _digest(text) in found.get(f"{MARK}{key}", "").split()


def marked(key: str, value: str, before: str = "") -> dict[str, str]:
    """Return a tag and the mark by which a mirror recognises its own text, and the text that was there before."""
    return {f"{MARK}{key}": " ".join(_digest(text) for text in (value, before) if text), key: value}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
