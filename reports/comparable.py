"""Which numbers may share a table: those of cells that agree in every field here. Needs the standard library alone."""

from __future__ import annotations

COMPARABLE = {  # columns of a frame, by the field of the sweep file that decides each
    "evaluation.features": "features",
    "evaluation.resize": "features",
    "evaluation.images": "evaluation.images",
    "evaluation.reference": "reference",
    "data.name": "data",
    "sampling.resolution": "sampling.resolution",
    "sampling.precision": "sampling.precision",
}


def separating_columns(present: list[str], axes: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    """Return the columns of a frame in which cells of one table agree.

    present: all columns of the frame. axes: of the table, which may compare precisions. allowed: fields that may
    differ.
    """
    ignored = {COMPARABLE[name] for name in allowed} | ({"sampling.precision"} & set(axes))
    return [name for name in dict.fromkeys(COMPARABLE.values()) if name in present and name not in ignored]
