"""The commands data prepare and data list."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from edm.config import DataConfig, DatasetName, FieldError
from edm.data.catalogue import CATALOGUE
from edm.data.errors import DataError
from edm.data.sources import Origin
from experiments.cli.options import AsJson, StoreFolder
from experiments.cli.output import console_for, print_json, say, show
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError
from experiments.inputs import InputFiles
from experiments.sweep.tasks import DataSource

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.store.store import Store

CHOICES: dict[str, tuple[object, ...]] = {"splits": ("study", "official"), "channels": (1, 3)}


def prepare(
    name: Annotated[str, typer.Argument(help="The data set: digits, fashion_mnist, cifar10, celeba or folder.")],
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="The downloaded archive, or the folder that holds it; for folder, the images."),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="For celeba (128 by default) and folder: pixels per side.")
    ] = None,
    splits: Annotated[str | None, typer.Option(help="For celeba: study (the default) or official.")] = None,
    channels: Annotated[int | None, typer.Option(help="For folder: 3 (the default) for colour, or 1 for grey.")] = None,
    split_seed: Annotated[
        int | None, typer.Option(help="For folder without folders train, val and test: the seed of the split.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Prepare a data set in the store. Safe to repeat: it is done once.

    Files that are missing are downloaded if that is possible, unless --from says where they are.
    """
    from experiments.cli.views.datasets import record_view
    from experiments.inspection.datasets import record
    from experiments.store.store import Store

    source, origin = requested(
        name, from_, resolution=resolution, splits=splits, channels=channels, split_seed=split_seed
    )
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
    with showing_progress(console, source.config.name) as on_progress:
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


def requested(name: str, given: Path | None, **options: Any) -> tuple[DataSource, Origin | None]:
    """Return the data set that `data prepare NAME --from GIVEN` asks for, and where its files are.

    options: None if not given. Raises UserError.
    """
    names = get_args(DatasetName)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(names)}"
        raise UserError(f"{name}: no such data set; {hint}")
    if given is not None and name in CATALOGUE and not CATALOGUE[name].files:
        raise UserError(f"--from: {name} comes with an installed package; leave it out")
    options = {key: value for key, value in options.items() if value is not None}
    for key, choices in CHOICES.items():
        if options.get(key, choices[0]) not in choices:
            raise UserError(f"{_option(key)}: {options[key]!r} is not one of {', '.join(map(str, choices))}")
    path = str(given) if name == "folder" and given is not None else None
    try:
        config = DataConfig(cast(DatasetName, name), path=path, **options)
        origin = Origin.given(given) if given is not None and name != "folder" else None
        return DataSource.of(config, InputFiles()), origin
    except FieldError as error:
        raise UserError(f"{_option(error.field)}: {error.problem}") from None
    except DataError as error:
        raise UserError(str(error)) from None


def _option(field: str) -> str:
    return "--from" if field == "path" else f"--{field.replace('_', '-')}"
