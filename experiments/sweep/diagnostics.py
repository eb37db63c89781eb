"""Sentences about what is wrong in a sweep file."""

from __future__ import annotations

import difflib
import itertools
import math
from typing import TYPE_CHECKING, Any

from edm.config import FieldError, GuideConfig
from experiments.sweep.document import Document, Location
from experiments.sweep.spec import NESTED, field_names

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

EXPECTED = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}


def show_value(value: Any) -> str:
    """Return a value as a person would write it in YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(show_value(entry) for entry in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return f"{{{value}}}" if isinstance(value, GuideConfig) else repr(value)


def suggest(word: str, choices: tuple[str, ...], show: int = 16) -> str:
    """Return what to write instead of a wrong word: the closest choice, and all of them where they are few."""
    close = difflib.get_close_matches(str(word), choices, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else ""
    if len(choices) > show:
        return hint
    return f"choose from {', '.join(choices)}{f' ({hint})' if hint else ''}"


def one_of(words: list[str]) -> str:
    """Return words as a choice, such as "nano, micro or mini"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def suggest_axis(axis: str, axes: tuple[str, ...]) -> str:
    """Return what to write instead of an axis that the sweep does not have."""
    return suggest(axis, axes) if axes else "the sweep has no axes; add them under 'grid:'"


def require_field(
    document: Document, kind: type, key: str, value: Any, location: Location, title: str, more: tuple[str, ...] = ()
) -> None:
    """Raise UserError where `key` is no field of the dataclass `kind` or of `more`, or `value` has unknown keys."""
    require_key(document, key, (*field_names(kind), *more), location, title)
    if (kind, key) in NESTED and isinstance(value, dict):
        for inner in value:
            require_key(document, inner, field_names(NESTED[kind, key]), location, f"{title}.{inner}")


def require_key(document: Document, key: str, known: tuple[str, ...], location: Location, title: str) -> None:
    """Raise UserError where `key` is not one of the known ones. title: what the message calls it."""
    if key not in known:
        raise document.error(location, f"{title}: unknown field; {suggest(key, known)}")


def explain(details: list[ErrorDetails], kind: type) -> tuple[Location, str]:
    """Return where in a section pydantic found a wrong value, and a sentence about it. kind: the section's class."""
    detail = details[0]
    location: Location = tuple(part for part in detail["loc"] if not isinstance(part, str) or part in field_names(kind))
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, FieldError):
        return (location, str(error)) if location else ((error.field,), error.problem)
    if isinstance(error, ValueError):  # of a class that an extension defines
        return location, str(error)
    nested = NESTED.get((kind, str(location[0]))) if location else None
    if nested is not None:
        return _explain_nested(detail, nested, location[:1])
    if detail["type"] == "too_long" or (location == ("guidance_interval",) and detail["type"] == "tuple_type"):
        return location[:1], f"{show_value(detail['input'])} is not a range; write [low, high]"
    choices = _choices(details)
    return location, not_a_choice(detail["input"], choices) if choices else _wrong_type(detail)


def _explain_nested(detail: ErrorDetails, kind: type, location: Location) -> tuple[Location, str]:
    """Explain a wrong value in a field that is a mapping itself."""
    if len(detail["loc"]) == 1:
        value = show_value(detail["input"])
        return location, f"{value} is not a mapping; write for example {{{field_names(kind)[0]}: ...}}"
    inside: ErrorDetails = {**detail, "loc": detail["loc"][1:]}
    return location, f"{inside['loc'][0]}: {explain([inside], kind)[1]}"


def not_a_choice(value: Any, choices: tuple[str, ...]) -> str:
    """Return a sentence on a value that is none of the words that a field accepts."""
    close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{show_value(value)} is not one of {', '.join(choices)}{hint}"


def _wrong_type(detail: ErrorDetails) -> str:
    value = show_value(detail["input"])
    expected = next((text for start, text in EXPECTED.items() if detail["type"].startswith(start)), None)
    if expected is None:
        return f"{value} is not valid ({detail['msg']}); write another value"
    return f"expected {expected}, not {value}"


def _choices(details: list[ErrorDetails]) -> tuple[str, ...]:
    """The words that a field accepts, where it accepts words; some fields accept true and false as well."""
    same = [detail for detail in details if detail["loc"][:1] == details[0]["loc"][:1]]
    literals = [detail for detail in same if detail["type"] == "literal_error"]
    if not literals or isinstance(details[0]["input"], tuple | list):
        return ()
    texts = (detail.get("ctx", {})["expected"].replace(" or ", ", ").split(", ") for detail in literals)
    words = [part.strip("' ") for part in itertools.chain(*texts)]
    switches = ["true", "false"] if any(detail["type"].startswith("bool") for detail in same) else []
    return (*switches, *words)
