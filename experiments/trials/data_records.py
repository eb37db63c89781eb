"""What the record of a prepared data set says of its images and classes, for people."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from edm.data.class_names import CLASS_NAMES
from experiments.errors import UserError
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource
from experiments.wording import did_you_mean, printable

MOST_NAMED = 10  # classes in a message
NUMBER, NAME = "number=", "name="  # say how the class after them is meant
NO_FILE_NAME = re.compile(r"\W+")  # besides letters and digits of any language, and _
MOST_IN_FILE_NAME = 40  # letters, of at most 4 bytes each, where a file's name may have 255


def noticed(record: DatasetRecord) -> tuple[str, ...]:
    """Return a sentence for each thing that was noticed as the images were decoded."""
    return tuple((record.source or {}).get("noticed", ()))


def class_names(source: DataSource, store: Store) -> tuple[str, ...]:
    """Return the names of a data set's classes by their numbers; none where they have only numbers."""
    record = store.result(DatasetRecord, source.signature)
    return names_in_record(str(source.config.name), record.source if record is not None else None)


def names_in_record(data_set: str, source: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the names of classes that are recorded of a data set's source, or known of a published data set."""
    return tuple((source or {}).get("classes", ())) or CLASS_NAMES.get(data_set, ())


def numbered(names: tuple[str, ...]) -> str:
    """Return the numbers and names of classes as text: "0: cat, 1: dog", the first ones where they are many."""
    shown = [f"{number}: {printable(name)}" for number, name in enumerate(names[:MOST_NAMED])]
    return ", ".join([*shown, "..."] if len(names) > MOST_NAMED else shown)


def numbered_class(number: int, names: tuple[str, ...]) -> str:
    """Return a class as a person chooses it: "3: cat", or its number where it has no other name."""
    name = names[number] if 0 <= number < len(names) else ""
    return f"{number}: {printable(name)}" if name not in ("", str(number)) else str(number)


def file_part(number: int, names: tuple[str, ...]) -> str:
    """Return a class as a part of a file's name: "3-cat", or its number where it has no other name.

    A name may hold what no file's name can, on this or on another system: "0-T-shirt-top".
    """
    name = names[number] if 0 <= number < len(names) else ""
    safe = NO_FILE_NAME.sub("-", name).strip("-")[:MOST_IN_FILE_NAME]
    written = safe.encode(sys.getfilesystemencoding(), "ignore").decode(sys.getfilesystemencoding())
    return str(number) if written in ("", str(number)) else f"{number}-{written}"


def label_option(number: int, names: tuple[str, ...]) -> str:
    """Return what `--label` takes for the class of a number."""
    return f"{NUMBER}{number}" if str(number) in names and names.index(str(number)) != number else str(number)


def class_number(text: str, source: DataSource, store: Store) -> int:
    """Return the number of a class from its number or its name, or from number=NUMBER or name=NAME.

    Raises UserError where it is neither, and where it is the number of one class and the name of another.
    """
    names = class_names(source, store)
    if text.startswith(NUMBER) and text not in names and _is_number(text.removeprefix(NUMBER)):
        return int(text.removeprefix(NUMBER))
    name = text.removeprefix(NAME) if text not in names else text
    if name == text and _is_number(text):
        _require_one_meaning(text, names)
        return names.index(text) if text in names else int(text)
    if name in names:
        return names.index(name)
    if not names:
        raise UserError(f"--label {text}: is no number, and no names of classes are recorded; give a class number")
    remedy = did_you_mean(name, names) or "give one of these, or its number"
    raise UserError(f"--label {text}: is not a class ({numbered(names)}); {remedy}")


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def _require_one_meaning(text: str, names: tuple[str, ...]) -> None:
    """Raise UserError for a number that is also the name of another class."""
    if text in names and 0 <= int(text) < len(names) and names[int(text)] != text:
        by_name, by_number = numbered_class(names.index(text), names), numbered_class(int(text), names)
        raise UserError(
            f"--label {text}: is the name of one class ({by_name}) and the number of another ({by_number}); "
            f"give {NAME}{text} or {NUMBER}{text}"
        )
