"""Everything that a report is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from reports.dictionary import PARAMETERS
from reports.layout import Layout
from reports.significance import PairedErrors
from reports.table import ResultTable
from reports.tables import result_tables


@dataclass(frozen=True)
class Report:
    """Everything a report is made from.

    layouts: of its tables, at least one. curves: columns training, kimg, loss, val_loss. pictures: a PNG of samples by
    cell; pairs: a PNG of the drawn images closest to training images by cell; denoising: a PNG of some images coming
    out of noise by cell. links: the address of a cell's run in MLflow. has_own_record: whether MLflow's record is in
    the store, so that `edm-sweep ui` shows it. provenance: where the numbers come from. paired: the covariance of the
    cells' errors by metric. notes: what else a reader has to know, in sentences. states: what happens to cells that
    are not done, by name, such as "running". levels: columns training, sigma, val_loss: the newest loss at every noise
    level. allowed: fields in which cells of one table may differ. shown: how text of a parameter is shown, for example
    without folders. classes: what the samples show in turn, where all cells draw the same named classes.
    """

    layouts: tuple[Layout, ...]
    frame: pd.DataFrame
    curves: pd.DataFrame
    pictures: dict[str, Path]
    provenance: dict[str, str]
    paired: dict[str, PairedErrors] = field(default_factory=dict[str, PairedErrors])
    pairs: dict[str, Path] = field(default_factory=dict[str, Path])
    denoising: dict[str, Path] = field(default_factory=dict[str, Path])
    links: dict[str, str] = field(default_factory=dict[str, str])
    has_own_record: bool = False
    notes: tuple[str, ...] = ()
    shown: Callable[[str], str] = str
    states: dict[str, str] = field(default_factory=dict[str, str])
    allowed: tuple[str, ...] = ()
    levels: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["training", "sigma", "val_loss"]))
    classes: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """The layout of the first table."""
        return self.layouts[0]

    @cached_property
    def tables(self) -> list[ResultTable]:
        """The result tables, the main ones of each group of comparable cells first."""
        return result_tables(self.frame, self.layouts, self.paired, self.states, self.allowed, self.curves)

    @cached_property
    def as_shown(self) -> Report:
        """The report with the text of its parameters as it is shown."""
        changed: dict[str, list[Any]] = {}
        for name in map(str, self.frame.columns):
            if name.startswith(PARAMETERS) and self.frame[name].dtype.kind == "O":
                values: list[Any] = self.frame[name].tolist()
                shown = [self.shown(value) if isinstance(value, str) else value for value in values]
                if shown != values:
                    changed[name] = shown
        return replace(self, frame=self.frame.assign(**changed)) if changed else self  # whose tables are made already
