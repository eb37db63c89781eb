"""The commands data prepare and data list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import AsJson, StoreFolder
from experiments.cli.output import console_for, print_json, say, show
from experiments.environment import DEFAULT_STORE

if TYPE_CHECKING:
    from rich.console import Console

    from edm.data.sources import Origin
    from experiments.store.store import Store
    from experiments.sweep.tasks import DataSource


DataSet = Annotated[
    str, typer.Argument(metavar="NAME", help="Data set: digits, fashion_mnist, cifar10, celeba or folder.")
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="The downloaded archive or its folder; for folder, images, a zip archive of them or parquet files.",
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(help="For parquet files with several columns of images, or a table of labels: the images' column."),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        help="The column of labels in a table beside the images, such as labels.csv; or in parquet files, if it is "
        "not found; none for no labels."
    ),
]


def prepare(
    name: DataSet,
    from_: From = None,
    resolution: Annotated[int | None, typer.Option(help="For celeba (default 128) or folder: pixels per side.")] = None,
    splits: Annotated[str | None, typer.Option(help="For celeba: study (the default) or official.")] = None,
    channels: Annotated[int | None, typer.Option(help="For folder: 3 (the default) for colour, or 1 for grey.")] = None,
    split_seed: Annotated[
        int | None, typer.Option(help="For a folder that lacks a sub-folder train, val or test: the seed of the split.")
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Prepare a data set in the store. Safe to repeat: it is done once.

    Missing files are downloaded if possible, unless --from says where they are.
    """
    from experiments.cli.datasets import requested
    from experiments.cli.views.datasets import record_view
    from experiments.inspection.datasets import record
    from experiments.store.store import Store

    options = {"resolution": resolution, "splits": splits, "channels": channels, "split_seed": split_seed}
    source, origin = requested(name, from_, **options, image_column=image_column, label_column=label_column)
    place = Store(store)
    place.create()
    console = console_for(as_json)
    done_now = _prepare_once(place, source, origin, console)
    made = record(place, source)
    if as_json:
        print_json({**made, "prepared_now": done_now})
        return
    say(console, f"{name} is prepared." if done_now else f"{name} was already prepared.")
    show(console, record_view(made))


def _prepare_once(store: Store, source: DataSource, origin: Origin | None, console: Console) -> bool:
    """Prepare a data set with a progress bar; False if it was already prepared."""
    from experiments.cli.views.progress import showing_progress
    from experiments.trials.datasets import ensure_prepared, is_prepared

    if is_prepared(store, source):
        return False
    with showing_progress(console, source.config.title) as on_progress:
        ensure_prepared(store, source, origin, on_progress)
    return True


def list_data_sets(store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List all data sets: their sizes, whether they are prepared, and which files are missing."""
    from experiments.cli.views.datasets import listing_table
    from experiments.inspection.datasets import listed
    from experiments.store.store import Store

    rows = listed(Store(store))
    if as_json:
        print_json(rows)
        return
    show(console_for(as_json), listing_table(rows))
