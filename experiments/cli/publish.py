"""The command publish."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from experiments.cli.options import AsJson, CellArgument, StoreFolder
from experiments.cli.output import console_for, print_json, say, waiting
from experiments.environment import DEFAULT_STORE


def publish(
    cell: CellArgument,
    to: Annotated[Path, typer.Option(help="The folder to write: a new one, or an empty one.")],
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Write a cell's network for others: weights, configuration, samples and a model card.

    The folder has the layout of Hugging Face's hub. `model: {from: FOLDER}` draws from it, and `hf upload`
    uploads it.
    """
    from experiments.inspection.publication import publish as write
    from experiments.store.store import Store

    console = console_for(as_json)
    with waiting(console, "writing the network"):
        written = write(cell, Store(store), to)
    if as_json:
        print_json({"folder": str(to), "files": [path.name for path in written]})
        return
    say(console, f"Wrote {to}: {', '.join(path.name for path in written)}")
    say(console, f"To upload it: hf upload NAMESPACE/NAME {shlex.quote(str(to))}")
