"""Sentences about what is wrong in a sweep file."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any, get_type_hints

from edm.config import FieldError, GuideConfig
from experiments.sweep.document import Document, Location, dotted
from experiments.sweep.remedies import (
    SEED_KEYS,
    as_list,
    field_and_value,
    for_number,
    for_number_as_text,
    for_seed,
    for_stray_number,
    for_word_of_others,
    is_stray_number,
)
from experiments.sweep.spec import NESTED, SECTIONS, SETTINGS, TOP_LEVEL, attribute, field_names
from experiments.wording import did_you_mean, one_of, shortened

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SWITCHES = ("true", "false")
EXPECTED = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}
MOST_ENTRIES = 12  # of a list that a message shows
MOST_CHOICES = 16  # to name all of them beside the closest one


def show_value(value: Any) -> str:
    """Return a value as a person would write it in YAML; a long one is cut."""
    if isinstance(value, tuple | list):
        more = ", ..." if len(value) > MOST_ENTRIES else ""
        return f"[{', '.join(map(show_value, value[:MOST_ENTRIES]))}{more}]"
    if isinstance(value, dict):
        more = ", ..." if len(value) > MOST_ENTRIES else ""
        shown = [f"{shortened(str(key))}: {show_value(value[key])}" for key in itertools.islice(value, MOST_ENTRIES)]
        return f"{{{', '.join(shown)}{more}}}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    if isinstance(value, GuideConfig):
        return f"{{{value}}}"
    return repr(shortened(value)) if isinstance(value, str) else shortened(repr(value))


def suggest(word: str, choices: tuple[str, ...]) -> str:
    """Return what to write instead of a wrong word: the closest choice, or all of them; both where they are few."""
    hint = did_you_mean(word, choices)
    if hint and len(choices) > MOST_CHOICES:
        return hint
    return f"choose from {', '.join(choices)}{f' ({hint})' if hint else ''}"


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
    if key in known:
        return
    field = field_before(document, location) if is_stray_number(key) else None
    if field is not None:
        advice = for_stray_number(str(field[-1]), document.written[field], key)
        raise document.error(location, f"{dotted(field)}: {advice}")
    raise document.error(location, f"{shortened(title)}: unknown field; {_for_unknown(document, key, known, location)}")


def _for_unknown(document: Document, key: str, known: tuple[str, ...], location: Location) -> str:
    """What to write instead of a key that is not one of the known ones."""
    if joined := field_and_value(key, known):
        return f"write '{joined}'"
    if key in SEED_KEYS:
        return for_seed(document.written.get(location, "0, 1"))
    elsewhere = _place_of(key, document) if known == TOP_LEVEL else None
    return elsewhere or for_word_of_others(key, known) or suggest(key, known)


def field_before(document: Document, location: Location) -> Location | None:
    """Return where the plain value before a key without a value is; None where there is none."""
    *around, key = location
    mapping = document.data
    for part in around:
        mapping = mapping[part]
    keys = list(mapping)
    before = (*around, keys[max(keys.index(key) - 1, 0)]) if key in keys else location
    return before if before != location and document.written.get(before) and mapping[key] is None else None


def _place_of(key: str, document: Document) -> str | None:
    """Where a key belongs that is written at the top level and is a field of a section."""
    section, dot, name = key.partition(".")
    places = [
        owner
        for owner, kind in {**SECTIONS, **SETTINGS}.items()
        if (name if dot else key) in field_names(kind) and (not dot or owner == section)
    ]
    if not places or key in TOP_LEVEL:
        return None
    field = name if dot else key
    value = document.written.get((key,), "...")
    axis = f", or as an axis under 'grid: {{{places[0]}.{field}: [...]}}'" if places[0] in SECTIONS else ""
    return f"write it in its section, '{places[0]}: {{{field}: {value}}}'{axis}"


def not_a_mapping(value: Any, known: tuple[str, ...], example: str) -> str:
    """Return what is wrong with a value in the place of a mapping that may have the known fields."""
    joined = field_and_value(value, known) if isinstance(value, str) else None
    return f"{show_value(value)} is not a mapping; write " + (f"'{joined}'" if joined else f"for example '{example}'")


def not_a_list(value: Any, written: str | None) -> str:
    """Return what is wrong with a value in the place of a list of values. written: as it is in the file."""
    return f"{show_value(value)} is not a list of values; write {as_list(written or show_value(value))}"


def in_place_of_one(axis: str, values: tuple[Any, ...]) -> str:
    """Return what is wrong with a list in the place of one value: most likely an axis was meant."""
    listed = _bare(values)
    return f"{listed} is a list of values; write one of them, or compare them by '{axis}: {listed}' under 'grid:'"


def _bare(value: Any) -> str:
    """A value as show_value returns it, but without quotes that YAML does not need."""
    return re.sub(r"'([A-Za-z_][\w.-]*)'", r"\1", show_value(value))


def takes_lists(kind: type, key: str) -> bool:
    """Return whether a field of a dataclass may have a list as its value."""
    hints = get_type_hints(kind)
    return "tuple" in str(hints.get(attribute(kind, key)))


def explain(details: list[ErrorDetails], kind: type) -> tuple[Location, str]:
    """Return where in a section pydantic found a wrong value, and a sentence about it. kind: the section's class."""
    detail = _deepest(details)
    location: Location = tuple(
        part for part in _keys(detail["loc"], kind) if not isinstance(part, str) or part in field_names(kind)
    )
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
    return location, not_a_choice(detail["input"], choices, _kind(details)) if choices else _wrong_type(detail)


