"""Errors of differences: all cells start from the same noise, so image i of one corresponds to image i of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

from experiments.store.files import checksum
from experiments.store.layout import INFLUENCES
from experiments.store.results import EvaluationResult
from experiments.store.store import Store


def influences_of(store: Store, signature: str) -> Path | None:
    """Return the file of a finished evaluation's influences, if it is the one that belongs to its result.

    None where it is damaged, or a kill came between it and the result: the cell is not compared then.
    """
    result = store.result(EvaluationResult, signature)
    path = store.folder("evaluations", signature) / INFLUENCES
    if result is None or not path.exists() or checksum(path) != result.files[INFLUENCES]:
        return None
    return path


def influence_errors(store: Store, a: str, b: str) -> dict[str, float]:
    """Return for each metric the standard error of the difference of two evaluations, paired by image.

    Only for evaluations with equally many images.
    """
    here_path, there_path = influences_of(store, a), influences_of(store, b)
    if here_path is None or there_path is None:
        return {}
    errors: dict[str, float] = {}
    with safe_open(here_path, framework="np") as here, safe_open(there_path, framework="np") as there:
        for metric in set(here.keys()) & set(there.keys()):
            own, other = here.get_tensor(metric).astype(np.float64), there.get_tensor(metric).astype(np.float64)
            if len(own) == len(other):
                errors[metric] = float(np.std(own - other, ddof=1) / np.sqrt(len(own)))
    return errors
