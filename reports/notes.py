"""Explains a report's tables to its reader, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from reports.entries import TableEntry
from reports.metrics import METRICS
from reports.tables import ResultTable, cell_list

METRIC_NOTES = {  # by the beginning of a metric's name
    "kid": (
        "KID is the kernel distance. It is unbiased at any number of images; values near 0 may be negative. Near 0 its "
        "intervals are too wide, and where some images lie far out, those of paired differences hold in about 90% "
        "instead of 95%."
    ),
    "precision": (
        "Precision and density measure how much of the drawn images lies among real images; recall and coverage "
        "measure how much of the real images lies among drawn ones."
    ),
    "fid_infinity": "FID inf is the FID extrapolated to infinitely many drawn images.",
    "nn_ratio": (
        "The distance ratio is the median over images of the distance to the nearest training image divided by the "
        "distance to the nearest test image, with equally many of both. 1 is ideal; below 1 means memorising."
    ),
    "nn_copied": (
        "Copied is the share of images that are closer to the train split, minus the share that its size explains. It "
        "is about 0 if nothing is copied: slightly negative by chance, far below 0 if images keep away from the train "
        "split."
    ),
    "truncation": (
        "The truncation error is the sampler's own error: the distance between the finished images and those of 512 "
        "Heun steps from the same noise, root mean square in grey levels (0 to 255). Lower is better."
    ),
}


def state_line(frame: pd.DataFrame) -> str:
    """Say how many cells there are and how many of them have no score."""
    states = [str(state) for state in frame["status"]]
    counts = (
        ("missing", f"{states.count('missing')} of them missing"),
        ("stopped", f"{states.count('stopped')} stopped early as clearly worse"),
        ("pruned", f"{states.count('pruned')} pruned"),
    )
    parts = [text for state, text in counts if state in states] or ["all done"]
    return f"{len(frame)} cells, {' and '.join(filter(None, (', '.join(parts[:-1]), parts[-1])))}"


def separation_note(tables: list[ResultTable]) -> str:
    """Say which numbers are in separate tables because they cannot be compared; empty if all can."""
    labels = list(dict.fromkeys(table.label for table in tables))
    if len(labels) < 2:
        return ""
    return f" Numbers that cannot be compared are in separate tables: {' | '.join(labels)}."


def reading_notes(tables: list[ResultTable]) -> list[str]:
    """Explain the symbols, rows and metrics that occur in the tables."""
    entries = [entry for table in tables for entry in table.entries]
    return [*_error_notes(entries), *_mark_notes(tables), *_baseline_notes(tables), *_metric_notes(tables)]


def _error_notes(entries: list[TableEntry]) -> Iterator[str]:
    if any(entry.margin and entry.std is None for entry in entries):
        yield (
            "±: half of the 95% interval of a score, for this number of drawn images and these real images. "
            "It shows how much the score would vary if images were drawn again, not if the network were trained again. "
            "For scores hardly worse than those of real images it is up to 1.4 times too wide."
        )
    seed_counts = [entry.num_seeds for entry in entries if entry.std is not None]
    if seed_counts:
        yield "s: the standard deviation over training seeds. The number shown is the mean over these seeds."
    if any(count > 2 for count in seed_counts):
        yield "± with s: half of the 95% t interval of that mean."
    if max((entry.expected_seeds for entry in entries), default=0) == 1 and not any(entry.margin for entry in entries):
        yield "There is one seed only, so the spread over seeds is unknown."


def _mark_notes(tables: list[ResultTable]) -> Iterator[str]:
    entries = [entry for table in tables for entry in table.entries]
    if any(entry.is_best for entry in entries):
        yield "Bold: significantly better than every other entry of its column."
    if any(entry.is_tied for entry in entries):
        yield (
            "≈: the best of its column, or not significantly different from the best. A column with this mark has no "
            "single winner."
        )
    if any(entry.mark for entry in entries):
        yield (
            "Significant means at 95% over the whole table: every entry is compared with the best of its column, "
            "p values are corrected by Holm's method, and cells are paired if they share noise and labels, or seeds. "
            "Two entries can therefore differ significantly although their intervals overlap."
        )
    if any(entry.num_stopped for entry in entries):
        yield "Stopped: the evaluation ended early because the score was clearly worse than that of another cell."
    if any(entry.num_pruned for entry in entries):
        yield (
            "Pruned: the training was stopped early because its validation loss was among the worst (ASHA). "
            "Its score is unknown."
        )
    if any(_has_column_without_errors(table) for table in tables):
        yield "Columns without ± and s have no known error, so nothing in them is marked."


def _has_column_without_errors(table: ResultTable) -> bool:
    """Whether a column has several numbers and no error."""
    return any(
        sum(entry.mean is not None for entry in column) > 1
        and not any(entry.margin or entry.std is not None or entry.mark for entry in column)
        for column in table.columns
    )


def _baseline_notes(tables: list[ResultTable]) -> Iterator[str]:
    kinds = {row.kind for table in tables for row in table.baselines}
    if "noise" in kinds:
        yield "The row of pure noise shows the scores of images that contain nothing but noise."
    if "real" in kinds:
        yield (
            "The row of real images shows the scores of real images, held out from the reference, in place of drawn "
            "ones: about what to expect of a perfect model."
        )


def _metric_notes(tables: list[ResultTable]) -> Iterator[str]:
    metrics = {head.metric for table in tables for head in table.heads}
    for start, sentence in METRIC_NOTES.items():
        if any(name.startswith(start) for name in metrics & METRICS.keys()):
            yield sentence


def remarks(frame: pd.DataFrame) -> list[str]:
    """List the notes of all cells, each once with the cells it applies to.

    A cell's notes are one text, separated by semicolons.
    """
    cells_by_note: dict[str, list[str]] = {}
    notes: list[object] = frame["notes"].tolist() if "notes" in frame.columns else []
    for cell, text in zip(frame["cell"], notes, strict=False):
        for note in filter(None, text.split("; ") if isinstance(text, str) else []):
            cells_by_note.setdefault(note, []).append(str(cell))
    return [f"{note} ({cell_list(cells, len(frame))})" for note, cells in cells_by_note.items()]
