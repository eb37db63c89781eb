"""The functions at which the fault matrix stops processes are there, which the matrix itself shows once in a while."""

import pkgutil

import pytest

from tests.faults.cases import PHASES, WRITES
from tests.faults.harness import Wire

LAID = [*WRITES.values(), *(wire for wires in PHASES.values() for wire in wires)]


@pytest.mark.parametrize("wire", LAID, ids=lambda wire: f"{wire.name} {wire.function}")
def test_a_wire_is_laid_to_a_function_that_is_there(wire: Wire) -> None:
    assert callable(pkgutil.resolve_name(f"{wire.module}:{wire.function}"))
