"""data prepare, data list: the data sets of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.commands.common import DEFAULT_STORE, AsJson, StoreFolder, console_for, print_json, say


def prepare(
    name: Annotated[str, typer.Argument(help="digits, fashion_mnist, cifar10, celeba or folder.")],
    from_: Annotated[
        Path | None, typer.Option("--from", help="The archive, or the folder of its files; of folder, the images.")
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Of celeba (128 by default) and folder, in pixels.")] = None,
    splits: Annotated[str | None, typer.Option(help="Of celeba: study (the default) or official.")] = None,
    channels: Annotated[int | None, typer.Option(help="Of folder: 3 (the default) or 1.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Of folder without train, val and test.")] = None,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Decode a data set into the store, once; absent files are downloaded where that is possible. Safe to repeat."""
    from experiments.datasets import prepare_data, record, record_lines, requested
    from experiments.store import Store

    source, origin = requested(
        name, from_, resolution=resolution, splits=splits, channels=channels, split_seed=split_seed
    )
    place = Store(store)
    place.create()
    console = console_for(as_json)
    done_now = prepare_data(place, source, console, origin)
    made = record(place, source)
    if as_json:
        print_json({**made, "prepared_now": done_now})
        return
    say(console, f"{name} is prepared{'' if done_now else ' already'}.")
    for line in record_lines(made):
        say(console, line)


def show(store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show all data sets: what they are, which are prepared, and where the files of the others are expected."""
    from experiments.datasets import listed, listing_table
    from experiments.store import Store

    rows = listed(Store(store))
    if as_json:
        print_json(rows)
        return
    console_for(as_json).print(listing_table(rows))
