"""Data sets: the list of all, and the record of one that is prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from edm.config import SPLITS
from experiments.cli.views.tables import Paragraph, TextTable, numbers, sentences, values
from experiments.trials.data_records import names_in_record, numbered

FOLDER_COMMAND = "edm-sweep data prepare folder --from DIR --resolution N"
INDENT = 15


def record_view(made: dict[str, Any]) -> Group:
    """Return what is recorded of a prepared data set, a line for each fact."""
    shape, splits, source = made["shape"], made["splits"], made["source"]
    facts = {
        "images": f"{made['images']:,}" + (f" of {_times(shape)}, uint8" if shape else ""),
        "classes": _classes(made["num_classes"], names_in_record(made["name"], source)),
        "splits": ", ".join(f"{split} {splits[split]:,}" for split in SPLITS) if splits else None,
        "sigma_data": made["sigma_data"],
        "fingerprint": made["fingerprint"],
        "made from": f"{', '.join(source['files'])} ({source['checked']} checked)" if source else None,
        "folder": made["folder"],
        "remarks": "; ".join([*source.get("remarks", ()), *source.get("noticed", ())]) or None if source else None,
    }
    shown = ((name, value) for name, value in facts.items() if value is not None)
    return Group(*(Paragraph(Text(f"  {name}"), str(value), INDENT) for name, value in shown))


def _classes(number: int | None, names: tuple[str, ...]) -> str:
    return (f"{number} ({numbered(names)})" if names else str(number)) if number else "none"


def listing_table(rows: list[dict[str, Any]]) -> TextTable:
    """Return a row for each data set: what it is, and whether it is prepared or which files are missing."""
    facts = numbers("images", "shape", "classes", "train / val / test", "sigma_data")
    table = TextTable(*values("data set"), *facts, *sentences("prepared"))
    for row in rows:
        splits, sigma_data = row["splits"] or {}, row["sigma_data"]
        table.add(
            row["name"],
            f"{row['images']:,}",
            _times(row["shape"] or []),
            str(row["num_classes"] or "none"),
            " / ".join(f"{splits[split]:,}" for split in SPLITS if split in splits),
            "" if sigma_data is None else f"{sigma_data:.4f}",
            f"yes, in {row['prepared']}" if row["prepared"] else _not_prepared(row["files"]),
        )
    table.add("folder", "any", "any", "any", "its own, or 80 / 10 / 10 %", "", f"with {FOLDER_COMMAND}")
    return table


def _not_prepared(files: list[dict[str, Any]]) -> str:
    """Which files are missing, if any, and where they are expected."""
    missing = [Path(file["path"]) for file in files if not file["there"]]
    if not missing:
        return "no; no file is missing"
    return f"no; missing in {missing[0].parent}: {', '.join(path.name for path in missing)}"


def _times(shape: list[int]) -> str:
    return "x".join(map(str, shape))
