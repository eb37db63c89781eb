"""What the commands share: options, exit codes, how things are printed, how a sweep is found."""

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
CellArgument = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="A cell: its name, some of its parts (nano/heun), how either begins, SWEEP:CELL, or a signature.",
        autocompletion=complete_cells,
    ),
]
StoreFolder = Annotated[
    Path, typer.Option("--store", envvar="EDM_SWEEP_STORE", help="The folder that holds every result.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override a field: training.kimg=10. May be repeated."),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="An MLflow server, instead of the database in the store."
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        help="GPUs per trial: a fraction packs several on one, 2 train one network on two, auto packs by memory.",
    ),
]
Cpus = Annotated[int | None, typer.Option("--cpus-per-trial", help="Cores, and so threads, per trial.")]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATTERN",
        help="Only these cells: parts of their names, or how they begin; * and ? are wild. May be repeated.",
        autocompletion=complete_cells,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
