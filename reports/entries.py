"""One number of a table: its error, its mark, and as many decimals as its column allows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

NOTHING = "—"
MOST_DECIMALS = 6


@dataclass(frozen=True)
class Entry:
    """One number of a table, the mean over `have` of the `want` seeds that it is made for.

    margin: half of its 95% interval; std: over seeds. best: better than all others of its column; close: no other can
    be told apart from the best, or this one cannot. stopped: of how many seeds the evaluation was stopped as clearly
    worse; pruned: of how many the training was ended early; instead: what to say in place of the number.
    """

    mean: float | None
    margin: float | None = None
    std: float | None = None
    have: int = 0
    want: int = 0
    best: bool = False
    close: bool = False
    decimals: int = 3
    scale: float = 1.0
    unit: str = ""
    stopped: int = 0
    pruned: int = 0
    instead: str = ""

    @property
    def text(self) -> str:
        """As it is printed, without emphasis and marks."""
        return f"{self.number} ({self.remark})" if self.remark else self.number

    @property
    def number(self) -> str:
        """The number with its interval, or what stands in its place."""
        if self.mean is None:
            return self.instead or NOTHING
        margin = f" ± {self._show(self.margin)}" if self.margin else ""  # no variance seen is no certainty: no "± 0"
        return f"{self._show(self.mean)}{margin}{self.unit}"

    @property
    def remark(self) -> str:
        """What more there is to say: the spread over seeds, and how many of them there are where some miss."""
        spread = f"s {self._show(self.std)}" if self.std is not None else ""
        seeds = f"{self.have} of {self.want} seeds" if self.mean is not None and self.have < self.want else ""
        return ", ".join(filter(None, (spread, seeds)))

    def _show(self, value: float) -> str:
        return f"{value * self.scale:.{self.decimals}f}"


def rounded(column: Sequence[Entry]) -> list[Entry]:
    """The same column with as many decimals as its errors allow: two digits of the middle one."""
    decimals = _decimals(column)
    return [replace(entry, decimals=decimals) for entry in column]


def _decimals(column: Sequence[Entry]) -> int:
    scale, percent = column[0].scale, "%" in column[0].unit
    sizes = sorted(abs(entry.mean) * scale for entry in column if entry.mean and math.isfinite(entry.mean))
    margins = [entry.margin * scale for entry in column if entry.margin]
    errors = margins or [entry.std * scale for entry in column if entry.std and math.isfinite(entry.std)]
    if errors:
        return min(max(0, 1 - _magnitude(statistics.median(errors))), MOST_DECIMALS)
    usual = 1 if percent else 2 if sizes and statistics.median(sizes) >= 10 else 3
    return min(max(usual, -_magnitude(sizes[0])), MOST_DECIMALS) if sizes else usual


def _magnitude(value: float) -> int:
    """The power of ten of its first digit, when shown with two."""
    return int(f"{value:.1e}".partition("e")[2])
