"""What a section finds: rows, written to a file as they come, and the Markdown table of all of them."""

import json
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["right", "wrong", "measured", "skipped", "failed"]
BAD: tuple[Status, ...] = ("wrong", "failed")


@dataclass(frozen=True)
class Row:
    """One check, one measured figure, or one sentence about what did not run.

    value: what was found. tolerance: the most that a check allows. spread: of a figure, the distance between its first
    and last decile as a share of it. plain: the same figure of the plain loop. ceiling: the figure at which the machine
    would be as fast as its matrix rate and its bandwidth allow.
    """

    section: str
    what: str
    status: Status
    value: float | None = None
    unit: str = ""
    tolerance: float | None = None
    spread: float | None = None
    plain: float | None = None
    ceiling: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster than the plain loop; a figure in seconds is better where it is smaller."""
        if self.plain is None or not self.value:
            return None
        return self.plain / self.value if self.unit == "s" else self.value / self.plain

    @property
    def over_floor(self) -> float | None:
        """How many times longer than the floor it takes."""
        if self.ceiling is None or not self.value:
            return None
        return self.value / self.ceiling if self.unit == "s" else self.ceiling / self.value


@dataclass
class Report:
    """The rows of one section; each is in the file before the next begins.

    seconds: how long the section should take; it looks at `time_left` before it begins something long.
    """

    path: Path
    section: str
    seconds: float
    rows: list[Row] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def time_left(self) -> float:
        """Seconds until the section should be done."""
        return self.seconds - (time.monotonic() - self.began)

    def check(self, what: str, value: float, tolerance: float, unit: str = "", note: str = "") -> None:
        """Add a check that is right where `value` is at most `tolerance`; NaN is wrong."""
        status: Status = "right" if value <= tolerance else "wrong"
        self.add(Row(self.section, what, status, float(value), unit, float(tolerance), note=note))

    def measure(self, what: str, value: float, unit: str, **more: Any) -> None:
        """Add a figure; more: `spread`, `plain`, `ceiling` and `note` of a row."""
        self.add(Row(self.section, what, "measured", float(value), unit, **more))

    def skip(self, what: str, why: str) -> None:
        """Add a sentence about something that did not run, which is no mistake."""
        self.add(Row(self.section, what, "skipped", note=why))

    def fail(self, what: str, why: str) -> None:
        """Add something that should have run and did not."""
        self.add(Row(self.section, what, "failed", note=why))

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Run a block; an error in it is a row, and the section goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.fail(what, one_line(error))

    def has_time(self, what: str, needs_s: float) -> bool:
        """Return whether enough seconds are left; add a sentence where they are not."""
        if self.time_left >= needs_s:
            return True
        self.skip(what, f"{self.time_left:.0f} s were left, and it takes about {needs_s:.0f} s; give more --minutes.")
        return False

    def add(self, row: Row) -> None:
        """Add a row and write the file."""
        self.rows.append(row)
        write_whole(self.path, json.dumps([asdict(row) for row in self.rows]))


def one_line(error: BaseException) -> str:
    """Return an error as one line of text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.part")
    temporary.write_text(text)
    temporary.replace(path)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a section's file; none where it has written none."""
    return [Row(**fields) for fields in json.loads(path.read_text())] if path.exists() else []


# Markdown -----------------------------------------------------------------------------------------


def markdown(facts: dict[str, str], rows: Sequence[Row]) -> str:
    """Return all rows as a page: what was measured on, checks, figures, and what did not run."""
    checks = [row for row in rows if row.status in ("right", "wrong")]
    figures = [row for row in rows if row.status == "measured"]
    others = [row for row in rows if row.status in ("skipped", "failed")]
    lines = [f"{name}: {value}  " for name, value in facts.items()]
    lines += ["", "## Right", "", "| section | check | found | at most | |", "| --- | --- | ---: | ---: | --- |"]
    lines += [
        f"| {row.section} | {row.what} | {number(row.value)} {row.unit} | {number(row.tolerance)} {row.unit} | "
        f"{'right' if row.status == 'right' else '**wrong**'}{_remark(row)} |"
        for row in checks
    ]
    lines += ["", "## Fast", ""]
    lines += ["| section | what | measured | spread | plain loop | times faster | times the floor | |"]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    lines += [
        f"| {row.section} | {row.what} | {number(row.value)} {row.unit} | {_percent(row.spread)} | "
        f"{number(row.plain)} | {number(row.ratio)} | {number(row.over_floor)} | {row.note} |"
        for row in figures
    ]
    if others:
        lines += ["", "## Not run", ""]
        lines += [f"- {row.section}, {row.what}: {_failed(row)}{row.note}" for row in others]
    return "\n".join(lines) + "\n"


def _remark(row: Row) -> str:
    return f"; {row.note}" if row.note else ""


def _failed(row: Row) -> str:
    return "**failed**: " if row.status == "failed" else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def number(value: float | None) -> str:
    """Return a number in three digits."""
    if value is None:
        return ""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 and abs(value) < 1e7 else f"{value:.2e}"
