"""The commands sync and ui."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import DEFAULT_STORE, AsJson, Overrides, StoreFolder, TrackingUri
from experiments.cli.output import console_for, print_json, say
from experiments.cli.sweeps import plan_of
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.store.store import Store
    from experiments.sweep.plan import Plan


def sync(
    sweep: Annotated[
        str | None,
        typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a sweep that was run on the store."),
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="BUNDLE", help="Take what a bundle of 'export' holds instead.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Bring MLflow up to date with the store or a bundle: after an outage, or another server with --tracking-uri."""
    from experiments.store.store import Store
    from experiments.tracking.bundle import opened

    if (sweep is None) == (from_ is None):
        raise UserError("sync: give a sweep, or a bundle with --from")
    place, console = Store(store), console_for(as_json)
    if from_ is not None:
        place.create()
        with opened(from_) as (plan, bundled):
            _sync(plan, bundled, place, tracking_uri, console, as_json)
        return
    assert sweep is not None
    made = plan_of(sweep, store, tuple(set_ or ()))
    place.create()
    _sync(made, place, place, tracking_uri, console, as_json)


def _sync(plan: Plan, store: Store, place: Store, tracking_uri: str | None, console: Console, as_json: bool) -> None:
    """Tell MLflow, by default the one in `place`, what `store` has of a plan."""
    from experiments.cli.views.progress import progress

    with console.status("loading MLflow"):
        from experiments.tracking.database import embedded_uri
        from experiments.tracking.mirror import sync
    uri = tracking_uri or embedded_uri(place)
    with progress(console, "bringing MLflow up to date", "runs") as on_progress:
        counts = sync(plan, store, uri, on_progress, place)
    if as_json:
        print_json({"tracking_uri": uri, **asdict(counts)})
        return
    say(console, f"{uri}: {counts.runs} runs of {plan.sweep.name}, {counts.finished} of them finished")
    say(console, f"{counts.sent} were sent now.")


def ui(
    store: StoreFolder = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    host: Annotated[str, typer.Option(help="The address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to serve on.", min=1, max=65535)] = 5000,
) -> None:
    """Serve MLflow's own UI on the record."""
    from experiments.store.store import Store
    from experiments.tracking.ui import serve

    raise typer.Exit(serve(Store(store), tracking_uri, host, port))
