"""What the commands share: options, exit codes, how things are printed, how a sweep is found."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.commands.completion import complete_cells, complete_sweeps
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.planning import Plan
    from experiments.schedule import Schedule
    from experiments.session import Options
    from experiments.spec import Sweep
    from experiments.store import Store

LOG_WIDTH = 160  # of tables that go to a file
MOST_NAMES = 12  # in one line
SWEEP_FILES = (".yaml", ".yml")

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

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


def console_for(as_json: bool) -> Console:
    """Standard output, or standard error where JSON goes to standard output."""
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    return console if console.is_terminal else Console(stderr=as_json, highlight=False, width=LOG_WIDTH)


@contextmanager
def waiting(console: Console, text: str) -> Iterator[None]:
    """Say what is waited for, while the block lasts, on a terminal."""
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: no markup in it, never broken."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print JSON to standard output."""
    print(json.dumps(content, indent=1))


def listed(names: list[str]) -> str:
    """Some names in one line."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def same_command() -> str:
    """This command, to give again."""
    return command_here(*sys.argv[1:])


def command_here(*arguments: str) -> str:
    """A command as the person would type it here."""
    runner = ["uv", "run"] if "UV_RUN_RECURSION_DEPTH" in os.environ else []
    return shlex.join([*runner, "edm-sweep", *arguments])


# finding a sweep ----------------------------------------------------------------------------------


def sweep_of(text: str, store: Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """The sweep of a file, or one that the store remembers; raises UserError."""
    from experiments.spec import load_sweep

    if _is_file(text, store):
        return load_sweep(text, overrides)
    # a wrong file has been answered before these are imported
    from experiments.register import recall_sweep
    from experiments.store import Store

    sweep = recall_sweep(text, Store(store))
    if overrides:
        raise UserError(
            f"{text}: {overrides[0].partition('=')[0]} can be overridden in a sweep's file alone; give that"
        )
    return sweep


def plan_of(text: str, store: Path, overrides: tuple[str, ...] = ()) -> Plan:
    """The plan of a file, or of a sweep that the store remembers, from what that says alone; raises UserError."""
    from experiments.planning import plan_sweep
    from experiments.register import recall
    from experiments.store import Store

    if _is_file(text, store):
        return plan_sweep(sweep_of(text, store, overrides))
    if overrides:
        sweep_of(text, store, overrides)
    return recall(text, Store(store))


def _is_file(text: str, store: Path) -> bool:
    if (store / "sweeps" / f"{text}.json").is_file():
        return Path(text).suffix in SWEEP_FILES
    return Path(text).exists() or bool(Path(text).suffix) or "/" in text


def open_sweep(
    text: str,
    store: Path,
    overrides: list[str] | None,
    gpus: str | None = None,
    cpus: int | None = None,
    options: Options | None = None,
) -> tuple[Schedule, Store]:
    """What is left to do of a sweep, and the store; raises UserError where the file or an option is wrong."""
    own = [f"resources.{name}={value}" for name, value in (("gpus", gpus), ("cpus", cpus)) if value is not None]
    sweep = sweep_of(text, store, (*(overrides or ()), *own))
    from experiments.planning import plan_sweep
    from experiments.session import Options, open_schedule
    from experiments.store import Store

    place = Store(store)
    return open_schedule(plan_sweep(sweep), place, options or Options()), place
