"""Labels from a table beside the images, with a line for each, as in the layout of Hugging Face's ImageFolder."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from edm.data.errors import DataError, listed
from edm.data.files import open_files
from edm.data.labels import MAX_CLASSES
from edm.data.listing import LABEL_TABLES, ZIP_MAGIC, Listing
from edm.data.parquet_columns import IMAGE_KEY, LABEL_KEY, NO_LABELS, Choice

MOST_DIGITS = 19  # of a whole number; Python reads no more than some thousand
TRAILING_ZEROS = re.compile(r"\.0+$")
SEPARATORS = (",", ";", "\t")
LIKE_TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".xls", ".ods", ".parquet")  # what labels come in
FILE_NAME = "file_name"  # the column of the images in Hugging Face's layout

AN_OBJECT = f'each line should be an object such as {{"{FILE_NAME}": ...}}'

Row = tuple[int, Mapping[str, Any]]  # the number of its line, and its values by column
Rows = Iterator[Row]


@dataclass(frozen=True)
class Table:
    """A file of labels. name: relative to the folder of images. title: what messages call it."""

    name: str
    title: Path
    columns: tuple[str, ...]
    rows: Rows

    @property
    def folder(self) -> str:
        """The folder that it is in, with a slash, to which the names of its images are relative."""
        folder, slash, _ = self.name.rpartition("/")
        return folder + slash

    def column(self, key: str, name: str) -> str:
        """Return the name of a column that a person has chosen; raises DataError where there is none."""
        if name not in self.columns:
            raise DataError(
                f"{self.title}: {key}: there is no column {name}; its first line has {listed(self.columns)}"
            )
        return name


@dataclass(frozen=True)
class Line:
    """What a line says.

    place: the file and the line. path: of the image; "" where it names none. label: "" where it has none, None where it
    has what is no label.
    """

    place: str
    path: str
    label: str | None

    def __str__(self) -> str:
        return f"{self.place} ({self.path})" if self.path else self.place


def labels_of_column(root: Path, listing: Listing, choice: Choice) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names of the classes and the number of each image's class, by the column that a person has named.

    Raises DataError.
    """
    if choice.label == NO_LABELS:
        return (), (0,) * len(listing.images)
    if choice.label is None:
        remedy = f"name the one of the labels in a table beside them with {LABEL_KEY}, or remove {IMAGE_KEY}"
        raise DataError(f"{root}: holds image files, which have no columns; {remedy}")
    if not listing.tables:
        raise DataError(f"{root}: {_no_tables(listing)}, or remove {LABEL_KEY}")
    files = open_files(root, listing.prefix)
    try:
        contents = {name: files.read(name) for name in listing.tables}
    finally:
        files.close()
    return _read_tables(root, contents, listing.images, choice.label, choice.image)


def _no_tables(listing: Listing) -> str:
    """Return that there is no table, and what to do; a person who has named a column has some file that has it."""
    others = [kind.example for kind in listing.left_out if kind.suffix in LIKE_TABLES]
    remedy = f"save {' or '.join(others)} as one of these" if others else "add one"
    return f"holds image files and no table of labels ({', '.join(LABEL_TABLES)}) at the top or in a split; {remedy}"


