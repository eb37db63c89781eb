"""What the record of a prepared data set says of its images and classes, for people."""

from __future__ import annotations

from experiments.errors import UserError
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource
from experiments.wording import did_you_mean

MOST_NAMED = 10  # classes in a message


def noticed(record: DatasetRecord) -> tuple[str, ...]:
    """Return a sentence for each thing that was noticed as the images were decoded."""
    return tuple((record.source or {}).get("noticed", ()))


def class_names(record: DatasetRecord | None) -> tuple[str, ...]:
    """Return the names of the classes by their numbers; none of a data set whose record has only numbers."""
    source = record.source if record is not None else None
    return tuple((source or {}).get("classes", ()))


def numbered(names: tuple[str, ...]) -> str:
    """Return the numbers and names of classes as text: "0: cat, 1: dog", the first ones where they are many."""
    shown = [f"{number}: {name}" for number, name in enumerate(names[:MOST_NAMED])]
    return ", ".join([*shown, "..."] if len(names) > MOST_NAMED else shown)


def class_number(text: str, source: DataSource, store: Store) -> int:
    """Return the number of a class from its number or its name; raises UserError where it is neither."""
    if text.removeprefix("-").isdecimal():
        return int(text)
    names = class_names(store.result(DatasetRecord, source.signature))
    if text in names:
        return names.index(text)
    if not names:
        raise UserError(f"--label {text}: is no number, and no names of classes are recorded; give a class number")
    remedy = did_you_mean(text, names) or "give one of these, or its number"
    raise UserError(f"--label {text}: is not a class ({numbered(names)}); {remedy}")
