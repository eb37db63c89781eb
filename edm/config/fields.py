"""What all configurations share: checks of field values, and how a field counts towards a signature."""

from __future__ import annotations

import math
from dataclasses import field
from typing import TypeVar

MAX_SEED = 2**32 - 1  # a seed is one 32-bit word of the random generator's key (edm/noise.py)

Value = TypeVar("Value")


class FieldError(ValueError):
    """A configuration field has a value that cannot work.

    field: name of the field. problem: what is wrong and what to give instead, in a sentence that the name introduces.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


def require(condition: bool, field: str, problem: str) -> None:
    """Raise FieldError(field, problem) unless `condition` holds."""
    if not condition:
        raise FieldError(field, problem)


def require_positive(config: object, *fields: str) -> None:
    """Raise FieldError for the first of `fields` of `config` that is not a finite number above 0."""
    for name in fields:
        value = getattr(config, name)
        require(0 < value < math.inf, name, f"{value!r} is not above 0; give a positive number")


def require_seed(value: int, field: str) -> None:
    """Raise FieldError unless `value` is a whole number from 0 to 2**32 - 1."""
    require(0 <= value <= MAX_SEED, field, f"{value!r} is not a seed; give a whole number from 0 to {MAX_SEED}")


def added_field(default: Value, column: bool = True, key: str | None = None) -> Value:
    """Declare a field that a later release added.

    It enters a signature only where its value is not `default`, so that signatures from before it existed still hold.
    column: whether every table of results has it, or only those in which a cell has another value than `default`, so
    that tables from before it existed stay as they were. key: what sweep files call it where Python does not allow that
    as a name; None: its name.
    """
    return field(default=default, metadata={"added": True, "column": column, **_called(key)})


def display_field(default: Value, column: bool = True, key: str | None = None) -> Value:
    """Declare a field that never enters a signature, because it selects results without changing them.

    column, key: as of `added_field`.
    """
    return field(default=default, metadata={"identity": False, "column": column, **_called(key)})


def _called(key: str | None) -> dict[str, str]:
    return {} if key is None else {"key": key}
