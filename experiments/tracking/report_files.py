"""The report of a sweep as a store has it: which files, whether they have changed, and the main table as Markdown."""

from __future__ import annotations

import hashlib
from pathlib import Path

from experiments.store.files import checksum
from experiments.store.store import Store

PAGE, MARKDOWN = "report.html", "report.md"


def report_files(store: Store, sweep: str) -> dict[str, Path]:
    """Return the files of a sweep's report by their path in its folder, without those that are being written."""
    folder = store.report_folder(sweep)
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    visible = {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.parts)}
    return {name.as_posix(): path for name, path in sorted(visible.items())}


def report_digest(store: Store, sweep: str) -> str:
    """Return a digest of the content of a sweep's report; "" where there is none."""
    files = report_files(store, sweep)
    if not files:
        return ""
    lines = "".join(f"{checksum(path)} {name}\n" for name, path in files.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def main_table(text: str, longest: int) -> str:
    """Return how far a sweep is and its first table, from the text of a report in Markdown.

    longest: characters; a table that is longer ends with how many rows are left out.
    """
    blocks = [block.strip() for block in text.split("\n\n")]
    tables = [number for number, block in enumerate(blocks) if block.startswith("|")]
    if not tables:
        return ""
    kept, table = blocks[1 : tables[0]], blocks[tables[0]].splitlines()
    rows, left = table[:2], longest - sum(len(block) + 2 for block in kept) - 40
    for line in table[2:]:
        if sum(len(row) + 1 for row in rows) + len(line) > left:
            break
        rows.append(line)
    missing = len(table) - len(rows)
    more = [f"{missing:,} more rows are in the report."] if missing else []
    return "\n\n".join([*kept, "\n".join(rows), *more])
