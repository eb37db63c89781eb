"""A mirror brings its own text up to date, and leaves what a person has written."""

import pytest

from experiments.tracking.own_notes import own_tags


def test_what_is_missing_is_written_and_then_left_alone() -> None:
    found = own_tags({}, {"note": "one"})
    assert found["note"] == "one"
    assert own_tags(found, {"note": "one"}) == {}


def test_an_own_text_is_replaced() -> None:
    found = own_tags({}, {"note": "one"})
    found |= own_tags(found, {"note": "two"})
    assert found["note"] == "two"


@pytest.mark.parametrize("mark", [{}, own_tags({}, {"note": "one"})])
def test_a_persons_text_stays(mark: dict[str, str]) -> None:
    assert own_tags(mark | {"note": "mine"}, {"note": "two"}) == {}


def test_a_kill_between_the_mark_and_the_text_changes_nothing_for_ever() -> None:
    found = own_tags({}, {"note": "one"})
    (mark, written), _ = own_tags(found, {"note": "two"}).items()  # the mark comes first
    assert own_tags(found | {mark: written}, {"note": "three"})["note"] == "three"


def test_a_text_that_a_person_emptied_is_written_again() -> None:
    found = own_tags({}, {"note": "one"}) | {"note": ""}
    assert own_tags(found, {"note": "one"})["note"] == "one"
