"""Validators of configurations and tasks, as pydantic would make them for these classes, without its import.

pydantic itself takes a fifth of the time of a plan. All that it would add is the description of a dataclass that its
core wants, which does the validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic_core import SchemaValidator

PLAIN: dict[Any, str] = {bool: "bool", int: "int", float: "float", str: "str", Any: "any"}
Schema = dict[str, Any]


@cache
def validator(kind: type) -> SchemaValidator:
    """Return what makes a dataclass of ours from JSON; its errors are pydantic's ValidationError."""
    return SchemaValidator(whole_schema(kind))  # pyright: ignore[reportArgumentType]


def whole_schema(kind: type) -> Schema:
    """Return pydantic's description of a dataclass with those of all dataclasses in it, which may be in themselves."""
    definitions: dict[type, Schema] = {}
    left = [kind]
    while left:
        each = left.pop()
        if each not in definitions:
            definitions[each] = _of_dataclass(each)
            left += _dataclasses_in(_hints(each).values())
    return {"type": "definitions", "schema": schema_of(kind), "definitions": list(definitions.values())}


def _dataclasses_in(hints: Iterable[Any]) -> Iterator[type]:
    for hint in hints:
        if isinstance(hint, type) and is_dataclass(hint):
            yield hint
        yield from _dataclasses_in(get_args(hint))


def schema_of(hint: Any) -> Schema:
    """Return pydantic's description of a type; raises TypeError for one that no configuration has.

    A dataclass is referred to: `whole_schema` has its fields.
    """
    if hint in PLAIN:
        return {"type": PLAIN[hint]}
    if isinstance(hint, type) and is_dataclass(hint):
        return {"type": "definition-ref", "schema_ref": _reference(hint)}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"type": "literal", "expected": list(arguments)}
    if origin in (Union, UnionType):
        return _of_union(arguments)
    if origin is tuple:
        variadic: Schema = {"variadic_item_index": 0} if arguments[1:] == (...,) else {}
        items = [schema_of(item) for item in arguments if item is not ...]
        return {"type": "tuple", "items_schema": items, **variadic}
    if origin in (Mapping, dict):
        keys, values = map(schema_of, arguments)
        strictness: Schema = {"strict": False} if origin is Mapping else {}
        return {"type": "dict", "keys_schema": keys, "values_schema": values, **strictness}
    raise TypeError(f"{hint} is no type of a configuration's field; add it to schema_of")


def _of_union(arguments: tuple[Any, ...]) -> Schema:
    choices = [schema_of(each) for each in arguments if each is not NoneType]
    one = choices[0] if len(choices) == 1 else {"type": "union", "choices": choices}
    return {"type": "nullable", "schema": one} if NoneType in arguments else one


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _reference(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


@cache
def _of_dataclass(kind: type) -> Schema:
    hints = _hints(kind)
    has_post_init = hasattr(kind, "__post_init__")
    arguments: Schema = {
        "type": "dataclass-args",
        "dataclass_name": kind.__name__,
        "fields": [_of_field(field, hints[field.name]) for field in fields(kind)],
        "computed_fields": [],
        "collect_init_only": has_post_init,
    }
    return {
        "type": "dataclass",
        "cls": kind,
        "ref": _reference(kind),
        "config": {"title": kind.__name__},
        "fields": [field.name for field in fields(kind)],
        "schema": arguments,
        "post_init": has_post_init,
        "slots": hasattr(kind, "__slots__"),
        "frozen": False,
    }


def _of_field(field: Field[Any], hint: Any) -> Schema:
    schema = schema_of(hint)
    if field.default is not MISSING:
        schema = {"type": "default", "schema": schema, "default": field.default}
    elif field.default_factory is not MISSING:
        schema = {"type": "default", "schema": schema, "default_factory": field.default_factory}
    return {
        "type": "dataclass-field",
        "name": field.name,
        "schema": schema,
        "init": field.init,
        "kw_only": field.kw_only,
    }