def is_of_class(details: list[ErrorDetails]) -> bool:
    """Say whether a section's class refuses its values, which have the right types."""
    return isinstance(_deepest(details).get("ctx", {}).get("error"), FieldError)


def _deepest(details: list[ErrorDetails]) -> ErrorDetails:
    """The problem to tell of: the first, or where that is with a list as a whole, one with an entry of the list."""
    first = details[0]
    if not isinstance(first["input"], tuple | list):
        return first
    return next((d for d in details if d["loc"][:1] == first["loc"][:1] and isinstance(d["loc"][-1], int)), first)


def _keys(location: Location, kind: type) -> Location:
    """Return where something is, by what sweep files call fields."""
    called = {attribute(kind, key): key for key in field_names(kind)}
    return tuple(called.get(part, part) if isinstance(part, str) else part for part in location)


def _explain_nested(detail: ErrorDetails, kind: type, location: Location) -> tuple[Location, str]:
    """Explain a wrong value in a field that is a mapping itself."""
    if len(detail["loc"]) == 1:
        value = show_value(detail["input"])
        return location, f"{value} is not a mapping; write for example {{{field_names(kind)[0]}: ...}}"
    inside: ErrorDetails = {**detail, "loc": detail["loc"][1:]}
    return location, f"{_keys(inside['loc'], kind)[0]}: {explain([inside], kind)[1]}"


def not_a_choice(value: Any, choices: tuple[str, ...], kind: str | None = None) -> str:
    """Return a sentence on a value that is none of the words that a field accepts. kind: what else it accepts."""
    words = one_of(choices) if kind else ", ".join(choices)
    problem = f"{show_value(value)} is {f'neither {kind} nor' if kind else 'not one of'} {words}"
    if value in SWITCHES and value in choices:
        return f"{problem}; write {value} without quotes"
    hint = did_you_mean(str(value), choices, lambda choice: choice if choice in SWITCHES else repr(choice))
    return f"{problem}; {hint or ('write one of them' if kind else 'write one of these')}"


def _wrong_type(detail: ErrorDetails) -> str:
    value = detail["input"]
    start = next((start for start in EXPECTED if detail["type"].startswith(start)), None)
    if detail["type"] == "literal_error":
        return not_a_choice(value, _words(detail))
    if detail["type"] == "dict_type":
        return f"{show_value(value)} is not a mapping; write for example {{model.attention: true}}"
    if start is None:
        return f"{show_value(value)} is not valid ({detail['msg']}); write another value"
    advice = _advice(start, value)
    return f"expected {EXPECTED[start]}, not {show_value(value)}" + (f"; {advice}" if advice else "")


def _advice(expected: str, value: Any) -> str | None:
    """What to write instead of a value of another type, where that can be told."""
    if expected in ("int", "float"):
        return for_number(value, whole=expected == "int")
    if expected == "bool":
        return f"write {value} without quotes" if value in SWITCHES else None
    if expected == "tuple":
        return f"write {as_list(str(value))}" if isinstance(value, str | int | float) else None
    return for_number_as_text(value)


def _kind(details: list[ErrorDetails]) -> str | None:
    """What a field accepts besides words, such as "a number"; None if it accepts words alone."""
    same = [detail for detail in details if detail["loc"][:1] == details[0]["loc"][:1]]
    kinds = (kind for kind in EXPECTED if kind != "bool" for detail in same if detail["type"].startswith(kind))
    return next((EXPECTED[kind] for kind in kinds), None)


def _choices(details: list[ErrorDetails]) -> tuple[str, ...]:
    """The words that a field accepts, where it accepts words; some fields accept true and false as well."""
    same = [detail for detail in details if detail["loc"][:1] == details[0]["loc"][:1]]
    literals = [detail for detail in same if detail["type"] == "literal_error"]
    if not literals or isinstance(details[0]["input"], tuple | list):
        return ()
    words = itertools.chain(*map(_words, literals))
    switches = SWITCHES if any(detail["type"].startswith("bool") for detail in same) else ()
    return (*switches, *words)


def _words(detail: ErrorDetails) -> tuple[str, ...]:
    """The words that a field accepts, as pydantic lists them."""
    return tuple(part.strip("' ") for part in detail.get("ctx", {})["expected"].replace(" or ", ", ").split(", "))
