"""Which tables a group of comparable cells makes: of which metrics, with which axes as rows and as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from reports.metrics import BEST_SPLITS, METRICS, SPLITS

FIDELITY = ("kid", "precision", "recall", "density", "coverage", "fid_infinity")
MEMORISATION = tuple(f"nn_{what}_{view}" for what in ("ratio", "copied") for view in ("pixels", "features"))


@dataclass(frozen=True)
class Layout:
    """What makes the rows and the columns of a table; metrics None are all there are."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Part:
    """One of the tables of a group."""

    name: str
    metrics: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    main: bool = False


def parts(frame: pd.DataFrame, layout: Layout) -> list[Part]:
    """The tables of a group of comparable cells, the main one first; only of named metrics if it names any."""
    if layout.metrics:
        named = tuple(metric for metric in layout.metrics if metric in frame.columns)
        return [Part("", named, layout.rows, layout.columns, main=True)]
    first = _main_metrics(frame)
    split, fidelity = _fidelity_metrics(frame, first)
    long = (*layout.rows, *layout.columns)  # many metrics beside one another leave no room for columns of axes
    wanted = [
        Part("", first, layout.rows, layout.columns),
        Part(f"kernel distance, fidelity and diversity, {split} split", fidelity, long),
        Part("memorisation", valued(frame, MEMORISATION), long),
    ]
    there = [part for part in wanted if part.metrics]
    if not there:
        there = [Part("", tuple(metric for metric in METRICS if metric in frame.columns), layout.rows, layout.columns)]
    return [replace(part, main=number == 0) for number, part in enumerate(there)]


def _main_metrics(frame: pd.DataFrame) -> tuple[str, ...]:
    """A distance of every split, Frechet's where there is one, and what else there is; distances alone if all miss."""
    distances: list[str] = []
    for split in (*SPLITS, "file"):
        there = [name for name in (f"fid_{split}", f"kid_{split}") if name in frame.columns]
        distances += (valued(frame, there) or tuple(there))[:1]
    wanted = (*distances, "class_accuracy", "truncation_rms")
    return valued(frame, wanted) or tuple(distances)


def _fidelity_metrics(frame: pd.DataFrame, first: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The first split with numbers of fidelity, and their names, less those that the main table has."""
    for split in BEST_SPLITS:
        names = valued(frame, [f"{name}_{split}" for name in FIDELITY if f"{name}_{split}" not in first])
        if names:
            return split, names
    return "", ()


def valued(frame: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """Those columns that hold any number."""
    return tuple(name for name in names if name in frame.columns and bool(frame[name].notna().any()))
