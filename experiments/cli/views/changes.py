"""Results that other code than today's has made, in sentences and for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.cli.output import command_here, store_option
from experiments.sweep.code_changes import CodeChange
from experiments.sweep.plan import Plan
from experiments.wording import count, shortened_list


def named_changes(plan: Plan, changes: Mapping[str, CodeChange]) -> list[tuple[str, CodeChange]]:
    """Return changes, given by signature, with the names of their tasks."""
    return [(plan.names[signature], change) for signature, change in changes.items()]


def change_lines(
    changes: Sequence[tuple[str, CodeChange]], sweep: str, store: Path, recompute: bool = False
) -> Iterator[str]:
    """Yield which results other code has made, which functions changed, since when, and what to do.

    changes: with the names of the results. sweep: how the command calls it. store: its folder. recompute: whether they
    are done again.
    """
    if not changes:
        return
    groups: dict[str, list[str]] = {}
    for name, change in changes:
        groups.setdefault(change.text, []).append(name)
    why = "; ".join(f"{text} ({shortened_list(names)})" for text, names in groups.items())
    made = f"{count(len(changes), 'result')} {'was' if len(changes) == 1 else 'were'} made by other code than today's"
    if recompute:
        yield f"{made} and will be done again, with what depends on {'it' if len(changes) == 1 else 'them'}: {why}"
        return
    place = store_option(store)
    again, same = command_here("run", sweep, "--recompute", "changed", *place), command_here("accept", sweep, *place)
    yield f"{made}; tables mark them: {why}. To do them again: {again}; if they are the same: {same}"


def changes_json(plan: Plan, changes: Mapping[str, CodeChange]) -> list[dict[str, Any]]:
    """Return which results other code has made, and what changed in it, for a script."""
    return [
        {"name": plan.names[signature], "signature": signature, **change.to_json()}
        for signature, change in changes.items()
    ]
