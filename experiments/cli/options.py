"""The arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from experiments.cli.completion import complete_cells, complete_sweeps
from experiments.cli.parsing import parse_store, parse_tracking_uri
from experiments.environment import STORE_VARIABLE

SweepArgument = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file, such as sweeps/digits.yaml, or the name of a sweep that was run with this store.",
        autocompletion=complete_sweeps,
    ),
]
OptionalSweepArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file, or the name of a sweep that was run with this store.",
        autocompletion=complete_sweeps,
    ),
]
CellArgument = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="A cell or a training: its name, some parts of its name (nano/heun), SWEEP:CELL, or its signature. "
        "The start of any of these is enough if it matches only one.",
        autocompletion=complete_cells,
    ),
]
OtherCellArgument = Annotated[
    str,
    typer.Argument(
        metavar="OTHER",
        help="The cell or training to compare it with, given in the same way.",
        autocompletion=complete_cells,
    ),
]
StoreFolder = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar=STORE_VARIABLE,
        help="The store: the folder that holds every result.",
        callback=parse_store,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field of the sweep file, such as training.kimg=10; this makes a variant of the sweep, named "
        "SWEEP@FIELD=VALUE. Can be repeated.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        envvar="MLFLOW_TRACKING_URI",
        help="An MLflow server to use instead of the store's database.",
        callback=parse_tracking_uri,
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        help="GPUs per trial: a fraction runs several trials on one GPU, 2 or more train one network on several GPUs, "
        "auto runs as many trials on a GPU as fit into its memory.",
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
        help="Select cells by name, by the start of a name or by some parts of one (nano/heun); * and ? are wildcards. "
        "Can be repeated.",
        autocompletion=complete_cells,
    ),
]
DeviceName = Literal["cpu", "cuda"]
Device = Annotated[DeviceName | None, typer.Option(help="Where to draw: on a GPU by default, if there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts; other output goes to standard error.")]
