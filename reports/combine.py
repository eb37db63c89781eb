"""Puts the reports of several sweeps into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import pandas as pd

from reports.dictionary import PARAMETERS
from reports.layout import Layout
from reports.report import Report
from reports.significance import PairedErrors

SWEEP = "sweep"  # the axis that says which sweep a cell belongs to
Value = TypeVar("Value")


def combine_reports(reports: Mapping[str, Report], paired: Mapping[str, PairedErrors], caption: str = "") -> Report:
    """Return one report of several sweeps: the sweep is its first axis, and cells are named SWEEP:CELL.

    Its tables are those of the first sweep, with the axes of all sweeps and, as the captions of one sweep may not be
    true of others, with `caption`. reports: by the sweeps' names. paired: the covariance of the errors of all cells,
    under their new names, by metric.
    """
    first = next(iter(reports.values()))
    frame = pd.concat([_named(report.frame, name) for name, report in reports.items()], ignore_index=True)
    curves = pd.concat([_prefixed(report.curves, "training", name) for name, report in reports.items()])
    axes = dict.fromkeys(axis for report in reports.values() for layout in report.layouts for axis in layout.axes)
    title = " and ".join(reports)
    return Report(
        tuple(_with_axes(layout, title, axes, caption) for layout in first.layouts),
        _without_gaps(frame),
        curves.reset_index(drop=True),
        _united({name: report.pictures for name, report in reports.items()}),
        {f"{name}: {key}": value for name, report in reports.items() for key, value in report.provenance.items()},
        paired=dict(paired),
        pairs=_united({name: report.pairs for name, report in reports.items()}),
        denoising=_united({name: report.denoising for name, report in reports.items()}),
        links=_united({name: report.links for name, report in reports.items()}),
        has_own_record=all(report.has_own_record for report in reports.values()),
        notes=tuple(f"{name}: {text}" for name, report in reports.items() for text in report.notes),
        levels=pd.concat([_prefixed(report.levels, "training", name) for name, report in reports.items()]),
        states=_united({name: report.states for name, report in reports.items()}),
        classes=first.classes if all(report.classes == first.classes for report in reports.values()) else (),
    )


def cell_name(sweep: str, cell: str) -> str:
    """Return what a cell is called in a report of several sweeps."""
    return f"{sweep}:{cell}"


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names with a number after those that occur before."""
    return [f"{name} {count}" if (count := names[: i + 1].count(name)) > 1 else name for i, name in enumerate(names)]


def _with_axes(layout: Layout, title: str, axes: Iterable[str], caption: str) -> Layout:
    """A table of one sweep as it is for several: the sweep and all axes that make no columns make rows."""
    rows = (SWEEP, *(axis for axis in axes if axis not in layout.columns))
    return replace(layout, title=title, rows=rows, caption=caption)


def _named(frame: pd.DataFrame, sweep: str) -> pd.DataFrame:
    for column in ("cell", "training_name"):
        frame = _prefixed(frame, column, sweep) if column in frame.columns else frame
    return frame.assign(**{SWEEP: sweep})


def _prefixed(frame: pd.DataFrame, column: str, sweep: str) -> pd.DataFrame:
    return frame.assign(**{column: [cell_name(sweep, str(name)) for name in frame[column]]})


def _united(mappings: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    return {cell_name(sweep, cell): value for sweep, values in mappings.items() for cell, value in values.items()}


def _without_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its parameters first, as a parameter that only later sweeps have would stand at its end."""
    names = list(map(str, frame.columns))
    parameters = [name for name in names if name.startswith(PARAMETERS)]
    others = [name for name in names if name not in (*parameters, "cell", SWEEP)]
    return frame[["cell", SWEEP, *parameters, *others]]
