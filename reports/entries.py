"""One number of a table with its error and its mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.metrics import common_decimals
from reports.significance import Mark

NO_NUMBER = "—"
CHANGED_MARK = "†"  # after a number that other code than today's has made


@dataclass(frozen=True)
class TableEntry:
    """One number of a table: the mean over `num_seeds` of the `expected_seeds` that the sweep asks for.

    margin: half of the mean's 95% interval. std: standard deviation over seeds. num_stopped: seeds whose evaluation
    was stopped early as clearly worse; num_pruned: seeds whose training was stopped early. num_changed: seeds whose
    result other code than today's has made. replacement: text to show if there is no number.
    """

    mean: float | None
    margin: float | None = None
    std: float | None = None
    num_seeds: int = 0
    expected_seeds: int = 0
    mark: Mark = ""
    decimals: int = 3
    scale: float = 1.0
    unit: str = ""
    num_stopped: int = 0
    num_pruned: int = 0
    num_changed: int = 0
    replacement: str = ""

    @property
    def is_best(self) -> bool:
        """Whether this entry is significantly better than all others of its column."""
        return self.mark == "best"

    @property
    def is_tied(self) -> bool:
        """Whether this entry is the best of its column or not significantly different from it, with no clear winner."""
        return self.mark == "tied"

    @property
    def text(self) -> str:
        """The whole entry without emphasis or mark."""
        return f"{self.number} ({self.remark})" if self.remark else self.number

    @property
    def number(self) -> str:
        """The number with its interval, or the text that replaces it."""
        if self.mean is None:
            return self.replacement or NO_NUMBER
        interval = f" {self.interval}" if self.interval else ""
        return f"{self.value}{interval}{self.unit}{self.footnote_mark}"

    @property
    def footnote_mark(self) -> str:
        """What refers to the table's footnotes; empty if none is about this number."""
        return CHANGED_MARK if self.num_changed and self.mean is not None else ""

    @property
    def value(self) -> str:
        """The mean alone; empty if there is none."""
        return "" if self.mean is None else self._format(self.mean)

    @property
    def interval(self) -> str:
        """The interval alone, such as "± 0.17"; empty if it is unknown or no variance was seen."""
        return f"± {self._format(self.margin)}" if self.margin else ""

    @property
    def remark(self) -> str:
        """The standard deviation over seeds, and how many seeds there are if some are missing."""
        return ", ".join(self.remarks)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The parts of the remark."""
        std = f"s {self._format(self.std)}" if self.std is not None else ""
        incomplete = self.mean is not None and self.num_seeds < self.expected_seeds
        seeds = f"{self.num_seeds} of {self.expected_seeds} seeds" if incomplete else ""
        return tuple(filter(None, (std, seeds)))

    def _format(self, value: float) -> str:
        return f"{value * self.scale:.{self.decimals}f}"


def round_column(column: Sequence[TableEntry]) -> list[TableEntry]:
    """Return a column whose entries all have as many decimals as its errors allow."""
    values = [entry.mean for entry in column if entry.mean is not None]
    margins = [entry.margin for entry in column if entry.margin]
    stds = [entry.std for entry in column if entry.std and math.isfinite(entry.std)]
    decimals = common_decimals(values, margins or stds, column[0].scale, column[0].unit)
    return [replace(entry, decimals=decimals) for entry in column]
