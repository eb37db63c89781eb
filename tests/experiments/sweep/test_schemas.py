"""The schemas of configurations and tasks are those that pydantic would make."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from edm.config import Pretrained
from experiments.sweep.schemas import schema_of, whole_schema
from experiments.sweep.spec import SECTIONS, SETTINGS
from experiments.sweep.tasks import DataSource, Evaluation, Training

UNUSED = ("ref", "metadata", "serialization", "default_factory_takes_data")  # by validation


def plain(schema: Any, shared: dict[str, Any], around: tuple[type, ...] = ()) -> Any:
    """A schema with what it refers to in place, without what validation does not use.

    around: the classes that it is in; one of them, within itself, stands for its schema.
    """
    if isinstance(schema, list):
        return [plain(each, shared, around) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "definitions":
        return plain(schema["schema"], {each["ref"]: each for each in schema["definitions"]})
    if schema.get("type") == "definition-ref":
        return plain(shared[schema["schema_ref"]], shared, around)
    if schema.get("cls") in around:
        return schema["cls"]
    around = (*around, schema["cls"]) if "cls" in schema else around
    return {key: plain(value, shared, around) for key, value in schema.items() if key not in UNUSED}


@pytest.mark.parametrize("kind", [*SECTIONS.values(), *SETTINGS.values(), Training, Evaluation, DataSource, Pretrained])
def test_a_schema_is_the_one_that_pydantic_makes(kind: type) -> None:
    assert plain(whole_schema(kind), {}) == plain(TypeAdapter(kind).core_schema, {})


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(TypeError, match="no type of a configuration's field"):
        schema_of(set[int])
