"""Two cells side by side: what they were asked to be, where their numbers come from, and the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.differences import Difference, differences, fields_of, show
from experiments.errors import UserError
from experiments.explain import piece_of
from experiments.names import Named, find_one
from experiments.planning import Evaluation
from experiments.scores import ERRORS, METRICS
from experiments.store import KIND_OF_PIECE, Store, StoreKind

NORMAL_95 = 1.959964  # of a two-sided interval
LOSSES = ("loss", "val_loss")
UNTOLD = ("tags", "packages")  # of a provenance, as they are told one by one
SHORT = 40  # characters of a value


@dataclass(frozen=True)
class Number:
    """A metric of both, the standard errors where they are known, and that of the difference, paired by image."""

    metric: str
    here: float | None
    there: float | None
    here_error: float | None = None
    there_error: float | None = None
    error: float | None = None

    @property
    def difference(self) -> float | None:
        """Here less there."""
        return None if self.here is None or self.there is None else self.here - self.there

    @property
    def told_apart(self) -> bool | None:
        """Whether the 95 % interval of the difference leaves 0 out; None where that is not known."""
        if self.difference is None or self.error is None:
            return None
        return abs(self.difference) > NORMAL_95 * self.error


@dataclass(frozen=True)
class Comparison:
    """Two cells: fields in which they differ, provenance in which they differ, and all numbers of either."""

    here: Named
    there: Named
    fields: tuple[Difference, ...]
    provenance: tuple[Difference, ...]
    numbers: tuple[Number, ...]


def compare(a: str, b: str, store: Store) -> Comparison:
    """The cells, or trainings, that two texts stand for, side by side; raises UserError where they stand for none."""
    here, there = find_one(a, store), find_one(b, store)
    if (here.evaluation is None) != (there.evaluation is None):
        whole = a if here.evaluation is None else b
        raise UserError(f"{whole}: is a training and the other a cell; give two of a kind, more of a name says which")
    pieces = piece_of(here, a, store), piece_of(there, b, store)
    kind: StoreKind = KIND_OF_PIECE[pieces[0].kind]
    results = [store.result(kind, piece.signature) or {} for piece in pieces]
    trained = [
        store.result("trainings", (piece.training if isinstance(piece, Evaluation) else piece).signature) or {}
        for piece in pieces
    ]
    origins = [_origin(result or other) for result, other in zip(results, trained, strict=True)]
    return Comparison(
        here,
        there,
        differences(fields_of(pieces[0]), fields_of(pieces[1])),
        differences(origins[0], origins[1]),
        tuple(_numbers(here, there, results, trained, store)),
    )


def _origin(result: dict[str, Any]) -> dict[str, Any]:
    """A result's provenance, flat."""
    known = result.get("provenance", {})
    flat = {name: value for name, value in known.items() if name not in UNTOLD}
    flat |= {f"package {name}": value for name, value in known.get("packages", {}).items()}
    flat |= {f"tag {name}": value for name, value in known.get("tags", {}).items()}
    return {**flat, "device": result.get("device"), "threads": result.get("threads"), "seconds": result.get("seconds")}


def _numbers(
    here: Named, there: Named, results: list[dict[str, Any]], trained: list[dict[str, Any]], store: Store
) -> Iterator[Number]:
    for name in LOSSES:
        if any(result.get(name) is not None for result in trained):
            yield Number(name, trained[0].get(name), trained[1].get(name))
    metrics = [result.get("metrics", {}) for result in results]
    errors: dict[str, float] = {}
    if here.evaluation is not None and there.evaluation is not None and all(metrics):
        from experiments.pairing import influence_errors  # numpy

        errors = influence_errors(store, here.evaluation, there.evaluation)
    for name in METRICS:
        if any(name in own for own in metrics):
            a, b = ((own.get(name), own.get(f"{name}{ERRORS[0]}")) for own in metrics)
            yield Number(name, a[0], b[0], a[1], b[1], errors.get(name))


# for people and scripts ---------------------------------------------------------------------------


def comparison_view(found: Comparison) -> RenderableType:
    """Two cells for people."""
    parts: list[RenderableType] = []
    for title, rows in (("configuration", found.fields), ("provenance", found.provenance)):
        if rows:
            parts += [_table(title, found, ((row.field, _short(row.here), _short(row.there)) for row in rows)), Text()]
        elif title == "configuration" or found.numbers:
            parts += [Text(f"{title}: the same"), Text()]
    parts.append(_numbers_table(found) if found.numbers else Text("numbers: none yet, neither is done"))
    return Group(*parts)


def _table(title: str, found: Comparison, rows: Iterator[tuple[str, str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in (title, found.here.name, found.there.name):
        table.add_column(Text(header), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _numbers_table(found: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("metric", found.here.name, found.there.name, "difference", ""):
        table.add_column(Text(header), justify="left" if header in ("metric", "") else "right", overflow="fold")
    marks = {True: "", False: "≈ not told apart", None: ""}
    for number in found.numbers:
        table.add_row(
            number.metric,
            _with_error(number.here, number.here_error),
            _with_error(number.there, number.there_error),
            _with_error(number.difference, number.error, sign=True),
            marks[number.told_apart],
        )
    return table


def _with_error(value: float | None, error: float | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    shown = f"{value:{'+' if sign else ''}.4f}"
    return shown if error is None or math.isnan(error) else f"{shown} ± {NORMAL_95 * error:.4f}"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else show(value)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def comparison_json(found: Comparison) -> dict[str, Any]:
    """Two cells for a script."""
    numbers = [
        {**asdict(number), "difference": number.difference, "told_apart": number.told_apart} for number in found.numbers
    ]
    return {**asdict(found), "numbers": numbers}
