"""Which tables a group of comparable cells makes: their metrics, and which axes are rows and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from reports.metrics import METRICS, PREFERRED_SPLITS, SPLITS, stand_in

FIDELITY = ("kid", "precision", "recall", "density", "coverage", "fid_infinity")
MEMORISATION = tuple(f"nn_{kind}_{space}" for kind in ("ratio", "copied") for space in ("pixels", "features"))


@dataclass(frozen=True)
class Layout:
    """What one table of a sweep shows, or a main table and those of further metrics if `metrics` is None.

    title: of the sweep. rows, columns: the axes that make them. name, caption: of the table. costs: columns of
    reports.costs. baseline: the values of axes that entries are compared with. reference: published numbers beside.
    equal: the cost that all entries have in common, for a view at equal compute. changes: whether rows are labelled by
    what they change of the baseline, or of the first row as far as the baseline leaves axes open.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None
    name: str = ""
    caption: str = ""
    costs: tuple[str, ...] = ()
    baseline: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reference: str = ""
    equal: str = ""
    changes: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes that the table shows."""
        return (*self.rows, *self.columns)


@dataclass(frozen=True)
class TableSpec:
    """One of the tables of a group of comparable cells; as in its layout.

    note: a footnote of its own. is_comparable: whether one of its entries may be the best.
    """

    name: str
    metrics: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    main: bool = False
    costs: tuple[str, ...] = ()
    caption: str = ""
    baseline: Mapping[str, Any] = field(default_factory=dict[str, Any])
    reference: str = ""
    note: str = ""
    changes: bool = False
    is_comparable: bool = True

    @property
    def axes(self) -> tuple[str, ...]:
        """All axes that the table shows."""
        return (*self.rows, *self.columns)


def table_specs(frame: pd.DataFrame, layout: Layout) -> list[TableSpec]:
    """Return the tables to make of comparable cells, the main one first; one if the layout names metrics they have."""
    if named := _named_metrics(frame, layout.metrics or ()):
        return [_main_spec(layout, named)]
    main = _main_metrics(frame)
    split, fidelity = _fidelity_metrics(frame, exclude=main)
    all_axes = layout.axes  # tables of many metrics have no room for columns of axis values
    candidates = [
        _main_spec(layout, main),
        TableSpec(f"kernel distance, fidelity and diversity, {split} split", fidelity, all_axes),
        TableSpec("own metrics", _own_metrics(frame), all_axes),
        TableSpec("memorisation", columns_with_values(frame, MEMORISATION), all_axes),
    ]
    specs = [spec for spec in candidates if spec.metrics]
    if not specs:
        present = tuple(metric for metric in METRICS if metric in frame.columns)
        specs = [_main_spec(layout, present)]
    first, *further = specs
    main_table = replace(_main_spec(layout, first.metrics), name=layout.name or first.name)
    return [main_table, *(replace(spec, changes=layout.changes, baseline=layout.baseline) for spec in further)]


def _named_metrics(frame: pd.DataFrame, names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that a layout names, each once, as far as the cells have them or what stands in for them."""
    found: dict[str, None] = {}
    for name in names:
        present = [each for each in (name, stand_in(name)) if each in frame.columns]
        found |= dict.fromkeys((columns_with_values(frame, present) or tuple(present))[:1])
    return tuple(found)


def _main_spec(layout: Layout, metrics: tuple[str, ...]) -> TableSpec:
    texts = layout.costs, layout.caption, layout.baseline, layout.reference
    return TableSpec(layout.name, metrics, layout.rows, layout.columns, True, *texts, changes=layout.changes)


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
