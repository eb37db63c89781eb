"""Exceptions become failures of the right kind, with one line of text."""

import errno
from pathlib import Path

import pytest
import torch

from edm.generate import NotFiniteError
from edm.parallel import ProcessLostError
from experiments.errors import UserError
from experiments.store.damage import DamagedFile
from experiments.store.failures import FailureKind
from experiments.trials.failures import failure_of
from experiments.trials.training.checkpoints import DivergedError


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (UserError("training.lr: is too large"), "input", "training.lr: is too large"),
        (DivergedError("the loss is NaN"), "diverged", "the loss is NaN"),
        (NotFiniteError("image 0 is NaN"), "diverged", "image 0 is NaN"),
        (DamagedFile("x: is damaged"), "damaged", "x: is damaged"),
        (ProcessLostError("1 was killed"), "lost", "ProcessLostError: 1 was killed"),
        (OSError(errno.ENOSPC, "no room"), "disk", f"OSError: [Errno {errno.ENOSPC}] no room"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory", "OutOfMemoryError: CUDA out of memory"),
        (MemoryError("too much"), "memory", "MemoryError: too much"),
        (RuntimeError("CUDA error: an illegal\n access"), "device", "RuntimeError: CUDA error: an illegal access"),
        (KeyError("x"), "unknown", "KeyError: 'x'"),
    ],
)
def test_what_is_raised_is_classified_and_said_in_a_line(error: Exception, kind: FailureKind, message: str) -> None:
    failure = failure_of(error, Path("/store/log.txt"))
    assert (failure.kind, failure.message, failure.log) == (kind, message, "/store/log.txt")


def test_a_full_disk_behind_another_error_is_a_full_disk() -> None:
    error = RuntimeError("cannot save")
    error.__cause__ = OSError(errno.EDQUOT, "quota")
    failure = failure_of(error, Path("log.txt"), "/store/x")
    assert failure.kind == "disk" and failure.message == "/store/x: RuntimeError: cannot save"


def raised(value: int) -> Exception:
    try:
        return ValueError(1 // value)
    except ZeroDivisionError as error:
        return error


def test_the_same_mistake_has_the_same_place() -> None:
    places = [failure_of(raised(0), Path("log.txt")).place for _ in range(2)]
    assert places[0] == places[1] != failure_of(KeyError("x"), Path("log.txt")).place
