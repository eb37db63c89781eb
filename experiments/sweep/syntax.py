"""YAML itself: which values are read as numbers, and what to write instead of what YAML misreads or refuses."""

from __future__ import annotations

import re

import yaml

MOST_ENTRIES = 50_000  # of a file once its aliases are written out
MOST_LEVELS = 50
LONGEST_NUMBER = 100  # characters

LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")  # octal in YAML 1.1
BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
NO_SPACE = re.compile(r"[\s{,-]*([A-Za-z_][\w.-]*):([^\s:/][^\s,}]*)")  # field:value
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which reads 1e-4 as a number, as YAML 1.2 does, and dates as text."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def misread(node: yaml.Node) -> str | None:
    """Return what is wrong with a value that YAML 1.1 reads as another number than a person does, and the remedy."""
    text = str(node.value)
    if node.tag in NUMBERS and len(text) > LONGEST_NUMBER:
        return f"is a number with {len(text):,} characters; write a shorter one"
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:  # in quotes
        return None
    if LEADING_ZERO.fullmatch(text):
        decimal = text.replace("_", "").lstrip("+-0") or "0"
        sign = "-" if text.startswith("-") else ""
        return f"{text} begins with 0, as octal numbers do in YAML; write {sign}{decimal}, or '{text}' if it is text"
    if BASE_60.fullmatch(text):
        return f"{text} has a colon, as base 60 has in YAML; write a number without it, or '{text}' if it is text"
    return None


def levels(text: str) -> int:
    """Return how deeply the brackets of a text are nested, those in quotes and comments included."""
    level = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        level = level + 1 if bracket in "[{" else max(level - 1, 0)
        deepest = max(deepest, level)
    return deepest


def expanded(node: yaml.Node) -> int:
    """Return how many entries a node has with all of its aliases written out, without writing them out."""
    sizes: dict[int, int] = {}

    def count(part: yaml.Node) -> int:
        if id(part) not in sizes:
            sizes[id(part)] = 1  # of an alias to what contains it, which is refused later
            sizes[id(part)] = 1 + sum(map(count, _children(part)))
        return sizes[id(part)]

    return count(node)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def remedy(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return what to do about invalid YAML."""
    problem, mark = str(error.problem), error.problem_mark
    if "another document" in problem:
        return "keep one document and remove the line '---' between them"
    if "quoted scalar" in str(error.context) and error.context_mark is not None:
        return f"close the quote that is opened on line {error.context_mark.line + 1}"
    if mark is None:
        return "correct the syntax"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\\t" in problem or "\t" in line[: mark.column + 1]:
        return "indent with spaces instead of tabs"
    if "that cannot start any token" in problem or "expected alphabetic or numeric" in problem:
        return "put text that begins with a special character in quotes"
    for near in reversed(lines[max(0, mark.line - 2) : mark.line + 1]):  # YAML notices it late
        if found := NO_SPACE.fullmatch(near.rstrip(" }")):
            return f"write a space after the colon: '{found[1]}: {found[2]}'"
    if "mapping values are not allowed" in problem:
        return "begin the keys of a mapping in the same column, and put text that contains a colon in quotes"
    return "correct the syntax"
