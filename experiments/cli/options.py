"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.completion import complete_cells, complete_sweeps

DEFAULT_STORE = Path("runs")
SweepArgument = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file, such as sweeps/digits.yaml, or the name of a sweep that was run on the store.",
        autocompletion=complete_sweeps,
    ),
]
OptionalSweepArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file, or the name of a sweep that was run on the store.",
        autocompletion=complete_sweeps,
    ),
]
CellArgument = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="A cell or a training: its name or the start of it, some parts of its name (nano/heun), SWEEP:CELL, "
        "or a signature or the start of one.",
        autocompletion=complete_cells,
    ),
]
StoreFolder = Annotated[
    Path, typer.Option("--store", envvar="EDM_SWEEP_STORE", help="The store: the folder that holds every result.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field of the sweep file, such as training.kimg=10. Can be repeated.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="An MLflow server to use instead of the store's database."
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        help="GPUs per trial. A fraction shares one GPU among several trials, 2 or more train each network on several "
        "GPUs, and auto shares GPUs as memory allows.",
    ),
]
Cpus = Annotated[
    int | None, typer.Option("--cpus-per-trial", help="CPU cores per trial, and the number of its threads.")
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATTERN",
        help="Only the cells that match: the start or some parts of their names; * and ? are wildcards. "
        "Can be repeated.",
        autocompletion=complete_cells,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts; other output goes to standard error.")]
