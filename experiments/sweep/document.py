"""YAML files as data that remembers its lines, so that an error can say where."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import UserError

Location = tuple[str | int, ...]  # the keys and list indices that lead to a value

MOST_FILES = 6  # that a message lists
START = "'edm-sweep init NAME' writes a sweep file to start from"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also reads 1e-4 as the number that YAML 1.2 says it is."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Document:
    """The data of a file (lists as tuples), and where each key and list entry was written, such as "x.yaml:14"."""

    name: str
    data: Any
    places: dict[Location, str] = field(default_factory=dict)

    def error(self, location: Location, message: str) -> UserError:
        """Return a UserError that begins with the place of `location`, or of the nearest entry around it."""
        while location and location not in self.places:
            location = location[:-1]
        return UserError(f"{self.places.get(location, self.name)}: {message}")


def read_document(path: Path) -> Document:
    """Read a YAML file; raises UserError where it is absent, unreadable or invalid YAML, or has a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {_nearby(path)}") from None
    except IsADirectoryError:
        inside = sorted(path.glob("[!.]*.yaml"))
        example = f", such as {inside[0]}" if inside else ""
        raise UserError(f"{path}: is a folder; give a sweep file{example}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); give a YAML file") from None
    return parse_document(str(path), text)


def _nearby(path: Path) -> str:
    """Sweep files that a person may have meant by a path that does not exist."""
    found = sorted(str(file) for file in [*path.parent.glob("[!.]*.yaml"), *Path("sweeps").glob("[!.]*.yaml")])
    files = list(dict.fromkeys(found))
    close = difflib.get_close_matches(str(path), files, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    more = f" and {len(files) - MOST_FILES} more" if len(files) > MOST_FILES else ""
    return f"choose from {', '.join(files[:MOST_FILES])}{more}" if files else START


def parse_document(name: str, text: str) -> Document:
    """Parse YAML text; `name` is what errors call it. Raises UserError where it is invalid or has a key twice."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        raise UserError(f"{place}: invalid YAML ({error.problem or error.context}); correct the syntax") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: invalid YAML ({str(error).splitlines()[0]}); give a text file in YAML") from None
    if node is None:
        raise UserError(f"{name}: is empty; {START}")
    document = Document(name, None, {})
    data = _Builder(loader, document).build(node, (), frozenset())
    return Document(name, data, document.places)


def dotted(location: Location) -> str:
    """Return a location as a dotted name, such as model.preset."""
    return ".".join(str(part) for part in location)


class _Builder:
    """Turns YAML nodes into data and records where each was written."""

    def __init__(self, loader: _Loader, document: Document) -> None:
        self.loader, self.document = loader, document

    def build(self, node: yaml.Node, location: Location, around: frozenset[int]) -> Any:
        """Return the data of a node. around: the identities of the nodes that contain it."""
        self._record(location, node)
        if id(node) in around:
            raise self.document.error(
                location, f"{dotted(location)}: contains itself (a YAML alias); write the values instead of the alias"
            )
        around |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            return {key: self.build(value, (*location, key), around) for key, value in self._pairs(node, location)}
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.build(value, (*location, i), around) for i, value in enumerate(node.value))
        try:
            return self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            reason = getattr(error, "problem", None) or error
            key = f"{dotted(location)}: " if location else ""
            raise self.document.error(
                location, f"{key}{node.value!r} cannot be read ({reason}); write a plain value"
            ) from None

    def _record(self, location: Location, node: yaml.Node) -> None:
        self.document.places.setdefault(location, f"{self.document.name}:{node.start_mark.line + 1}")

    def _pairs(self, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            self._record((*location, key), key_node)
            if key in seen:
                raise UserError(
                    f"{self.document.name}:{line}: {dotted((*location, key))}: appears twice, first on line "
                    f"{seen[key]}; remove one"
                )
            seen[key] = line
        self.loader.flatten_mapping(node)  # "<<": merged keys come first, so that the mapping's own win
        for key_node, value in node.value:
            yield str(key_node.value), value
