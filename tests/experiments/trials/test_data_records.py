"""Classes of a folder of images by their names."""

from pathlib import Path

import pytest

from edm.config import DataConfig
from edm.data.catalogue import CATALOGUE
from edm.data.class_names import CLASS_NAMES
from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource
from experiments.trials.data_records import class_names, class_number, label_option, numbered, numbered_class
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


@pytest.mark.parametrize(
    ("text", "number"),
    [("cat", 1), ("owl", 2), ("0", 0), ("7", 0), ("5", 5), ("-1", -1), ("name=owl", 2), ("name=7", 0), ("number=2", 2)],
)
def test_a_class_is_given_by_its_name_or_its_number(birds: DataSource, store: Store, text: str, number: int) -> None:
    assert class_names(birds, store) == ("7", "cat", "owl")
    assert class_number(text, birds, store) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oll", r"--label oll: is not a class \(0: 7, 1: cat, 2: owl\); did you mean 'owl'\?"),
        ("name=oll", r"--label name=oll: is not a class \(0: 7, 1: cat, 2: owl\); did you mean 'owl'\?"),
        ("number=owl", r"--label number=owl: is not a class"),
        ("zebra", r"--label zebra: is not a class \(.*\); give one of these, or its number"),
    ],
)
def test_an_unknown_name_is_answered_by_the_names(birds: DataSource, store: Store, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        class_number(text, birds, store)


@pytest.fixture
def numbers(tmp_path: Path, store: Store) -> DataSource:
    """Images of classes called 0, 1, 10 and 2, which sort in this order."""
    folder = image_tree(tmp_path / "numbers", *(f"{kind}/{i}.png" for kind in (0, 1, 2, 10) for i in range(10)))
    source = source_of(DataConfig("folder", resolution=8, path=str(folder)))
    ensure_prepared(store, source)
    return source


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("10", 2), ("3", 3), ("name=2", 3), ("number=2", 2), ("name=10", 2)]
)
def test_a_class_called_by_a_number_is_found(numbers: DataSource, store: Store, text: str, number: int) -> None:
    assert class_number(text, numbers, store) == number


def test_a_number_of_one_class_and_name_of_another_is_refused(numbers: DataSource, store: Store) -> None:
    expected = (
        r"--label 2: is the name of one class \(3: 2\) and the number of another \(2: 10\); give name=2 or number=2"
    )
    with pytest.raises(UserError, match=expected):
        class_number("2", numbers, store)


def test_what_label_takes_is_read_back_as_the_number(numbers: DataSource, birds: DataSource, store: Store) -> None:
    for source in (numbers, birds):
        names = class_names(source, store)
        for number in range(len(names)):
            assert class_number(label_option(number, names), source, store) == number


def test_classes_of_published_data_sets_have_names(store: Store) -> None:
    cifar, fashion = (source_of(DataConfig(name)) for name in ("cifar10", "fashion_mnist"))
    assert class_number("cat", cifar, store) == 3 and class_number("Sneaker", fashion, store) == 7
    for name, names in CLASS_NAMES.items():
        assert len(names) == CATALOGUE[name].num_classes


def test_a_class_is_shown_by_its_number_and_its_name() -> None:
    assert [numbered_class(i, ("0", "cat")) for i in range(3)] == ["0", "1: cat", "2"]


def test_where_no_names_are_recorded_a_number_is_asked_for(store: Store) -> None:
    with pytest.raises(UserError, match="--label cat: is no number, and no names of classes are recorded; give a cla"):
        class_number("cat", source_of(DataConfig("digits")), store)


def test_of_many_classes_the_first_are_named() -> None:
    assert numbered(tuple("abcdefghijkl")).endswith("9: j, ...") and numbered(("a", "b")) == "0: a, 1: b"


def test_control_characters_in_names_of_classes_are_written_out() -> None:
    assert numbered(("a\nb", "\x1b[31mred")) == "0: a\\nb, 1: \\x1b[31mred"
    assert numbered_class(0, ("a\nb",)) == "0: a\\nb"
