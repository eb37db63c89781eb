"""Sentences about what is wrong in a sweep file."""

from __future__ import annotations

import difflib
import itertools
import math
from typing import Any

from pydantic_core import ErrorDetails

from edm.config import PRESETS, FieldError, GuideConfig
from experiments.sweep.document import Location
from experiments.sweep.spec import NESTED, field_names


def show_value(value: Any) -> str:
    """A value as a person would write it in YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(show_value(v) for v in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return f"{{{value}}}" if isinstance(value, GuideConfig) else repr(value)


def suggest(word: str, known: tuple[str, ...], show: int = 16) -> str:
    if not known:
        return "there are none: give axes under 'grid:'"
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    choices = f"choose from {', '.join(known)}" if len(known) <= show else ""
    return "; ".join(filter(None, [f"did you mean {close[0]!r}?" if close else "", choices]))


def fitting_presets(resolution: int, whole: int) -> str:
    """What to use instead of a network that halves an image of `resolution` too often."""
    presets = [name for name, preset in PRESETS.items() if resolution % 2 ** len(preset.depths) == 0]
    return f"use {' or '.join(presets)}" if presets else f"the image's side would have to be a multiple of {whole}"


EXPECTED = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}


def explain(details: list[ErrorDetails], kind: type) -> tuple[Location, str]:
    """Where in the section a value is wrong, and one sentence on it."""
    detail = details[0]
    location: Location = tuple(part for part in detail["loc"] if not isinstance(part, str) or part in field_names(kind))
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, FieldError):
        return (location, str(error)) if location else ((error.field,), error.problem)
    value = detail["input"]
    nested = NESTED.get((kind, str(location[0]))) if location else None
    if nested is not None:
        return _explain_nested(detail, nested, location[:1])
    if detail["type"] == "too_long" or (location == ("guidance_interval",) and detail["type"] == "tuple_type"):
        return location[:1], f"{show_value(value)} is not a range; give [low, high]"
    words = _words(details)
    if words:
        close = difflib.get_close_matches(str(value), words, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"use for example {words[0]!r}"
        return location, f"{show_value(value)} is not one of {', '.join(words)}; {hint}"
    expected = next((text for key, text in EXPECTED.items() if detail["type"].startswith(key)), None)
    if expected is None:
        return location, f"{show_value(value)} is not possible ({detail['msg']}); correct it"
    return location, f"{show_value(value)} is not {expected}; give {expected}"


def _explain_nested(detail: ErrorDetails, kind: type, location: Location) -> tuple[Location, str]:
    """The same inside a field that is a mapping itself."""
    if len(detail["loc"]) == 1:
        return (
            location,
            f"{show_value(detail['input'])} is not a mapping; write for example {{{field_names(kind)[0]}: ...}}",
        )
    inside: ErrorDetails = {**detail, "loc": detail["loc"][1:]}
    return location, f"{inside['loc'][0]}: {explain([inside], kind)[1]}"


def _words(details: list[ErrorDetails]) -> tuple[str, ...]:
    """The words that would have been right, where the value may be one; a field may also take true and false."""
    same = [detail for detail in details if detail["loc"][:1] == details[0]["loc"][:1]]
    literals = [detail for detail in same if detail["type"] == "literal_error"]
    if not literals or isinstance(details[0]["input"], tuple | list):
        return ()
    texts = (detail.get("ctx", {})["expected"].replace(" or ", ", ").split(", ") for detail in literals)
    words = [part.strip("' ") for part in itertools.chain(*texts)]
    switches = ["true", "false"] if any(detail["type"].startswith("bool") for detail in same) else []
    return (*switches, *words)
