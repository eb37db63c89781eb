"""Which names a pattern matches."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any


def matching(text: str, names: Iterable[str]) -> list[str]:
    """The names that `text` stands for: one by itself, or all that some of its parts single out.

    The first of these that any name meets: it is the name; its parts, which may hold * and ?, are among the name's, in
    order; the name begins with it; the name's parts begin with its own.
    """
    known, wanted = list(names), text.split("/")
    tests = (
        lambda name: name == text,
        lambda name: _in_order(wanted, name.split("/"), fnmatchcase),
        lambda name: name.startswith(text),
        lambda name: _in_order(wanted, name.split("/"), str.startswith),
    )
    return next((found for test in tests if (found := [name for name in known if test(name)])), [])


def _in_order(wanted: list[str], parts: list[str], agrees: Any) -> bool:
    """Whether all that is wanted is met by some of the parts, in order."""
    left = iter(parts)
    return all(any(agrees(part, own) for part in left) for own in wanted)
