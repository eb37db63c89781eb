"""What checks of a cell share: the error, and the check of the resolution of drawn images."""

from __future__ import annotations

from experiments.sweep.diagnostics import show_value
from experiments.sweep.spec import Cell
from experiments.wording import count


class CellError(ValueError):
    """Fields of a cell that do not fit together. field: the dotted name of the one to change."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def refuse(cell: Cell, field: str, message: str) -> CellError:
    """Return an error that begins with the value of the field."""
    return CellError(field, f"{show_value(cell.value(field))} {message}")


def check_resolution(cell: Cell, halvings: int) -> None:
    """Raise CellError where a network that halves images so often cannot draw them at the resolution of sampling."""
    side, multiple = cell.sampling.resolution or 0, 2**halvings
    if side % multiple:
        larger = side - side % multiple + multiple
        raise refuse(
            cell,
            "sampling.resolution",
            f"is not a multiple of {multiple}, as a network that halves images {count(halvings, 'time')} needs; "
            f"use for example {larger}",
        )
