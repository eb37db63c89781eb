"""Classes of a folder of images by their names."""

from pathlib import Path

import pytest

from edm.config import DataConfig
from experiments.errors import UserError
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource
from experiments.trials.data_records import class_names, class_number, numbered
from experiments.trials.datasets import ensure_prepared
from tests.datafiles import image_tree
from tests.planning import source_of


@pytest.fixture
def birds(tmp_path: Path, store: Store) -> DataSource:
    """Images of three classes."""
    names = [f"{kind}/{i}.png" for kind in ("owl", "cat", "7") for i in range(10)]
    folder = image_tree(tmp_path / "images", *names)
    source = source_of(DataConfig("folder", resolution=8, path=str(folder)))
    ensure_prepared(store, source)
    return source


@pytest.mark.parametrize(("text", "number"), [("cat", 1), ("owl", 2), ("0", 0), ("7", 7), ("-1", -1)])
def test_a_class_is_given_by_its_name_or_its_number(birds: DataSource, store: Store, text: str, number: int) -> None:
    assert class_names(store.result(DatasetRecord, birds.signature)) == ("7", "cat", "owl")
    assert class_number(text, birds, store) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oll", r"--label oll: is not a class \(0: 7, 1: cat, 2: owl\); did you mean 'owl'\?"),
        ("zebra", r"--label zebra: is not a class \(.*\); give one of these, or its number"),
    ],
)
def test_an_unknown_name_is_answered_by_the_names(birds: DataSource, store: Store, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        class_number(text, birds, store)


def test_where_no_names_are_recorded_a_number_is_asked_for(store: Store) -> None:
    with pytest.raises(UserError, match="--label cat: is no number, and no names of classes are recorded; give a cla"):
        class_number("cat", source_of(DataConfig("digits")), store)


def test_of_many_classes_the_first_are_named() -> None:
    assert numbered(tuple("abcdefghijkl")).endswith("9: j, ...") and numbered(("a", "b")) == "0: a, 1: b"
