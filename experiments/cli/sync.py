"""The commands sync and ui."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import AsJson, OptionalSweepArgument, Overrides, StoreFolder, TrackingUri
from experiments.cli.output import console_for, print_json, say, waiting
from experiments.cli.signals import accept_ctrl_c
from experiments.cli.sweeps import plan_of
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError
from experiments.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.store.store import Store
    from experiments.sweep.plan import Plan


def sync(
    sweep: OptionalSweepArgument = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", metavar="BUNDLE", help="Send the results in a bundle that `export` made."),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Send MLflow the results that it lacks, from the store or from a bundle.

    Use it after an outage of the MLflow server, to fill another server (--tracking-uri), or to import a bundle.
    """
    from experiments.store.store import Store
    from experiments.tracking.bundle import opened

    if (sweep is None) == (from_ is None):
        raise UserError("sync: give either a sweep, or a bundle with --from")
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
    """Send the results in `store` to MLflow, by default to the database in `place`."""
    from experiments.cli.views.progress import progress
    from experiments.wording import count

    with waiting(console, "loading MLflow"):
        from experiments.tracking.database import embedded_uri
        from experiments.tracking.mirror import sync
    uri = tracking_uri or embedded_uri(place)
    if not console.is_interactive:
        say(console, f"{redact(uri)}: updating")
    with progress(console, "updating MLflow", "runs") as on_progress:
        counts = sync(plan, store, uri, on_progress, place)
    if as_json:
        print_json({"tracking_uri": redact(uri), **asdict(counts)})
        return
    say(console, f"{redact(uri)}: {count(counts.runs, 'run')} of {plan.sweep.name}, {counts.finished:,} finished")
    say(console, f"{count(counts.sent, 'run')} sent now.")


def ui(
    store: StoreFolder = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 5000,
) -> None:
    """Serve MLflow's UI, a web page of all recorded runs, until Ctrl-C. Prints a link to the scores of each sweep.

    Exit codes: 0 ended with Ctrl-C; 2 nothing is recorded yet, or wrong input.
    """
    from experiments.store.store import Store
    from experiments.tracking.ui import serve

    accept_ctrl_c()
    serve(Store(store), tracking_uri, host, port, lambda line: print(line, flush=True))
