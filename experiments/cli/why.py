"""The commands why and diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.cli.options import DEFAULT_STORE, AsJson, CellArgument, StoreFolder
from experiments.cli.output import console_for, print_json, say

if TYPE_CHECKING:
    pass


def why(cell: CellArgument, store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show what a cell stands on, what of that is done, and what the rest differs in from the nearest finished work.

    FILE:CELL asks of a sweep file that was never run.
    """
    from experiments.cli.views.explanation import explanation_lines
    from experiments.inspection.explain import explain, explanation_json
    from experiments.store.store import Store

    found = explain(cell, Store(store))
    if as_json:
        print_json(explanation_json(found))
        return
    console = console_for(as_json)
    for line in explanation_lines(found):
        say(console, line)


def diff(
    a: CellArgument,
    b: CellArgument,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show two cells, or two trainings, side by side: in what they differ, where their numbers come from, the numbers.

    Differences of numbers are paired by image: both cells start from the same noise and labels.
    """
    from experiments.cli.views.comparison import comparison_view
    from experiments.inspection.compare import compare, comparison_json
    from experiments.store.store import Store

    found = compare(a, b, Store(store))
    if as_json:
        print_json(comparison_json(found))
        return
    console_for(as_json).print(comparison_view(found))
