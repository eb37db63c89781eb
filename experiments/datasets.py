"""The data sets of a store: prepared with a progress bar, described, listed."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast, get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from edm.config import SPLITS, DataConfig, DatasetName, FieldError
from edm.data.catalogue import CATALOGUE, facts
from edm.data.errors import DataError
from edm.data.sources import OnProgress, Origin
from experiments.errors import UserError
from experiments.planning import DataSource
from experiments.store import RESULT, Store, read_json

PLAIN_PERIOD_S = 15.0  # between progress lines where there is no terminal
CHOICES: dict[str, tuple[object, ...]] = {"splits": ("study", "official"), "channels": (1, 3)}
ROW_OF_FOLDERS = "edm-sweep data prepare folder --from DIR --resolution N"


def requested(name: str, given: Path | None, **options: Any) -> tuple[DataSource, Origin | None]:
    """What `data prepare NAME --from GIVEN` asks for; options that were not given are None. Raises UserError."""
    names = get_args(DatasetName)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(names)}"
        raise UserError(f"{name}: no such data set; {hint}")
    if given is not None and name in CATALOGUE and not CATALOGUE[name].files:
        raise UserError(f"--from: {name} comes with an installed package; drop it")
    options = {key: value for key, value in options.items() if value is not None}
    for key, choices in CHOICES.items():
        if options.get(key, choices[0]) not in choices:
            raise UserError(f"{_option(key)}: {options[key]!r} is not one of {', '.join(map(str, choices))}")
    path = str(given) if name == "folder" and given is not None else None
    try:
        source = DataSource.of(DataConfig(cast(DatasetName, name), path=path, **options))
        return source, Origin.given(given) if given is not None and name != "folder" else None
    except FieldError as error:
        raise UserError(f"{_option(error.field)}: {error}") from None
    except DataError as error:
        raise UserError(str(error)) from None


def _option(field: str) -> str:
    return "--from" if field == "path" else f"--{field.replace('_', '-')}"


# preparing ----------------------------------------------------------------------------------------


def prepare_data(store: Store, source: DataSource, console: Console, origin: Origin | None = None) -> bool:
    """Prepare a data set and show how far that is; False where it is there already. Raises UserError."""
    if store.sound("data", source.signature):
        return False
    with showing_progress(console, source.config.name) as on_progress:
        from experiments.preparing import ensure_prepared  # heavy: numpy

        ensure_prepared(store, source, origin, on_progress)
    return True


@contextmanager
def showing_progress(console: Console, name: str) -> Iterator[OnProgress]:
    """A bar for each step on a terminal; elsewhere a line now and then."""
    if not console.is_terminal:
        yield _plain_progress(console, name)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {"": progress.add_task(f"{name}: getting ready", total=None)}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                progress.update(tasks.get("", TaskID(-1)), visible=False)
                tasks[step] = progress.add_task(f"{name}: {step}")
            progress.update(tasks[step], completed=done, total=total)

        yield on_progress


def _plain_progress(console: Console, name: str) -> OnProgress:
    console.print(f"preparing {name}", markup=False)
    last = time.monotonic()

    def on_progress(step: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PLAIN_PERIOD_S:
            last = time.monotonic()
            console.print(f"preparing {name}: {step}, {done / max(total, 1):.0%}", markup=False)

    return on_progress


def record(store: Store, source: DataSource) -> dict[str, Any]:
    """What is known of a prepared data set, for people and scripts."""
    found = store.result("data", source.signature)
    assert found is not None, f"{source.config.name} is not prepared"
    kept = ("name", "images", "shape", "num_classes", "splits", "sigma_data", "fingerprint", "source")
    return {
        **{key: found.get(key) for key in kept},
        "signature": source.signature,
        "folder": str(store.folder("data", source.signature)),
    }


def record_lines(made: dict[str, Any]) -> list[str]:
    """The same in lines."""
    shape, splits, source = made["shape"], made["splits"], made["source"]
    rows = {
        "images": f"{made['images']:,}" + (f" of {_times(shape)}, uint8" if shape else ""),
        "classes": made["num_classes"] or "none",
        "splits": ", ".join(f"{split} {splits[split]:,}" for split in SPLITS) if splits else None,
        "sigma_data": made["sigma_data"],
        "fingerprint": made["fingerprint"],
        "from": f"{', '.join(source['files'])} ({source['checked']} checked)" if source else None,
        "in": made["folder"],
    }
    return [f"  {key:<12} {value}" for key, value in rows.items() if value is not None]


# listing ------------------------------------------------------------------------------------------


def listed(store: Store) -> list[dict[str, Any]]:
    """Every data set that is known by name, and whatever else is prepared in the store."""
    sources = [DataSource.of(DataConfig(name)) for name in get_args(DatasetName) if name in CATALOGUE]
    rows = [_named_row(store, source) for source in sources]
    known = {source.signature for source in sources}
    for path in sorted((store.root / "data").glob(f"*/{RESULT}")):
        found = read_json(path)
        if found is not None and path.parent.name not in known:
            rows.append(_prepared_row(found, path.parent))
    return rows


def _named_row(store: Store, source: DataSource) -> dict[str, Any]:
    config = source.config
    known, folder = facts(config), store.folder("data", source.signature)
    found = store.result("data", source.signature)
    return {
        "name": config.name,
        "images": sum(known.splits.values()),
        "shape": [known.channels, known.resolution, known.resolution],
        "num_classes": known.num_classes,
        "splits": known.splits,
        "prepared": None if found is None else str(folder),
        "sigma_data": None if found is None else found["sigma_data"],
        "files": _files(store, config.name),
    }


def _files(store: Store, name: str) -> list[dict[str, Any]]:
    """The published files of a data set: where each is, or is expected."""
    known, origin = CATALOGUE[name], Origin.usual(store.root)
    rows = []
    for file in known.files:
        path = origin.find(name, file.name) or origin.find(name, file.unpacked)
        expected = origin.path / known.layout / file.name
        rows.append({"path": str(path or expected), "md5": file.md5, "bytes": file.size, "there": path is not None})
    return rows


def _prepared_row(found: dict[str, Any], folder: Path) -> dict[str, Any]:
    config = found.get("config") or {}
    named = [config.get("path"), config.get("splits") if config.get("splits") == "official" else None]
    kept = ("images", "shape", "num_classes", "splits", "sigma_data")
    return {
        "name": " ".join([found["name"], *filter(None, named)]),
        **{key: found.get(key) for key in kept},
        "prepared": str(folder),
        "files": [],
    }


def listing_table(rows: list[dict[str, Any]]) -> Table:
    """The data sets, what is prepared and where, and where the files of the others are expected."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("data set", "images", "size", "classes", "train / val / test", "sigma_data", "prepared"):
        table.add_column(header, justify="right" if header in ("images", "size", "classes") else "left")
    for row in rows:
        splits, sigma_data = row["splits"] or {}, row["sigma_data"]
        table.add_row(
            row["name"],
            f"{row['images']:,}",
            _times(row["shape"] or []),
            str(row["num_classes"] or "-"),
            " / ".join(f"{splits[split]:,}" for split in SPLITS if split in splits),
            "" if sigma_data is None else f"{sigma_data:.4f}",
            row["prepared"] or _not_prepared(row["files"]),
        )
    table.add_row("folder", "any", "any", "any", "own, or 80 / 10 / 10 %", "", f"by {ROW_OF_FOLDERS}")
    return table


def _not_prepared(files: list[dict[str, Any]]) -> str:
    """What is missing, if anything: its names once, and its folder."""
    absent = [Path(file["path"]) for file in files if not file["there"]]
    if not absent:
        return "no; all it needs is there"
    return f"no; needs {', '.join(path.name for path in absent)} in {absent[0].parent}"


def _times(shape: list[int]) -> str:
    return "x".join(map(str, shape))
