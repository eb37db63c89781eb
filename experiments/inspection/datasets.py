"""Describes and lists the data sets of a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from edm.config import DataConfig, DatasetName
from edm.data.catalogue import CATALOGUE, facts
from edm.data.sources import Origin
from experiments.environment import data_folder
from experiments.inputs import InputFiles
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource


def record(store: Store, source: DataSource) -> dict[str, Any]:
    """Return what is recorded of a prepared data set; what to remark on in its folder is said of the folder of today.

    The recorded one may be another of the same content, such as one with a table of labels that was not asked for.
    """
    found = store.result(DatasetRecord, source.signature)
    assert found is not None, f"{source.config.name} is not prepared"
    made_from = found.source
    if made_from is not None and "remarks" in made_from:
        made_from = {**made_from, "remarks": list(facts(source.config).remarks)}
    return {
        "name": found.name,
        "images": found.images,
        "shape": list(found.shape),
        "num_classes": found.num_classes,
        "splits": found.splits,
        "sigma_data": found.sigma_data,
        "fingerprint": found.fingerprint,
        "source": made_from,
        "signature": source.signature,
        "folder": str(store.folder_of(source)),
    }


def named_sources() -> list[DataSource]:
    """Return the data sets that have a name."""
    return [DataSource.of(DataConfig(name), InputFiles()) for name in get_args(DatasetName) if name in CATALOGUE]


def listed(store: Store) -> list[dict[str, Any]]:
    """Return a row for each data set that has a name, and for all others that are prepared in the store."""
    sources = named_sources()
    rows = [_named_row(store, source) for source in sources]
    known = {source.signature for source in sources}
    for signature in sorted(set(store.signatures("data")) - known):
        found = store.peek(DatasetRecord, signature)
        if found is not None:
            rows.append(_prepared_row(found, store.folder("data", signature)))
    return rows


def _named_row(store: Store, source: DataSource) -> dict[str, Any]:
    config = source.config
    known, folder = facts(config), store.folder_of(source)
    found = store.result(DatasetRecord, source.signature)
    return {
        "name": config.name,
        "images": sum(known.splits.values()),
        "shape": [known.channels, known.resolution, known.resolution],
        "num_classes": known.num_classes,
        "splits": known.splits,
        "prepared": None if found is None else str(folder),
        "sigma_data": None if found is None else found.sigma_data,
        "files": files_of(store, str(config.name)),
    }


def files_of(store: Store, name: str) -> list[dict[str, Any]]:
    """Return the published files that a data set needs, and where each one is, or should be."""
    known, origin = CATALOGUE[name], Origin.fetching(data_folder(store.root))
    rows = []
    for file in (file for file in known.files if file.needed):
        path = origin.find(name, file.name) or origin.find(name, file.unpacked)
        expected = origin.path / known.layouts[0] / file.name
        rows.append({"path": str(path or expected), "md5": file.md5, "bytes": file.size, "there": path is not None})
    return rows


def _prepared_row(found: DatasetRecord, folder: Path) -> dict[str, Any]:
    config = found.config
    named = [config.get("path"), config.get("splits") if config.get("splits") == "official" else None]
    return {
        "name": " ".join([found.name, *filter(None, named)]),
        "images": found.images,
        "shape": list(found.shape),
        "num_classes": found.num_classes,
        "splits": found.splits,
        "sigma_data": found.sigma_data,
        "prepared": str(folder),
        "files": [],
    }
