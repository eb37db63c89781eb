"""The report of a sweep as a store has it: which files, whether they have changed, and the main table as Markdown."""

from __future__ import annotations

import hashlib
import itertools
from contextlib import suppress
from pathlib import Path

from experiments.store.files import checksum
from experiments.store.folders import listed_below
from experiments.store.store import Store

PAGE, MARKDOWN = "report.html", "report.md"
MORE = "Not shown here: {} rows."


def report_files(store: Store, sweep: str) -> dict[str, Path]:
    """Return the files of a sweep's report by their path in its folder, without those that are being written."""
    folder = store.report_folder(sweep)
    found = {path.relative_to(folder): path for path in listed_below(folder, "*") if path.is_file()}
    visible = {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): path for name, path in sorted(visible.items())}


def report_digest(store: Store, sweep: str) -> str:
    """Return a digest of the content of a sweep's report; "" where there is none."""
    lines: list[str] = []
    for name, path in report_files(store, sweep).items():
        with suppress(FileNotFoundError):  # deleted meanwhile
            lines.append(f"{checksum(path)} {name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else ""


def main_table(text: str, longest: int) -> str:
    """Return how far a sweep is, its first table and what the marks in it mean, from a report in Markdown.

    longest: characters; a table that is longer ends with how many rows are left out.
    """
    blocks = [block.strip() for block in text.split("\n\n")]
    first = next((number for number, block in enumerate(blocks) if block.startswith("|")), None)
    if first is None:
        return ""
    above, rows = blocks[1:first], blocks[first].splitlines()
    below = ["\n".join(line for line in text.splitlines() if _explains_mark(line, blocks[first]))]
    left = longest - sum(len(block) + 2 for block in (*above, *below)) - len(MORE) - 10
    lengths = itertools.accumulate(len(row) + 1 for row in rows)
    kept = [row for row, length in zip(rows, lengths, strict=True) if length < left]
    missing = len(rows) - len(kept)
    more = [MORE.format(f"{missing:,}")] if missing else []
    return "\n\n".join(block for block in (*above, "\n".join(kept), *more, *below) if block)


def _explains_mark(line: str, table: str) -> bool:
    """Return whether a line of a report begins with a mark such as ≈ that a table has."""
    mark, colon, _ = line.removeprefix("- ").partition(":")
    return line.startswith("- ") and bool(colon) and len(mark) == 1 and not mark.isalnum() and mark in table
