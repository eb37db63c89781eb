"""One number of a table with its error and its mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.metrics import common_decimals, is_rounding, signed, visible_decimals
from reports.significance import Mark

NO_NUMBER = "—"
TIED_MARK = "≈"  # after a number that is the best of its column, or not significantly different from the best
SMALLEST_P = 0.001  # that is shown as a number


@dataclass(frozen=True)
class TableEntry:
    """One number of a table: the mean over `num_seeds` of the `expected_seeds` that the sweep asks for.

    margin: half of the mean's 95% interval. std: standard deviation over seeds. num_stopped: seeds whose evaluation
    was stopped early as clearly worse; num_pruned: seeds whose training was stopped early. replacement: text to show
    if there is no number. waiting: how many seeds are in which state, such as "1 running", if others have a score.
    has_fewer_seeds: than another entry of its table, though the sweep asks for no more.
    is_difference: it is a difference to the baseline, which shows its sign. p: of the test that it is 0.
    footnotes: marks of the footnotes that it has. cells: the names of the cells behind it.
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
    replacement: str = ""
    waiting: tuple[str, ...] = ()
    has_fewer_seeds: bool = False
    is_difference: bool = False
    p: float | None = None
    footnotes: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()

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
        return f"{self.text_without_footnotes} {self.footnote}" if self.footnotes else self.text_without_footnotes

    @property
    def text_without_footnotes(self) -> str:
        """The number with its remark alone."""
        return f"{self.number} ({self.remark})" if self.remark else self.number

    @property
    def footnote(self) -> str:
        """The marks of the entry's footnotes, such as "[a]"; empty if it has none."""
        return f"[{','.join(self.footnotes)}]" if self.footnotes else ""

    @property
    def number(self) -> str:
        """The number with its interval, or the text that replaces it."""
        if self.mean is None:
            return self.replacement or NO_NUMBER
        interval = f" {self.interval}" if self.interval else ""
        return f"{self.value}{interval}{self.unit}"

    @property
    def value(self) -> str:
        """The mean alone; empty if there is none."""
        if self.mean is None:
            return ""
        return signed(self._format(self.mean)) if self.is_difference else self._format(self.mean)

    @property
    def interval(self) -> str:
        """The interval alone, such as "± 0.17"; empty if it is unknown or no variance was seen."""
        return f"± {self._format(self.margin)}" if self.margin else ""

    @property
    def remark(self) -> str:
        """The standard deviation over seeds, how many seeds there are if others have more, and the p value."""
        return ", ".join(self.remarks)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The parts of the remark."""
        std = f"s {self._format(self.std)}" if self.std is not None else ""
        p = describe_p(self.p) if self.p is not None else ""
        return tuple(filter(None, (std, *self._seeds(), p)))

    def _seeds(self) -> tuple[str, ...]:
        if self.mean is None:
            return ()
        if self.num_seeds < self.expected_seeds:
            return f"{self.num_seeds} of {self.expected_seeds} seeds", *self.waiting
        return (f"{self.num_seeds} seed{'s' if self.num_seeds > 1 else ''}",) if self.has_fewer_seeds else ()

    def _format(self, value: float) -> str:
        return f"{value * self.scale:z.{self.decimals}f}"


def describe_p(p: float) -> str:
    """Return a p value in words, such as "p 0.03" or "p < 0.001"."""
    return f"p {p:.2g}" if p >= SMALLEST_P else f"p < {SMALLEST_P}"


def round_column(column: Sequence[TableEntry]) -> list[TableEntry]:
    """Return a column whose entries have as many decimals as its errors allow, and more where an error would be 0."""
    values = [entry.mean for entry in column if entry.mean is not None]
    errors = [_errors(entry) for entry in column]  # margins, or standard deviations where there are none
    scale = column[0].scale
    decimals = common_decimals(values, [of_entry[0] for of_entry in errors if of_entry], scale, column[0].unit)
    return [
        replace(entry, decimals=visible_decimals(decimals, of_entry, scale))
        for entry, of_entry in zip(column, errors, strict=True)
    ]


def _errors(entry: TableEntry) -> list[float]:
    """What is shown of an entry's error: half of its interval, its standard deviation unless that is but rounding."""
    has_std = entry.mean is not None and entry.std and not is_rounding(entry.std, [entry.mean])
    return [error for error in (entry.margin, entry.std if has_std else None) if error]


def with_seed_counts(columns: Sequence[Sequence[TableEntry]]) -> list[list[TableEntry]]:
    """Return the columns of a table whose entries say how many seeds they have where others have more."""
    most = max((entry.num_seeds for column in columns for entry in column), default=0)
    return [[replace(entry, has_fewer_seeds=0 < entry.num_seeds < most) for entry in column] for column in columns]


def coarsest(column: Sequence[TableEntry]) -> TableEntry:
    """Return the entry with the fewest decimals, which are those of the column."""
    return min(column, key=lambda entry: entry.decimals)
