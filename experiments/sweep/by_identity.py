"""Remembers what a function returns by the identity of its arguments: to hash a configuration takes longer."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

MOST_ENTRIES = 16384

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def by_identity(function: FunctionT) -> FunctionT:
    """Let a function of configurations, of which thousands of cells have few, be worked out once for each of them.

    Arguments are compared by `is`, and kept, so that none is taken for another that came to have its place in memory.
    The function must be pure, and callers must not change what they get.
    """
    known: dict[tuple[int, ...], tuple[tuple[Any, ...], Any]] = {}

    @wraps(function)
    def remembered(*arguments: Any) -> Any:
        key = tuple(map(id, arguments))
        found = known.get(key)
        if found is None:
            if len(known) >= MOST_ENTRIES:
                known.clear()
            found = known[key] = arguments, function(*arguments)
        return found[1]

    return remembered  # pyright: ignore[reportReturnType]
