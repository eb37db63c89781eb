"""What a reader of the tables must know, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from reports.entries import Entry
from reports.metrics import METRICS
from reports.tables import Comparison

MOST_NAMES = 6


def state_line(frame: pd.DataFrame) -> str:
    """How much of the table is there."""
    states = frame["status"].tolist()
    counts = (
        ("missing", f"{states.count('missing')} of them missing"),
        ("stopped", f"{states.count('stopped')} stopped early as clearly worse"),
        ("pruned", f"{states.count('pruned')} pruned"),
    )
    parts = [text for state, text in counts if state in states] or ["all done"]
    return f"{len(frame)} cells, {' and '.join(filter(None, (', '.join(parts[:-1]), parts[-1])))}"


def apart(tables: list[Comparison]) -> str:
    """Which numbers are kept in tables of their own; empty where all can be compared."""
    labels = list(dict.fromkeys(table.label for table in tables))
    return f" Numbers that cannot be compared are kept apart: {' | '.join(labels)}." if len(labels) > 1 else ""


def reading_note(tables: list[Comparison]) -> list[str]:
    """How to read the tables, a sentence or two for each thing that they show."""
    entries = [entry for table in tables for entry in table.entries]
    return [*_errors(entries), *_emphasis(tables), *_floor(tables), *_meanings(tables)]


def _errors(entries: list[Entry]) -> Iterator[str]:
    if any(entry.margin and entry.std is None for entry in entries):
        yield (
            "±: half of the 95% interval of a score at this number of images drawn and against these real images. "
            "It says how far another draw of images would move the score, not how far another training would."
        )
    spreads = [entry.have for entry in entries if entry.std is not None]
    if spreads:
        yield "s: the standard deviation over seeds of training, of which the table has the mean."
    if any(have > 2 for have in spreads):
        yield "± beside s: half of the 95% t interval of that mean."
    if max((entry.want for entry in entries), default=0) == 1 and not any(entry.margin for entry in entries):
        yield "One seed: no spread is known."


def _emphasis(tables: list[Comparison]) -> Iterator[str]:
    entries = [entry for table in tables for entry in table.entries]
    if any(entry.best for entry in entries):
        yield "Bold: told apart from every other entry of its column, and better."
    if any(entry.close for entry in entries):
        yield "≈: the best of its column and those that cannot be told apart from it; such a column has no winner."
    if any(entry.best or entry.close for entry in entries):
        yield (
            "Told apart: at 95% over a whole table (Holm's correction), every entry against the best of its column, "
            "paired wherever two share noise and labels or seeds; so even overlapping intervals may be told apart."
        )
    if any(entry.stopped for entry in entries):
        yield "Stopped: no more images were drawn once the score was clearly worse than the best cell's."
    if any(entry.pruned for entry in entries):
        yield (
            "Pruned: its training was stopped early because its validation loss was among the worst (ASHA); nothing is "
            "said of its score."
        )
    if any(_bare(table) for table in tables):
        yield "Columns without ± and s: their error is not known, and nothing in them is marked."


def _bare(table: Comparison) -> bool:
    """Whether a column has several numbers and no error."""
    columns = zip(*(line for _, line in table.rows), strict=True)
    return any(
        sum(entry.mean is not None for entry in column) > 1
        and not any(entry.margin or entry.std is not None or entry.close or entry.best for entry in column)
        for column in columns
    )


def _floor(tables: list[Comparison]) -> Iterator[str]:
    if any(row.kind == "real" for table in tables for row in table.context):
        yield "The row of real images is the floor: what real images score in place of drawn ones."


MEANINGS = {
    "kid": "KID: the kernel distance, unbiased at any number of images; near 0 it may be negative.",
    "precision": (
        "Precision and density: how much of what is drawn lies among real images; recall and coverage: how much of "
        "what is real lies among drawn ones."
    ),
    "fid_infinity": "FID inf: the FID extrapolated to infinitely many drawn images.",
    "nn_ratio": (
        "Distance ratio: the median over images of the distance to the nearest training image over that to the "
        "nearest test image, equally many of both; 1 is as it should be, below 1 is memorising."
    ),
    "nn_copied": (
        "Copied: the share of images that are nearer to the whole train split than its size explains; about 0 where "
        "nothing is copied; below it by chance, far below where images keep away from the train split."
    ),
    "truncation": (
        "Truncation error: how far the finished images are from those of 512 steps of Heun from the same noise, "
        "root mean square in grey levels (0 to 255): the sampler's own error, lower is better."
    ),
}


def _meanings(tables: list[Comparison]) -> Iterator[str]:
    shown = {head.metric for table in tables for head in table.heads}
    for start, sentence in MEANINGS.items():
        if any(name.startswith(start) for name in shown & METRICS.keys()):
            yield sentence


def remarks(frame: pd.DataFrame) -> list[str]:
    """The notes of cells, each once with the cells that it is of. A cell's notes are parted by semicolons."""
    found: dict[str, list[str]] = {}
    notes = frame["notes"] if "notes" in frame.columns else []
    for cell, text in zip(frame["cell"], notes, strict=False):
        for note in filter(None, text.split("; ") if isinstance(text, str) else []):
            found.setdefault(note, []).append(str(cell))
    return [f"{note} ({_cells(names, len(frame))})" for note, names in found.items()]


def _cells(names: list[str], total: int) -> str:
    if len(names) == total:
        return "all cells"
    shown = ", ".join(names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{'cell' if len(names) == 1 else 'cells'} {shown}{more}"
