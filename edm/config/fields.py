"""What the configurations share: checks of their fields, and how a field counts for identity."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any

MAX_SEED = 2**32 - 1  # one word of the counter-based generator's key (edm/noise.py)


class FieldError(ValueError):
    """A configuration field has a value that makes no sense; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def require(condition: bool, field: str, message: str) -> None:
    """Raise FieldError(field, message) unless `condition` holds."""
    if not condition:
        raise FieldError(field, message)


def require_positive(config: object, *fields: str) -> None:
    """Raise FieldError for the first of `fields` that is not a finite number above 0."""
    for name in fields:
        value = getattr(config, name)
        require(0 < value < math.inf, name, f"{value!r} is not above 0; give a positive number")


def require_seed(value: int, name: str) -> None:
    """Raise FieldError unless `value` is a seed: a whole number from 0 to 2**32 - 1."""
    require(0 <= value <= MAX_SEED, name, f"{value!r} is not a seed; give a whole number from 0 to {MAX_SEED}")


def added_field(default: Any) -> Any:
    """Declare a field added after a release: at its default it does not enter signatures, so that old ones hold."""
    return field(default=default, metadata={"added": True})


def display_field(default: Any) -> Any:
    """Declare a field that chooses among results and never changes them: it does not enter signatures."""
    return field(default=default, metadata={"identity": False})
