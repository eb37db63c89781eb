"""Which data set the options of `data prepare` ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

from edm.config import DataConfig, DatasetName, FieldError
from edm.data.catalogue import CATALOGUE
from edm.data.errors import DataError
from edm.data.parquet_columns import IMAGE_KEY, LABEL_KEY
from edm.data.sources import Origin
from experiments.cli.reading import Reading
from experiments.errors import UserError
from experiments.inputs import InputFiles
from experiments.sweep.diagnostics import suggest
from experiments.sweep.tasks import DataSource

CHOICES: dict[str, tuple[object, ...]] = {"splits": ("study", "official"), "channels": (1, 3)}


def requested(name: str, given: Path | None, **options: Any) -> tuple[DataSource, Origin | None]:
    """Return the data set that `data prepare NAME --from GIVEN` asks for, and where its files are.

    options: None if not given. Raises UserError.
    """
    names = get_args(DatasetName)
    if name not in names:
        raise UserError(f"{name}: no such data set; {suggest(name, names)}")
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
        return DataSource.of(config, InputFiles(Reading().folder)), origin
    except FieldError as error:
        raise UserError(f"{_option(error.field)}: {error.problem}") from None
    except DataError as error:
        text = str(error)
        for key in (IMAGE_KEY, LABEL_KEY):  # fields of the configuration, which are options here
            text = text.replace(key, _option(key))
        raise UserError(text) from None


def _option(field: str) -> str:
    return "--from" if field == "path" else f"--{field.replace('_', '-')}"
