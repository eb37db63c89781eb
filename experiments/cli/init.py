"""The command init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import AsJson
from experiments.cli.output import command_here, console_for, print_json, say


def init(
    name: Annotated[str, typer.Argument(help="What to call the sweep.")],
    data: Annotated[
        str, typer.Option("--data", help="What to train on: digits, fashion_mnist, cifar10, celeba or folder.")
    ] = "digits",
    folder: Annotated[
        Path | None, typer.Option(help="Where to write it; by default sweeps/, where there is such a folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a commented sweep file to start from, which runs as it is."""
    from experiments.sweep.template import start_sweep

    path = start_sweep(name, data, folder)
    if as_json:
        print_json({"sweep": str(path)})
        return
    console = console_for(as_json)
    say(console, f"Wrote {path}. What it would do: {command_here('plan', str(path))}")
