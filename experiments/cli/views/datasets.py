"""Data sets as tables and lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from edm.config import SPLITS

ROW_OF_FOLDERS = "edm-sweep data prepare folder --from DIR --resolution N"


def record_lines(made: dict[str, Any]) -> list[str]:
    """The same in lines."""
    shape, splits, source = made["shape"], made["splits"], made["source"]
    rows = {
        "images": f"{made['images']:,}" + (f" of {_times(shape)}, uint8" if shape else ""),
        "classes": made["num_classes"] or "none",
        "splits": ", ".join(f"{split} {splits[split]:,}" for split in SPLITS) if splits else None,
        "sigma_data": made["sigma_data"],
        "fingerprint": made["fingerprint"],
        "from": f"{', '.join(source['files'])} ({source['checked']} checked)" if source else None,
        "in": made["folder"],
    }
    return [f"  {key:<12} {value}" for key, value in rows.items() if value is not None]


def listing_table(rows: list[dict[str, Any]]) -> Table:
    """The data sets, what is prepared and where, and where the files of the others are expected."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("data set", "images", "size", "classes", "train / val / test", "sigma_data", "prepared"):
        table.add_column(header, justify="right" if header in ("images", "size", "classes") else "left")
    for row in rows:
        splits, sigma_data = row["splits"] or {}, row["sigma_data"]
        table.add_row(
            row["name"],
            f"{row['images']:,}",
            _times(row["shape"] or []),
            str(row["num_classes"] or "-"),
            " / ".join(f"{splits[split]:,}" for split in SPLITS if split in splits),
            "" if sigma_data is None else f"{sigma_data:.4f}",
            row["prepared"] or _not_prepared(row["files"]),
        )
    table.add_row("folder", "any", "any", "any", "own, or 80 / 10 / 10 %", "", f"by {ROW_OF_FOLDERS}")
    return table


def _not_prepared(files: list[dict[str, Any]]) -> str:
    """What is missing, if anything: its names once, and its folder."""
    absent = [Path(file["path"]) for file in files if not file["there"]]
    if not absent:
        return "no; all it needs is there"
    return f"no; needs {', '.join(path.name for path in absent)} in {absent[0].parent}"


def _times(shape: list[int]) -> str:
    return "x".join(map(str, shape))
