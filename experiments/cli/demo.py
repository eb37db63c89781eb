"""The command demo."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.completion import complete_cells
from experiments.cli.options import Device, StoreFolder
from experiments.cli.output import console_for, say, waiting
from experiments.cli.signals import accept_ctrl_c
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from edm.download import OnFetched
    from experiments.store.store import Store

LIBRARY = "gradio"
# nothing is sent to anybody
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


def demo(
    cells: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CELL",
            help="Cells or trainings, as for sample; files or folders with a trained network, as for model.from; and "
            "NVlabs' networks by name, such as edm-cifar10-32x32-cond-vp, which are downloaded. "
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
    _download_published(cells or [], place, console)
    with waiting(console, "loading torch and the networks"):
        from experiments.demo.networks import offers
        from experiments.demo.studio import Studio
        from experiments.trials.pictures import choose_device

        studio = Studio(offers(cells or [], place), place, choose_device(device))
        first = studio.warm_up(next(iter(studio.offers)))
        from experiments.demo.page import serve
    accept_ctrl_c()
    serve(studio, first, port, lambda line: say(console, line))


def _download_published(names: list[str], store: Store, console: Console) -> None:
    """Have the published networks among `names`, with a progress bar for each download."""
    from edm.pretrained.published import LICENSE, PUBLISHED_NETWORKS, PublishedNetwork

    if not PUBLISHED_NETWORKS.keys() & set(names):
        return  # what follows loads torch
    from experiments.cli.views.progress import showing_progress
    from experiments.demo.networks import download_published, networks_folder

    @contextmanager
    def watch(network: PublishedNetwork) -> Iterator[OnFetched]:
        if network.place(networks_folder(store)).is_file():
            with waiting(console, f"checking {network.name}"):
                yield lambda _done, _total: None
            return
        say(console, f"{network.name} is published by NVlabs under the license {LICENSE}.")
        with showing_progress(console, network.name, "downloading") as on_progress:
            yield lambda done, total: on_progress(f"from {network.url}", done, total)

    download_published(names, store, watch)
