"""The command demo."""

from __future__ import annotations

import importlib.util
import os
import signal
from typing import Annotated

import typer

from experiments.cli.completion import complete_cells
from experiments.cli.options import Device, StoreFolder
from experiments.cli.output import console_for, say, waiting
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError

LIBRARY = "gradio"
# nothing is sent to anybody
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def demo(
    cells: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CELL]...",
            help="Cells or trainings, as for sample, and model files or folders of one. "
            "By default all finished trainings of the store.",
            autocompletion=complete_cells,
        ),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    device: Device = None,
    port: Annotated[int, typer.Option(help="The port of the page on this machine.", min=1, max=65535)] = 7860,
) -> None:
    """Open a page on this machine that draws images from trained networks and shows every step.

    It needs the optional extra demo, which installs Gradio. The page can be reached from this machine only.
    """
    if importlib.util.find_spec(LIBRARY) is None:
        raise UserError("demo: Gradio is not installed; run 'uv sync --extra demo', or install edm-sweep[demo]")
    from experiments.store.store import Store

    os.environ.update(QUIET)
    console, place = console_for(as_json=False), Store(store)
    with waiting(console, "loading torch and the networks"):
        from experiments.demo.networks import offers
        from experiments.demo.studio import Studio
        from experiments.trials.pictures import choose_device

        studio = Studio(offers(cells or [], place), place, choose_device(device))
        first = studio.warm_up(next(iter(studio.offers)))
        from experiments.demo.page import serve
    for number in (signal.SIGINT, signal.SIGTERM):  # set, as a shell's background job starts with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    serve(studio, first, port, lambda line: say(console, line))
