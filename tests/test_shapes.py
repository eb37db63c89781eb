"""Checks of shapes find every wrong call and result, and take no time for those that were found right."""

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from edm.networks.attention import split_heads
from tests.shapes import check_once, kind

Vector, Matrix, Sized = Float[Tensor, " n"], Float[Tensor, "b c"], Float[Tensor, " {size}"]


def checked(function):
    return check_once(function, typechecker=beartype)


@checked
def halved(x: Matrix, halves: list[int] | None = None) -> Matrix:
    if halves is not None:
        halves.append(1)
    return x[:, :1] if x.sum() < 0 else x / 2


def test_functions_of_edm_are_checked() -> None:
    with pytest.raises(TypeCheckError, match="split_heads"):
        split_heads(torch.zeros(2, 3), 1)


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64), np.zeros((2, 3)), None])
def test_a_wrong_argument_is_found_after_right_ones(wrong) -> None:
    halved(torch.ones(2, 3))
    halved(x=torch.ones(2, 3))
    for _ in range(2):
        with pytest.raises(TypeCheckError, match="halved"):
            halved(wrong)


def test_a_result_that_is_wrong_only_sometimes_is_found() -> None:
    """The function runs once all the same."""
    counted: list[int] = []
    for _ in range(2):
        assert halved(torch.ones(4, 5), []).shape == (4, 5)
        with pytest.raises(TypeCheckError, match="return value"):
            halved(-torch.ones(4, 5), counted)
    assert len(counted) == 2


def test_sizes_given_as_numbers_are_checked() -> None:
    @checked
    def padded(x: Vector, size: int) -> Sized:
        return torch.zeros(4)

    padded(torch.zeros(2), 4)
    with pytest.raises(TypeCheckError, match="padded"):
        padded(torch.zeros(2), 5)


def test_the_same_kinds_are_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The type checker runs for arguments, and again for arguments and result."""
    checks: list[str] = []

    def counting(function):
        def looked_at(*args, **kwargs):
            checks.append(function.__name__)
            return beartype(function)(*args, **kwargs)

        return looked_at

    @lambda function: check_once(function, typechecker=counting)
    def doubled(x: Vector) -> Vector:
        return 2 * x

    doubled(torch.zeros(3))
    first = len(checks)
    assert first > 0
    for _ in range(5):
        doubled(torch.ones(3))
    assert len(checks) == first
    doubled(torch.ones(4))
    assert len(checks) == 2 * first


def test_kinds_tell_what_annotations_tell() -> None:
    different = [
        *(None, 0, 1, True, 1.0, "a", "b", (), (1,), (1.0,), [1], [1.0], {"a": 1}, {"a": 1.0}, {1: 1}),
        *(torch.zeros(2), torch.zeros(3), torch.zeros(2, dtype=torch.int64), np.zeros(2), np.zeros(2, np.int8)),
        *([torch.zeros(2)], [torch.zeros(3)], {"a": torch.zeros(2)}, torch.nn.Parameter(torch.zeros(2))),
    ]
    assert len({kind(value) for value in different}) == len(different)
    assert kind(torch.zeros(2)) == kind(torch.ones(2))
