"""Result tables as a data frame for other programs: one row for each entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reports.entries import TableEntry
from reports.heads import ColumnHead
from reports.table import ResultTable

COLUMNS = {  # of the frame, with their meanings
    "table": "the number of the table in the report",
    "name": "its title; empty for the main table",
    "scores": "what all scores of the table are: features, images, references, data set",
    "row": "the values of the axes that make rows, or what a row of pure noise or of real images is called",
    "column": "the values of the axes that make columns",
    "metric": "the metric or cost",
    "kind": "score, difference (to the baseline), published (by others) or cost",
    "value": "the mean over seeds, in the metric's stored unit",
    "margin": "half of its 95% interval",
    "std": "standard deviation over seeds",
    "seeds": "seeds with a number, or in a difference",
    "p": "p value of a difference",
    "mark": "best: significantly better than all others of its column; tied: the best, or not significantly different",
    "shown": "the entry as the table shows it",
}


def tidy_frame(tables: Sequence[ResultTable]) -> pd.DataFrame:
    """Return every entry of the tables as a row, baselines included."""
    rows: list[dict[str, Any]] = []
    for table in tables:
        lines = [(label, entries) for label, (_, entries) in zip(table.row_labels, table.rows, strict=True)]
        lines += [(row.title, row.entries) for row in table.baselines]
        for label, entries in lines:
            pairs = zip(table.heads, entries, strict=True)
            rows += [_record(table, label, head, entry) for head, entry in pairs]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _record(table: ResultTable, label: str, head: ColumnHead, entry: TableEntry) -> dict[str, Any]:
    return {
        "table": table.number,
        "name": table.name,
        "scores": table.label,
        "row": label,
        "column": ", ".join(head.axis_values),
        "metric": head.metric,
        "kind": head.kind,
        "value": entry.mean,
        "margin": entry.margin,
        "std": entry.std,
        "seeds": entry.num_seeds,
        "p": entry.p,
        "mark": entry.mark,
        "shown": entry.text,
    }
