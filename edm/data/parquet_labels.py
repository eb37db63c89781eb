"""Labels of images in parquet files: numbers of classes whose names the metadata have, or texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edm.data.errors import DataError, listed
from edm.data.labels import MAX_CLASSES
from edm.data.parquet_columns import LABEL_KEY, NO_LABELS, Columns, is_text
from edm.data.parquet_shards import Part

ABSENT = -1  # what data sets have in place of a label that is not published

Numbers = NDArray[np.int64]


def numbered(root: Path, parts: Sequence[Part], columns: Columns) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of the classes, and the number of each image's class; 0 for all where there are no classes."""
    classes, numbers = (), np.zeros(0, np.int64)
    if columns.label is not None:
        _require_labels_everywhere(root, parts, columns.label)
        classes, numbers = (_of_texts if is_text(parts[0].labels.type) else _of_numbers)(parts, columns)
    if len(classes) < 2:
        return (), (0,) * sum(part.shard.rows for part in parts)
    return classes, tuple(numbers.tolist())


def _of_numbers(parts: Sequence[Part], columns: Columns) -> tuple[tuple[str, ...], Numbers]:
    numbers = np.concatenate([_array(part.labels) for part in parts])
    limit = len(columns.names) or MAX_CLASSES
    for part in parts:
        _require_in_range(part, limit, columns)
    return columns.names or tuple(map(str, range(int(numbers.max(initial=0)) + 1))), numbers


def _of_texts(parts: Sequence[Part], columns: Columns) -> tuple[tuple[str, ...], Numbers]:
    """Return the texts, sorted, as the names of classes."""
    encoded = [part.labels.dictionary_encode() for part in parts]
    texts = [each.dictionary.to_pylist() for each in encoded]
    classes = tuple(sorted({text for each in texts for text in each}))
    if len(classes) > MAX_CLASSES:
        title, count = parts[0].shard.path, len(classes)
        raise DataError(
            f"{title}: the column {columns.label} has {count:,} different texts, more than the {MAX_CLASSES:,} classes "
            f"that there may be; name another column with {LABEL_KEY}"
        )
    number = {text: i for i, text in enumerate(classes)}
    parts_numbers = [
        np.array([number[text] for text in each], np.int64)[_array(labels.indices)]
        for each, labels in zip(texts, encoded, strict=True)
    ]
    return classes, np.concatenate(parts_numbers)


def _array(numbers: Any) -> NDArray[Any]:
    return np.from_dlpack(numbers)  # to_numpy() and others import pandas, which takes seconds


def _require_labels_everywhere(root: Path, parts: Sequence[Part], label: str) -> None:
    """Raise DataError where labels are null, or ABSENT."""
    found = {part.shard.name: rows for part in parts if len(rows := np.flatnonzero(_is_absent(part.labels)))}
    if not found:
        return
    count = sum(map(len, found.values()))
    named = listed([f"{name} row {rows[0]}" for name, rows in found.items()])
    images = "1 image has" if count == 1 else f"{count:,} images have"
    raise DataError(
        f"{root}: {images} no label in the column {label} ({named}{' first' if count > 1 else ''}); "
        f"leave such files out, or set {LABEL_KEY} to {NO_LABELS}"
    )


def _is_absent(labels: Any) -> NDArray[np.bool_]:
    absent = _array(labels.is_null().cast("int8")).astype(bool)
    if not is_text(labels.type):
        absent[~absent] = _array(labels.drop_null()) == ABSENT
    return absent


def _require_in_range(part: Part, limit: int, columns: Columns) -> None:
    values = _array(part.labels)
    wrong = np.flatnonzero((values < 0) | (values >= limit))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{part.shard.path} row {row}: the label is {values[row]}, and those in the column {columns.label} "
            f"should be from 0 to {limit - 1:,}; correct it, or name another column with {LABEL_KEY}"
        )
