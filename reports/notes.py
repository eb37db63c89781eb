"""Explains a report's tables to its reader, in sentences."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from reports.comparable import COMPARABLE
from reports.detectable import SMALLEST
from reports.entries import TableEntry
from reports.metrics import METRICS
from reports.scores import PLANNED, States
from reports.table import ResultTable
from reports.values import cell_list, counted, in_words, show_value

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
    "class_accuracy": (
        "Class accuracy is the share of images that show the class asked for, as the small classifier judges them. "
        "Above 99% its intervals are too narrow, and 100% has none; comparisons between cells hold."
    ),
    "fid_infinity": "FID inf is the FID extrapolated to infinitely many drawn images.",
    "nn_ratio": (
        "The distance ratio is the median over images of the distance to the nearest training image divided by the "
        "distance to the nearest test image, with equally many of both. 1 is ideal; below 1 means memorising."
    ),
    "nn_copied": (
        "Copied is the share of images that are closer to the train split, minus the share that its size explains. It "
        "is about 0 if nothing is copied: slightly negative by chance, far below 0 if images keep away from the train "
        "split. With one seed, its ± is what chance alone makes of it: if nothing is copied, it is that close to 0 in "
        "95% of all random splits of these real images into train and held-out ones. Differences between cells have "
        "intervals of their own, over redrawn images: from both cells' images, one by one, for this split."
    ),
    "truncation": (
        "The truncation error is the sampler's own error: the distance between the finished images and those of 512 "
        "Heun steps from the same noise, root mean square in grey levels (0 to 255). Lower is better."
    ),
}


def state_line(frame: pd.DataFrame, states: States | None = None) -> str:
    """Say how many cells there are and how many of them have no score. states: of those that are missing, by name."""
    known, found = states or {}, [str(state) for state in frame["status"]]
    missing = [cell for cell, state in zip(frame["cell"], found, strict=True) if state == "missing"]
    waiting = Counter(known.get(str(cell), PLANNED) for cell in missing)
    details = ", ".join(f"{waiting[state]} {state}" for state in sorted(waiting)) if set(waiting) - {PLANNED} else ""
    counts = (
        ("missing", f"{len(missing)} of them missing{f' ({details})' if details else ''}"),
        ("stopped", f"{found.count('stopped')} stopped early as clearly worse"),
        ("pruned", f"{found.count('pruned')} pruned"),
    )
    parts = [text for state, text in counts if state in found] or ["all done"]
    return f"{counted(len(frame), 'cell')}, {in_words(parts)}"


def separation_note(tables: list[ResultTable], frame: pd.DataFrame) -> str:
    """Say which numbers are in separate tables because they cannot be compared, and why; empty if all can."""
    labels = list(dict.fromkeys(table.label for table in tables if table.has_scores))
    if len(labels) < 2:
        return ""
    why = "; ".join(_separating(frame))
    return f" Numbers that cannot be compared are in separate tables: {' | '.join(labels)}. What differs: {why}."


def _separating(frame: pd.DataFrame) -> Iterator[str]:
    """The fields that keep cells apart, with the cells of each value."""
    for column in dict.fromkeys(COMPARABLE.values()):
        if column in frame.columns and not _follows_from_data(column, frame):
            for field in _fields_behind(column, frame):
                groups = frame["cell"].astype(str).groupby(frame[field].map(show_value), sort=False)
                cells = ", ".join(f"{value} ({cell_list(list(names), len(frame))})" for value, names in groups)
                yield f"{'data set' if field == 'data' else field} {cells}"


def _fields_behind(column: str, frame: pd.DataFrame) -> list[str]:
    """The fields of the sweep file that decide a column and have several values, or the column if only it has."""
    deciding = [field for field, decided in COMPARABLE.items() if decided == column]
    others = [str(name) for name in frame.columns if str(name).startswith("data.")] if column == "data" else []
    for fields in (deciding, others, [column]):
        found = [name for name in fields if name in frame.columns and _varies(frame[name])]
        if found:
            return found
    return []


def _varies(values: pd.Series) -> bool:
    return values.map(show_value).nunique() > 1


def _follows_from_data(column: str, frame: pd.DataFrame) -> bool:
    """Whether the cells of a data set agree in how many real images there are: a smaller one has fewer."""
    return column == "reference" and not any(_varies(own) for _, own in frame.groupby("data")[column])


def reading_notes(tables: list[ResultTable]) -> list[str]:
    """Explain the symbols, rows and metrics that occur in the tables."""
    entries = [entry for table in tables for entry in table.entries]
    notes = (_error_notes(entries), _mark_notes(tables), _effect_notes(tables), _baseline_notes(tables))
    return [*itertools.chain(*notes), *_metric_notes(tables)]


def report_notes(tables: list[ResultTable], notes: Iterable[str]) -> list[str]:
    """Return what a reader of the tables has to know. notes: further sentences, without their full stops."""
    return [*reading_notes(tables), *(f"{sentence}." for sentence in notes)]


def origins(provenance: Mapping[str, str]) -> list[str]:
    """Return where the numbers come from, as lines."""
    return [f"{name}: {value}" for name, value in provenance.items()]


def _error_notes(entries: list[TableEntry]) -> Iterator[str]:
    if any(entry.margin and entry.std is None and not entry.is_difference for entry in entries):
        yield (
            "±: half of the 95% interval of a score, for this number of drawn images and these real images. "
            "It shows how much the score would vary if images were drawn again, not if the network were trained again. "
            "For scores hardly worse than those of real images it is up to 1.4 times too wide."
        )
    seed_counts = [entry.num_seeds for entry in entries if entry.std is not None]
    if seed_counts:
        fewest, most = min(seed_counts), max(seed_counts)
        count = f"{most}" if fewest == most else f"{fewest} to {most}"
        yield f"s: the standard deviation over {count} training seeds. The number shown is the mean over these seeds."
    if any(entry.has_fewer_seeds for entry in entries):
        yield "An entry that has fewer seeds than others of its table says how many it has."
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
    if any(entry.mark and entry.std is None for entry in entries):
        yield (
            "With one seed, significant is about these very networks: if they were trained again, another entry could "
            "be the best. Several seeds take that into account."
        )
    if any(entry.num_stopped for entry in entries):
        yield "Stopped: the evaluation ended early because the score was clearly worse than that of another cell."
    if any(entry.num_pruned for entry in entries):
        yield (
            "Pruned: the training was stopped early because its validation loss was among the worst (ASHA). "
            "Its score is unknown."
        )
    if any(entry.p is not None for entry in entries):
        yield (
            "Δ: the difference to the baseline, which is the same cell at the values named below the table. Its ± is "
            "half of the 95% interval of the difference itself, paired where cells share noise and labels, or seeds; p "
            "is two-sided and not corrected for the number of comparisons. With several seeds, the difference is over "
            "those that both cells have."
        )
    if any(entry.is_difference and entry.unit == " %" for entry in entries):
        yield "Differences of percentages are in percentage points."
    if any(_has_column_without_errors(table) for table in tables):
        yield "Columns without ± and s have no known error, so nothing in them is marked."


def _has_column_without_errors(table: ResultTable) -> bool:
    """Whether a column has several numbers and no error."""
    return any(
        head.kind == "score"
        and sum(entry.mean is not None for entry in column) > 1
        and not any(entry.margin or entry.std is not None or entry.mark for entry in column)
        for head, column in zip(table.heads, table.columns, strict=True)
    )


def _effect_notes(tables: list[ResultTable]) -> Iterator[str]:
    if any(table.effects for table in tables):
        yield (
            "Main effects: the mean difference between two values of an axis, over all pairs of cells that differ in "
            "nothing else. ± is half of the 95% interval of that mean, over redrawn images or, with several seeds, "
            "over the seeds that all of these cells have; it does not include how much the difference varies from pair "
            "to pair, and is not corrected for the number of effects. Where pairs differ in direction, the smallest "
            "and the largest difference follow."
        )
    if any(effect.num_left_out for table in tables for effect in table.effects):
        yield (
            "A main effect leaves out pairs that lack seeds where the others then hold more scores, and never more "
            "than half of the pairs."
        )
    if any(table.detectable for table in tables):
        yield (
            f"{SMALLEST}: between two cells that differ in this axis alone, a difference of this size is "
            "significant at 95% in four of five cases, by a paired t test over these seeds, before any correction. How "
            "much differences vary over seeds is estimated from all such pairs of the table, roughly if they are few."
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
    metrics = {head.metric for table in tables for head in table.heads if head.kind == "score"}
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
    return [f"{note[:1].upper()}{note[1:]} ({cell_list(cells, len(frame))})" for note, cells in cells_by_note.items()]
