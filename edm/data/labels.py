"""Labels from the file dataset.json, as NVlabs' dataset_tool writes it: a list of names and class numbers, or null."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edm.data.errors import DataError, listed

MAX_CLASSES = 100_000
SHAPE = "'labels' must be null, or a list of [name, class number]"


@dataclass(frozen=True)
class GivenLabels:
    """What files say of images. numbers: the class of each, -1 for all where they are null. absent: images they name
    that are not there.
    """

    numbers: tuple[int, ...]
    absent: tuple[str, ...] = ()


def read_labels(root: Path, files: Mapping[str, bytes], paths: Sequence[str]) -> GivenLabels | None:
    """Return the labels of images; None where no file holds labels.

    files: the content of every dataset.json, by its name; one in a sub-folder gives names relative to that.
    paths: of the images. Raises DataError where an image has no label, or a label is not a class number.
    """
    labels: dict[str, int | None] = {}
    found = False
    for name, content in files.items():
        entries = _entries(root / name, content)
        folder = name.rpartition("/")[0]
        for image, label in entries or ():
            path = f"{folder}/{image}" if folder else image
            if labels.setdefault(path, label) != label:
                twice = f"gives {image} the labels {labels[path]} and {label}"
                raise DataError(f"{root / name}: {twice}; remove one of them")
        found |= entries is not None
    if not found:
        return None
    if all(label is None for label in labels.values()):
        return GivenLabels((-1,) * len(paths))
    unlabelled = [path for path in paths if labels.get(path) is None]
    if unlabelled:
        raise DataError(
            f"{root}: {' and '.join(files)} has no label for {len(unlabelled):,} of {len(paths):,} images "
            f"({listed(unlabelled)}); add the labels or remove the images, or set 'labels' to null"
        )
    numbers = tuple(label for label in map(labels.__getitem__, paths) if label is not None)
    return GivenLabels(numbers, tuple(sorted(labels.keys() - set(paths))))


def _entries(title: Path, content: bytes) -> list[tuple[str, int | None]] | None:
    """Return names and labels of one file; None where it is some other JSON file, which has no 'labels'."""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{title}: cannot be read as JSON ({error}); repair or remove it") from None
    if not isinstance(parsed, dict) or "labels" not in parsed:
        return None
    entries = cast(dict[str, Any], parsed)["labels"]
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise DataError(f"{title}: {SHAPE}; repair or remove it")
    labelled = [_entry(title, entry) for entry in cast(list[Any], entries)]
    _require_classes(title, labelled)
    return labelled


def _require_classes(title: Path, labelled: Sequence[tuple[str, Any]]) -> None:
    """Raise DataError, which names all images whose label is neither a class number nor null."""
    wrong = [f"{name} is {str(label)[:80]}" for name, label in labelled if not _is_class(label)]
    if wrong:
        which = ", which is not a class number" if len(wrong) == 1 else "; these are not class numbers"
        raise DataError(
            f"{title}: the label of {listed(wrong)}{which} from 0 to {MAX_CLASSES - 1:,}; "
            "only classes are read, so give their numbers, or set 'labels' to null"
        )


def _is_class(label: Any) -> bool:
    return label is None or (isinstance(label, int) and not isinstance(label, bool) and 0 <= label < MAX_CLASSES)


def _entry(title: Path, entry: Any) -> tuple[str, Any]:
    pair = cast(list[Any], entry) if isinstance(entry, list) else []
    if len(pair) != 2 or not isinstance(pair[0], str):
        raise DataError(f"{title}: {SHAPE}, not {json.dumps(entry)[:80]}; repair or remove it")
    return pair[0].replace("\\", "/"), pair[1]
