"""What differs between two versions of an extension's code, for people."""

from __future__ import annotations

from experiments.inspection.config_diff import ExtensionCode, FieldDifference, shown
from experiments.store.store import Store
from experiments.sweep.code_changes import differing_definitions, first_functions
from experiments.trials.extensions import definitions_in


def described(difference: FieldDifference, store: Store) -> str:
    """Return a difference in words; of an extension's code, which function changed, and what it reaches that did."""
    here, there = difference.here, difference.there
    if isinstance(here, ExtensionCode) and isinstance(there, ExtensionCode) and here.function == there.function:
        changed = changed_code(here.digest, there.digest, store)
        if changed:
            return f"{changed} ({difference.field} is {here.digest}, there {there.digest})"
    return f"{difference.field} is {shown(here)}, there {shown(there)}"


def changed_code(here: str, there: str, store: Store) -> str:
    """Return "restart() in ideas.py changed, through plan() in ideas.py", given the digests of two versions of a code.

    "" where they are equal, or one of them is not known, as "" is not.
    """
    known = here != there and there
    now, before = (definitions_in(store, code) if known else None for code in (here, there))
    if not now or not before:
        return ""
    entry = next(iter(now))  # discovered first
    reached = [name for name in differing_definitions(before, now) if name != entry]
    return f"{entry} changed" + (f", through {first_functions(reached)}" if reached else "")
