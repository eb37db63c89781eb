"""YAML files as data that remembers its lines, so that an error can say where."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import UserError
from experiments.sweep.syntax import MOST_ENTRIES, MOST_LEVELS, Loader, expanded, levels, misread, remedy
from experiments.wording import shortened, shortened_list, size

Location = tuple[str | int, ...]  # the keys and list indices that lead to a value

MOST_FILES = 6  # that a message lists
LARGEST = 2**17  # bytes of a sweep file, fifty times the largest in sweeps/: YAML takes a second for them
START = "'edm-sweep init NAME' writes a sweep file to start from"


@dataclass(frozen=True)
class Document:
    """The data of a file (lists as tuples).

    places: where each key and list entry was written, such as "x.yaml:14". written: the text of each plain value.
    """

    name: str
    data: Any
    places: dict[Location, str] = field(default_factory=dict)
    written: dict[Location, str] = field(default_factory=dict)

    def error(self, location: Location, message: str) -> UserError:
        """Return a UserError that begins with the place of `location`, or of the nearest entry around it."""
        while location and location not in self.places:
            location = location[:-1]
        return UserError(f"{self.places.get(location, self.name)}: {message}")

    def beside(self, path: str | None) -> str:
        """Return what to write for a path that exists in the file's folder alone, not in the current one; else ""."""
        place = Path(self.name).parent / Path(path or "").expanduser()
        if path is None or Path(path).expanduser().exists() or not place.exists():
            return ""
        return f"; or, as paths begin in the current folder, not in that of the sweep file, write {place}"


def read_document(path: Path) -> Document:
    """Read a YAML file; raises UserError where it is absent, unreadable, too large or invalid YAML."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{path}: is larger than {size(LARGEST)}, which no sweep file is; {START}")
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_nearby(path)}") from None
    except IsADirectoryError:
        inside = sorted(path.glob("[!.]*.yaml"))
        example = f", such as {inside[0]}" if inside else ""
        raise UserError(f"{path}: is a folder; give a sweep file{example}") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: cannot be read as text (byte {error.start + 1} is not UTF-8); save it as a YAML file in UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); give a YAML file") from None
    return parse_document(str(path), text)


def _nearby(path: Path) -> str:
    """Sweep files that a person may have meant by a path that does not exist."""
    found = sorted(str(file) for file in [*path.parent.glob("[!.]*.yaml"), *Path("sweeps").glob("[!.]*.yaml")])
    files = list(dict.fromkeys(found))
    close = difflib.get_close_matches(str(path), files, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"choose from {shortened_list(files, MOST_FILES)}" if files else START


def parse_document(name: str, text: str) -> Document:
    """Parse YAML text; `name` is what errors call it. Raises UserError where it is invalid or has a key twice."""
    if levels(text) > MOST_LEVELS:  # before PyYAML, which takes long for them
        raise _too_deep(name)
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise UserError(f"{name}: is empty; {START}")
        if expanded(node) > MOST_ENTRIES:
            raise UserError(f"{name}: has more than {MOST_ENTRIES:,} entries, aliases included; remove some")
        document = Document(name, None)
        data = _Builder(loader, document).build(node, (), frozenset())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        problem = shortened(str(error.problem or error.context))
        raise UserError(f"{place}: invalid YAML ({problem}); {remedy(error, text)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: invalid YAML ({str(error).splitlines()[0]}); give a text file in YAML") from None
    except RecursionError:
        raise _too_deep(name) from None
    return Document(name, data, document.places, document.written)


def _too_deep(name: str) -> UserError:
    return UserError(f"{name}: has lists or mappings more than {MOST_LEVELS} levels deep; write fewer levels")


def dotted(location: Location) -> str:
    """Return a location as a dotted name, such as model.preset."""
    return shortened(".".join(str(part) for part in location))


class _Builder:
    """Turns YAML nodes into data and records where each was written."""

    def __init__(self, loader: Loader, document: Document) -> None:
        self.loader, self.document = loader, document

    def build(self, node: yaml.Node, location: Location, around: frozenset[int]) -> Any:
        """Return the data of a node. around: the identities of the nodes that contain it."""
        self._record(location, node)
        if len(location) > MOST_LEVELS:
            raise _too_deep(self.document.name)
        if id(node) in around:
            raise self._error(location, "contains itself (a YAML alias); write the values instead of the alias")
        around |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            return {key: self.build(value, (*location, key), around) for key, value in self._pairs(node, location)}
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.build(value, (*location, i), around) for i, value in enumerate(node.value))
        return self._scalar(node, location)

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        problem = misread(node)
        if problem is not None:
            raise self._error(location, problem)
        self.document.written[location] = node.value
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            reason = shortened(str(getattr(error, "problem", None) or error))
            raise self._error(
                location, f"{shortened(node.value)!r} cannot be read ({reason}); write a plain value"
            ) from None
        self._require_text(str(node.value), location)
        return value

    def _error(self, location: Location, message: str) -> UserError:
        fields = tuple(part for part in location if isinstance(part, str))
        return self.document.error(location, f"{dotted(fields)}: {message}" if fields else message)

    def _require_text(self, text: str, location: Location) -> None:
        """Refuse control characters and halves of surrogate pairs, which neither a path nor a terminal takes."""
        for character in text:
            if unicodedata.category(character) in ("Cc", "Cs"):
                raise self._error(location, f"contains the control character {character!r}; remove it")

    def _record(self, location: Location, node: yaml.Node) -> None:
        self.document.places.setdefault(location, f"{self.document.name}:{node.start_mark.line + 1}")

    def _pairs(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = self._key(key_node, location), key_node.start_mark.line + 1
            self._record((*location, key), key_node)
            if key in seen:
                raise UserError(
                    f"{self.document.name}:{line}: {dotted((*location, key))}: appears twice, first on line "
                    f"{seen[key]}; remove one"
                )
            seen[key] = line
        self.loader.flatten_mapping(node)  # "<<": merged keys come first, so that the mapping's own win
        for key_node, value in node.value:
            yield self._key(key_node, location), value

    def _key(self, node: yaml.Node, location: Location) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._record((*location, ""), node)
            raise self.document.error((*location, ""), "a key is a list or a mapping; put text with brackets in quotes")
        self._require_text(node.value, location)
        return str(node.value)
