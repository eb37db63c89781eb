"""Which tables a group of comparable cells makes: their metrics, and which axes are rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from reports.metrics import METRICS, PREFERRED_SPLITS, SPLITS

FIDELITY = ("kid", "precision", "recall", "density", "coverage", "fid_infinity")
MEMORISATION = tuple(f"nn_{kind}_{space}" for kind in ("ratio", "copied") for space in ("pixels", "features"))


@dataclass(frozen=True)
class Layout:
    """The axes that make the rows and columns of a sweep's tables, and the metrics to show; None shows all."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TableSpec:
    """One of the tables of a group of comparable cells."""

    name: str
    metrics: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    main: bool = False


def table_specs(frame: pd.DataFrame, layout: Layout) -> list[TableSpec]:
    """Return the tables to make of comparable cells, the main one first; one table if the layout names metrics."""
    if layout.metrics:
        named = tuple(metric for metric in layout.metrics if metric in frame.columns)
        return [TableSpec("", named, layout.rows, layout.columns, main=True)]
    main = _main_metrics(frame)
    split, fidelity = _fidelity_metrics(frame, exclude=main)
    all_axes = (*layout.rows, *layout.columns)  # tables of many metrics have no room for columns of axis values
    candidates = [
        TableSpec("", main, layout.rows, layout.columns),
        TableSpec(f"kernel distance, fidelity and diversity, {split} split", fidelity, all_axes),
        TableSpec("own metrics", _own_metrics(frame), all_axes),
        TableSpec("memorisation", columns_with_values(frame, MEMORISATION), all_axes),
    ]
    specs = [spec for spec in candidates if spec.metrics]
    if not specs:
        present = tuple(metric for metric in METRICS if metric in frame.columns)
        specs = [TableSpec("", present, layout.rows, layout.columns)]
    return [replace(spec, main=number == 0) for number, spec in enumerate(specs)]


def _own_metrics(frame: pd.DataFrame) -> tuple[str, ...]:
    """The metrics that the sweep defines itself."""
    return columns_with_values(frame, [name for name, info in METRICS.items() if info.group == "own"])


def _main_metrics(frame: pd.DataFrame) -> tuple[str, ...]:
    """FID of every split, or KID if there is no FID, and the other main metrics; distances only if all are missing."""
    distances: list[str] = []
    for split in (*SPLITS, "file"):
        present = [name for name in (f"fid_{split}", f"kid_{split}") if name in frame.columns]
        distances += (columns_with_values(frame, present) or tuple(present))[:1]
    return columns_with_values(frame, (*distances, "class_accuracy", "truncation_rms")) or tuple(distances)


def _fidelity_metrics(frame: pd.DataFrame, exclude: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The preferred split that has fidelity metrics, and those metrics."""
    for split in PREFERRED_SPLITS:
        names = columns_with_values(frame, [f"{name}_{split}" for name in FIDELITY if f"{name}_{split}" not in exclude])
        if names:
            return split, names
    return "", ()


def columns_with_values(frame: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of those columns that hold at least one number."""
    return tuple(name for name in names if name in frame.columns and bool(frame[name].notna().any()))
