"""Which columns of parquet files hold images and labels, by the types of columns and Hugging Face's metadata.

The package `datasets` writes images as structs of bytes and a path, and class numbers whose names are in the schema's
metadata under the key `huggingface`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from edm.data.errors import DataError, listed

BYTES = "bytes"  # the field of an image's struct that has its content
LABEL_NAMES = ("label", "labels")  # what a column of class numbers is called where no metadata say which one it is
NO_LABELS = "none"  # in place of the name of a column
IMAGE_KEY, LABEL_KEY = "image_column", "label_column"


@dataclass(frozen=True)
class Columns:
    """Where images and labels are.

    image: the column of the images; content: the path of what holds their bytes. label: the column of the labels; None
    if there are none. names: those of the classes by their numbers; empty where the metadata have none. unused: columns
    that could hold labels, where none does.
    """

    image: str
    content: str
    label: str | None
    names: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The columns that a person has named; None for those to be found. label may be NO_LABELS."""

    image: str | None = None
    label: str | None = None


FOUND = Choice()  # no column is named


def find_columns(schema: Any, choice: Choice, title: Path) -> Columns:
    """Return the columns of images and labels. schema: pyarrow's. title: what error messages call the file.

    Raises DataError, which names the key to set, where no column or several can be meant.
    """
    twice = [name for name in dict.fromkeys(schema.names) if schema.names.count(name) > 1]
    if twice:
        raise DataError(f"{title}: has several columns called {listed(twice)}; rename all but one")
    features = _features(schema.metadata or {})
    contents = {name: path for name in schema.names if (path := _content_of(schema, name)) is not None}
    image = _image_column(schema, contents, features, choice.image, title)
    label = _label_column(schema, image, features, choice.label, title)
    names = _class_names(features.get(label, {})) if label is not None else ()
    found = label is not None or choice.label is not None
    unused = () if found else [name for name in schema.names if _holds_labels(schema, name)]
    return Columns(image, contents[image], label, names, tuple(unused))


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """Return what Hugging Face's metadata say of each column; nothing where there are none that can be read."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {name: said for name, said in features.items() if isinstance(said, dict)}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def _class_names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    names = feature.get("names")
    return tuple(map(str, cast(list[object], names))) if isinstance(names, list) else ()


# images -------------------------------------------------------------------------------------------


def _content_of(schema: Any, column: str) -> str | None:
    """Return the path of the bytes of images in a column; None for one that can hold no images."""
    kind, types = schema.field(column).type, import_module("pyarrow").types
    if types.is_struct(kind):
        position = kind.get_field_index(BYTES)
        return f"{column}.{BYTES}" if position >= 0 and _is_binary(kind.field(position).type) else None
    return column if _is_binary(kind) else None


def _is_binary(kind: Any) -> bool:
    types = import_module("pyarrow").types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _image_column(
    schema: Any, contents: Mapping[str, str], features: Mapping[str, Any], chosen: str | None, title: Path
) -> str:
    if chosen is not None:
        _require_column(schema, chosen, IMAGE_KEY, title)
        if chosen not in contents:
            raise DataError(f"{title}: {IMAGE_KEY}: {chosen} is {schema.field(chosen).type}, which holds no images")
        return chosen
    structs = [name for name, path in contents.items() if path != name]
    of_images = [name for name in contents if features.get(name, {}).get("_type") == "Image"]
    found = of_images or structs or list(contents)
    if len(found) > 1:
        raise DataError(f"{title}: {_several(found, 'images')}; say which with {IMAGE_KEY}")
    if not found:
        there = listed([f"{field.name} ({_short(field.type)})" for field in schema])
        raise DataError(f"{title}: has no column of images as bytes, but {there}; write the images as PNG or JPEG")
    return found[0]


def _several(columns: Sequence[str], what: str) -> str:
    return f"has {len(columns)} columns of {what} ({listed(columns)})"


def _short(kind: Any) -> str:
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _require_column(schema: Any, name: str, key: str, title: Path) -> None:
    if name not in schema.names:
        raise DataError(f"{title}: {key}: there is no column {name}, but {listed(schema.names)}; give one of these")


# labels -------------------------------------------------------------------------------------------


def _label_column(schema: Any, image: str, features: Mapping[str, Any], chosen: str | None, title: Path) -> str | None:
    if chosen == NO_LABELS:
        return None
    if chosen is not None:
        _require_column(schema, chosen, LABEL_KEY, title)
        _require_labels(schema, chosen, title)
        return chosen
    others = [name for name in schema.names if name != image]
    found = [name for name in others if features.get(name, {}).get("_type") == "ClassLabel"]
    found = found or [name for name in others if name in LABEL_NAMES]
    if len(found) > 1:
        raise DataError(
            f"{title}: {_several(found, 'labels')}; say which with {LABEL_KEY}, "
            f"or set it to {NO_LABELS} for images without labels"
        )
    if found:
        _require_labels(schema, found[0], title)
    return found[0] if found else None


def _holds_labels(schema: Any, column: str) -> bool:
    kind, types = schema.field(column).type, import_module("pyarrow").types
    if types.is_dictionary(kind):  # as pandas writes categories
        kind = kind.value_type
    return types.is_integer(kind) or types.is_boolean(kind) or is_text(kind)


def is_text(kind: Any) -> bool:
    """Return whether the type of a column is text."""
    types = import_module("pyarrow").types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _require_labels(schema: Any, column: str, title: Path) -> None:
    if not _holds_labels(schema, column):
        kind = _short(schema.field(column).type)
        raise DataError(
            f"{title}: the column {column} is {kind}, and labels are class numbers or texts; "
            f"name another column with {LABEL_KEY}, or set it to {NO_LABELS} for images without labels"
        )
