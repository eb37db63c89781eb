"""Signatures: a digest of everything that decides a result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import lru_cache
from typing import Any

# Raised by a developer when the meaning of a stage changes, so that what was made the old way is not taken for the new.
VERSIONS = {
    "data": 1,
    "classifier": 1,
    "training": 1,
    "probe": 1,
    "drawing": 1,
    "space": 1,
    "reference": 2,
    "scale": 1,
    "exact": 1,
    "evaluation": 2,
}
SIGNATURE_DIGITS = 20  # 80 bits: no collision in any store a person could fill


def canonical(value: Any) -> Any:
    """A configuration as plain JSON values: what two equal configurations share and two different ones do not.

    Display fields are left out, and so are fields added after a release while they have their default.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _canonical_fields(value)
    if isinstance(value, tuple | list):
        return [canonical(entry) for entry in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 2 and 2.0 are one guidance scale
    return value


@lru_cache(maxsize=4096)  # thousands of cells have few configurations among them; who gets one must not change it
def _canonical_fields(config: Any) -> dict[str, Any]:
    return {
        f.name: canonical(getattr(config, f.name))
        for f in dataclasses.fields(config)
        if _counts(f, getattr(config, f.name))
    }


def _counts(field: dataclasses.Field[Any], value: Any) -> bool:
    return field.metadata.get("identity", True) and not (field.metadata.get("added") and value == field.default)


def signature(stage: str, **content: Any) -> str:
    """SHA-256 (its first 20 hex digits) over canonical JSON of the stage, its version and everything it depends on."""
    parts = {"stage": stage, "version": VERSIONS[stage]} | {name: canonical(value) for name, value in content.items()}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:SIGNATURE_DIGITS]
