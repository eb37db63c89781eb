"""The record of the figures' data: a few numbers of every array, with which the data are compared when made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory_figures.plane import Arrays

FILE = "data.json"
MOST_VALUES, DIGITS = 12, 6  # of an array: values that are recorded, and significant digits of each

Record = dict[str, Any]


def record_of(data: Arrays, recorded: tuple[str, ...] | None, tolerance: float) -> Record:
    """Return the record of a figure's data: shape, mean, spread and some values of each recorded array."""
    names = data.keys() if recorded is None else recorded
    return {"tolerance": tolerance, "arrays": {name: _summary(data[name]) for name in names}}


def _summary(values: NDArray[np.floating]) -> Record:
    flat = values.astype(float).ravel()
    chosen = flat[np.linspace(0, len(flat) - 1, min(len(flat), MOST_VALUES)).round().astype(int)]
    numbers = [float(f"{number:.{DIGITS}g}") for number in (flat.mean(), flat.std(), *chosen)]
    return {"shape": list(values.shape), "numbers": numbers}


def write(records: dict[str, Record], folder: Path) -> None:
    """Write the record; that of a figure that was not made this time stays."""
    kept = read(folder) if (folder / FILE).exists() else {}
    lines = [f" {json.dumps(name)}: {json.dumps(each)}" for name, each in sorted((kept | records).items())]
    (folder / FILE).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read(folder: Path) -> dict[str, Record]:
    """Read the record of all figures."""
    return json.loads((folder / FILE).read_text())


def differences(made: dict[str, Record], expected: dict[str, Record]) -> list[str]:
    """Return a sentence for each array that differs from its record by more than the figure's tolerance."""
    problems: list[str] = []
    for name, each in made.items():
        if name not in expected:
            problems.append(f"{name}: is not in the record; run docs/scripts/theory.py")
            continue
        for array, summary in each["arrays"].items():
            before = expected[name]["arrays"].get(array)
            if before is None or before["shape"] != summary["shape"]:
                problems.append(f"{name}: {array} has another shape than in the record")
            elif not np.allclose(summary["numbers"], before["numbers"], rtol=each["tolerance"], atol=each["tolerance"]):
                problems.append(f"{name}: {array} differs from its record")
    return problems
