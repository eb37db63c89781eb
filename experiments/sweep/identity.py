"""Signatures: digests of everything that decides a result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii
from typing import Any

from experiments.sweep.by_identity import by_identity

# A developer raises a stage's version when its meaning changes, so that results made the old way are not used for it.
VERSIONS = {
    "data": 1,
    "classifier": 2,  # trains as long as it gets better; stores that hold one of version 1 go on with it
    "training": 1,
    "pretrained": 1,
    "probe": 1,
    "drawing": 1,
    "space": 1,
    "reference": 2,
    "scale": 1,  # of baselines
    "exact": 1,
    "evaluation": 2,
    "weights": 1,
}
# The same for parts of a stage, which only tasks that use them have in their signatures.
REVISIONS = {
    "clean": 2,  # features of images resized by clean-fid's rule: (x - 128) / 128 as clean-fid, not 2 x / 255 - 1
    "unipc": 2,  # second order in the last step but one, as the published solver
    "posthoc": 2,  # averages of any width: coefficients sum to 1
}
ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
SIGNATURE_DIGITS = 20  # 80 bits: no collision in any store that a person could fill


def canonical(value: Any) -> Any:
    """Return a configuration as plain JSON values, equal for configurations that mean the same.

    Leaves out fields that only concern display, and fields that were added later while they have their default.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _canonical_fields(value)
    if isinstance(value, tuple | list):
        return [canonical(entry) for entry in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 2 and 2.0 are one guidance scale
    return value


@by_identity
def _canonical_fields(config: Any) -> dict[str, Any]:
    return {
        field.name: canonical(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if _is_identity(field, getattr(config, field.name))
    }


def _is_identity(field: dataclasses.Field[Any], value: Any) -> bool:
    return field.metadata.get("identity", True) and not (field.metadata.get("added") and value == field.default)


def revisions(parts: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return what the signature of a task has besides its configuration: the revisions of the `parts` that it uses."""
    used = {part: REVISIONS[part] for part in parts}
    return {"revisions": used} if used else {}


def signature(stage: str, **content: Any) -> str:
    """Return the signature of a stage: the first 20 hex digits of SHA-256 over canonical JSON.

    The JSON holds the stage, its version and its content: the whole configuration and the signatures it depends on.
    """
    parts = {"stage": stage, "version": VERSIONS[stage], **content}
    text = ",".join([f'"{key}":{_canonical_text(parts[key])}' for key in sorted(parts)])
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:SIGNATURE_DIGITS]


def _canonical_text(value: Any) -> str:
    if type(value) is str:  # as ENCODE writes it, which takes several times as long; the same for numbers
        return encode_basestring_ascii(value)
    if type(value) is int:
        return str(value)
    is_configuration = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return _text_of_configuration(value) if is_configuration else ENCODE(canonical(value))


@by_identity
def _text_of_configuration(config: Any) -> str:
    return ENCODE(_canonical_fields(config))
