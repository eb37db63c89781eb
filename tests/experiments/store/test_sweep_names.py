"""Names of variants: safe as folders, short, readable, and the same for the same changes."""

import pytest

from experiments.store.sweep_names import LONGEST, VARIANT, includes, override_texts, selection_text, variant_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ({}, "digits"),
        ({"evaluation.images": 100}, "digits@evaluation.images=100"),
        ({"training.lr": 1e-5, "training.kimg": 10.0}, "digits@training.kimg=10+training.lr=1e-05"),
        ({"seeds": (0, 1)}, "digits@seeds=0,1"),
        ({"training.compile": None, "model.attention": True}, "digits@model.attention=true+training.compile=null"),
    ],
)
def test_changes_are_read_in_the_name(overrides: dict[str, object], name: str) -> None:
    assert variant_name("digits", override_texts(overrides)) == name
    assert variant_name("digits", override_texts(dict(reversed(overrides.items())))) == name


@pytest.mark.parametrize(
    "change", ["a/../../b", "images=100 ", "only=nano/*", "x=\n\x1b[31m", "x=1+2", "x=é", f"x={'9' * 300}", "..", "/"]
)
def test_whatever_is_changed_the_name_is_that_of_a_folder(change: str) -> None:
    name = variant_name("digits", [change])
    assert VARIANT.fullmatch(name.removeprefix("digits@")) and len(name) <= len("digits@") + LONGEST
    assert name == variant_name("digits", [change]) != variant_name("digits", [f"{change}0"])


def test_changes_of_a_variant_are_added_to_those_it_has() -> None:
    name = variant_name("digits@evaluation.images=100", [selection_text(["heun", "euler", "heun"])])
    assert name == "digits@evaluation.images=100+only=heun,euler"


def test_a_run_of_some_cells_belongs_to_the_sweep_others_do_not() -> None:
    variant = "digits@evaluation.images=100"
    assert includes("digits", "digits") and includes("digits", "digits@only=heun")
    assert includes(variant, f"{variant}+only=heun")
    for other in (variant, "digits2", "digits2@only=heun"):
        assert not includes("digits", other)
