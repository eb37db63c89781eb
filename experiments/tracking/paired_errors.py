"""Errors of differences: all cells start from the same noise, so image i of one corresponds to image i of another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from experiments.store.files import checksum
from experiments.store.layout import INFLUENCES
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan


def _influences_file(store: Store, signature: str) -> Path | None:
    """Return the file of a finished evaluation's influences, if it is the one that belongs to its result.

    None where it is damaged, or a kill came between it and the result: the cell is not compared then.
    """
    result = store.result(EvaluationResult, signature)
    path = store.folder("evaluations", signature) / INFLUENCES
    if result is None or not path.exists() or checksum(path) != result.files[INFLUENCES]:
        return None
    return path


def difference_errors(store: Store, a: str, b: str) -> dict[str, float]:
    """Return for each metric the standard error of the difference of two evaluations, paired by image.

    Only for evaluations with equally many images.
    """
    here_path, there_path = _influences_file(store, a), _influences_file(store, b)
    if here_path is None or there_path is None:
        return {}
    errors: dict[str, float] = {}
    here, there = _influences(here_path), _influences(there_path)
    for metric in here.keys() & there.keys():
        own, other = here[metric].astype(np.float64), there[metric].astype(np.float64)
        if len(own) == len(other):
            errors[metric] = float(np.std(own - other, ddof=1) / np.sqrt(len(own)))
    return errors


def influence_files(plan: Plan, store: Store) -> dict[str, Path]:
    """Return the file of the influences of every finished cell, by the cell's name."""
    paths = {plan.cell_name(planned): _influences_file(store, planned.evaluation.signature) for planned in plan.cells}
    return {cell: path for cell, path in paths.items() if path is not None}


def paired_deviations(files: Mapping[str, Path]) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return for each metric the cells that have it, and how far every image moves the score of each cell.

    files: of the cells' influences. Rows are scaled so that the product of two is the covariance of the scores: all
    cells start from the same noise and labels, so image i of one corresponds to image i of another, and var(a - b) is
    usually much less than var(a) + var(b). Cells with different numbers of images, which no table compares, count as
    uncorrelated.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for cell, path in files.items():
        for metric, values in _influences(path).items():
            found.setdefault(metric, {})[cell] = values
    return {metric: (tuple(rows), _deviations(list(rows.values()))) for metric, rows in found.items()}


def _influences(path: Path) -> dict[str, np.ndarray]:
    """Return the influences of images on each metric; none where the file, as of a bundle, holds something else."""
    try:
        with safe_open(path, framework="np") as file:
            arrays = {metric: file.get_tensor(metric) for metric in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, TypeError, ValueError):
        return {}
    return {metric: values for metric, values in arrays.items() if values.ndim == 1 and values.dtype.kind == "f"}


def _deviations(influences: list[np.ndarray]) -> np.ndarray:
    """Return rows whose products are the covariances of means over images. Images of other counts are other columns."""
    starts: dict[int, int] = {}
    for values in influences:
        starts.setdefault(len(values), sum(starts))
    made = np.zeros((len(influences), sum(starts)), np.float32)
    for row, values in zip(made, influences, strict=True):
        count = len(values)
        scale = np.sqrt(max(count - 1, 1) * count)
        row[starts[count] : starts[count] + count] = (values - values.mean(dtype=np.float64)) / scale
    return made
