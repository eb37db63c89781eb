"""What a function returns is remembered by the identity of its arguments."""

import pytest

from experiments.sweep import by_identity as module
from experiments.sweep.by_identity import by_identity


def test_the_same_arguments_are_worked_out_once_and_equal_ones_apart() -> None:
    seen: list[object] = []

    @by_identity
    def shown(value: object) -> str:
        seen.append(value)
        return repr(value)

    one, equal = (1, 2), (1.0, 2.0)
    assert [shown(one), shown(equal), shown(one)] == ["(1, 2)", "(1.0, 2.0)", "(1, 2)"]
    assert len(seen) == 2


def test_arguments_are_kept_so_that_no_other_gets_their_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    first = by_identity(lambda values: values[0])
    assert [first([number]) for number in range(100)] == list(range(100))
    monkeypatch.setattr(module, "MOST_ENTRIES", 3)
    assert [first([number]) for number in range(100)] == list(range(100))
