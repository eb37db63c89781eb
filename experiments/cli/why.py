"""The commands why and diff."""

from __future__ import annotations

from experiments.cli.options import AsJson, CellArgument, OtherCellArgument, StoreFolder
from experiments.cli.output import console_for, print_json, show
from experiments.environment import DEFAULT_STORE


def why(cell: CellArgument, store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show what a cell depends on, what is done, and why the rest must run.

    A training or an evaluation that must run is compared with the nearest finished one, field by field. With
    FILE:CELL, the sweep file need not have been run.
    """
    from experiments.cli.views.explanation import explanation_view
    from experiments.inspection.explain import explain, explanation_json
    from experiments.store.store import Store

    found = explain(cell, Store(store))
    if as_json:
        print_json(explanation_json(found))
        return
    show(console_for(as_json), explanation_view(found))


def diff(
    a: CellArgument,
    b: OtherCellArgument,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Compare two cells, or two trainings: their configurations, provenance and numbers.

    Errors of differences are paired by image, because both cells start from the same noise and labels.
    """
    from experiments.cli.views.comparison import comparison_view
    from experiments.inspection.compare import compare, comparison_json
    from experiments.store.store import Store

    found = compare(a, b, Store(store))
    if as_json:
        print_json(comparison_json(found))
        return
    show(console_for(as_json), comparison_view(found))