def _read_tables(
    root: Path, contents: Mapping[str, bytes], paths: Sequence[str], label: str, image: str | None
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the classes and the number of each image's class; 0 for all where there are no classes.

    contents: of the tables, by name; one in a sub-folder names images relative to that. paths: of the images. label:
    the column of the labels. Whole numbers in it are those of the classes; otherwise the classes are its texts in their
    order. image: the column of the images; None if that is called FILE_NAME, or is the first.
    """
    tables = [_opened(root / name, name, content) for name, content in contents.items()]
    lines = [line for table in _with_labels(root, tables, label) for line in _lines(table, label, image)]
    by_path = _by_path(root, lines, label, frozenset(paths))
    unlabelled = [path for path in paths if path not in by_path]
    if unlabelled:
        have = "has" if len(contents) == 1 else "have"
        raise DataError(
            f"{root}: {listed(list(contents))} {have} no line for {len(unlabelled):,} of {len(paths):,} images "
            f"({listed(unlabelled)}); add the lines or remove the images"
        )
    return _numbered(root, _whole([by_path[path] for path in paths]))


def _with_labels(root: Path, tables: Sequence[Table], label: str) -> Sequence[Table]:
    """Return the tables that have the column of labels, of which every folder may have one."""
    found = [table for table in tables if label in table.columns]
    if not found:
        tables[0].column(LABEL_KEY, label)
    for folder, count in Counter(table.folder for table in found).items():
        if count > 1:
            names = listed([table.name for table in found if table.folder == folder])
            raise DataError(f"{root}: {names} have a column {label}; keep one of them there")
    return found


def _lines(table: Table, label: str, image: str | None) -> Iterator[Line]:
    first = FILE_NAME if FILE_NAME in table.columns else table.columns[0]
    column = first if image is None else table.column(IMAGE_KEY, image)
    for number, row in table.rows:
        name = row.get(column)
        known = name.rstrip().replace("\\", "/").removeprefix("./") if isinstance(name, str) else ""
        path = table.folder + known if known else ""
        yield Line(f"{table.name} line {number:,}", path, _text_of(row.get(label)))


def _text_of(label: Any) -> str | None:
    """Return a label as text, as JSON writes it; "" where there is none, None for lists and objects."""
    if label is None or label != label:  # NaN
        return ""
    if isinstance(label, str):
        return label.strip()
    return json.dumps(label) if isinstance(label, bool | int | float) else None


def _by_path(root: Path, lines: Sequence[Line], label: str, paths: frozenset[str]) -> dict[str, Line]:
    """Return lines by the paths of their images; raises DataError where they do not say the label of one each."""
    _refuse(root, [line for line in lines if not line.path], "no name of an image; add it or remove the line")
    absent = [line for line in lines if line.path not in paths]
    if absent and len(absent) == len(lines):
        raise DataError(
            f"{root}: no line names an image that is there: {lines[0]} does not, and images are called "
            f"{listed(sorted(paths)[:3])}; names are relative to the folder of their file, and {IMAGE_KEY} says which "
            "column has them"
        )
    _refuse(root, absent, "no such image; add it or remove the line. Names are relative to the folder of their file")
    wrong = [line for line in lines if line.label is None]
    _refuse(root, wrong, f"a list or an object in the column {label}, where a label should be a text or a number")
    no_label = f"no label in the column {label}; add it, or remove the line and the image"
    _refuse(root, [line for line in lines if not line.label], no_label)
    found: dict[str, Line] = {}
    twice = [line for line in lines if found.setdefault(line.path, line) is not line]
    first = [found[path] for path in dict.fromkeys(line.path for line in twice)]
    _refuse(root, [*first, *twice], "the same image several times; keep one line")
    return found


def _refuse(root: Path, lines: Sequence[Line], text: str) -> None:
    """Raise DataError that names the lines, if there are any."""
    if lines:
        raise DataError(f"{root}: {listed(list(map(str, lines)))}: {text}")


def _whole(lines: Sequence[Line]) -> Sequence[Line]:
    """Return lines with 1 in place of 1.0, which pandas writes for whole numbers, if all labels are whole numbers."""
    labels = {line.label: TRAILING_ZEROS.sub("", line.label or "") for line in lines}
    return (
        [replace(line, label=labels[line.label]) for line in lines] if all(map(_is_number, labels.values())) else lines
    )


def _numbered(root: Path, lines: Sequence[Line]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    classes = _classes(root, lines)
    if len(classes) < 2:
        return (), (0,) * len(lines)
    number = {name: i for i, name in enumerate(classes)}
    return classes, tuple(number[line.label or ""] for line in lines)


def _classes(root: Path, lines: Sequence[Line]) -> tuple[str, ...]:
    """Return the classes: all up to the highest number, or the texts."""
    texts = {line.label or "" for line in lines}
    if not all(map(_is_number, texts)):
        if len(texts) > MAX_CLASSES:
            raise DataError(f"{root}: has {len(texts):,} classes, more than the {MAX_CLASSES:,} that there may be")
        return tuple(sorted(texts))
    wrong = [line for line in lines if not 0 <= int(line.label or "") < MAX_CLASSES]
    rule = f"a label that is not from 0 to {MAX_CLASSES - 1:,}, as class numbers are"
    _refuse(root, wrong, f"{rule}; correct it, or remove the line and the image")
    return tuple(map(str, range(max(map(int, texts)) + 1)))


def _is_number(text: str) -> bool:
    """Return whether a label is a whole number as it is usually written: 07 is a text."""
    digits = text.removeprefix("-")
    return len(digits) < MOST_DIGITS and digits.isascii() and digits.isdecimal() and str(int(text)) == text


# reading files --------------------------------------------------------------------------------------


def _opened(title: Path, name: str, content: bytes) -> Table:
    """Return a table whose rows are read as they are asked for."""
    if content.startswith(ZIP_MAGIC):
        raise DataError(f"{title}: is a spreadsheet or a zip archive by its content; save the spreadsheet as CSV")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{title}: is not text in UTF-8 ({error.reason} at byte {error.start}); save it as such"
        ) from None
    columns, rows = READERS[title.suffix](title, text)
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(f"{title}: has several columns called {listed(twice)}; rename all but one")
    if not columns:
        raise DataError(f"{title}: is empty; its first line should name columns, such as {FILE_NAME} and label")
    return Table(name, title, columns, rows)


def _separator(text: str, usual: str) -> str:
    """Return what separates columns: spreadsheets write ; into .csv where the comma is that of decimals."""
    head = next(filter(str.strip, io.StringIO(text, newline=None)), "")
    return next((mark for mark in (usual, *SEPARATORS) if mark in head), usual)


def _of_delimited(title: Path, text: str, usual: str) -> tuple[tuple[str, ...], Rows]:
    file, mark = io.StringIO(text, newline=""), _separator(text, usual)
    lines = csv.reader(file, delimiter=mark, skipinitialspace=True, strict=True)

    def cells() -> Iterator[list[str]]:
        try:
            yield from lines
        except csv.Error as error:
            raise DataError(f"{title} line {lines.line_num}: cannot be read ({error}); repair it") from None

    found = filter(any, cells())
    columns = tuple(name.strip() for name in next(found, ()))
    return columns, ((lines.line_num, dict(zip(columns, row, strict=False))) for row in found)


def _of_json_lines(title: Path, text: str) -> tuple[tuple[str, ...], Rows]:
    rows = _objects(title, text)
    first = next(rows, None)
    return (() if first is None else tuple(first[1])), _again(first, rows)


def _again(first: Row | None, rest: Rows) -> Rows:
    if first is not None:
        yield first
    yield from rest


def _objects(title: Path, text: str) -> Rows:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{title} line {number}: cannot be read as JSON ({error}); {AN_OBJECT}") from None
        if not isinstance(row, dict):
            raise DataError(f"{title} line {number}: is JSON, but no object; {AN_OBJECT}")
        yield number, cast(dict[str, Any], row)


READERS: Mapping[str, Callable[[Path, str], tuple[tuple[str, ...], Rows]]] = {
    ".csv": lambda title, text: _of_delimited(title, text, ","),
    ".tsv": lambda title, text: _of_delimited(title, text, "\t"),
    ".jsonl": _of_json_lines,
}
