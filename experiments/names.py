"""From what a person calls a piece of work to what it is: cell names of past sweeps, signatures, how either begins."""

from __future__ import annotations

import difflib
import json
from functools import cache
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from experiments.errors import UserError
from experiments.planning import Evaluation, Piece, Plan, Training
from experiments.store import CONFIG, KIND_OF_PIECE, Store, read_json, write_json

SHORTEST_SIGNATURE = 4


def remember(plan: Plan, store: Store) -> None:
    """Write down what the cells and trainings of a sweep are called, for commands that know the store alone."""
    cells = {plan.names[name]: {"training": name} for name in plan.trainings}
    for planned in plan.cells:
        pieces = {"training": planned.training.signature, "evaluation": planned.evaluation.signature}
        cells[plan.cell_name(planned)] = pieces
    folder = store.root / "sweeps"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{plan.sweep.name}.json", {"cells": cells})


def find(text: str, store: Store) -> Piece:
    """The piece of work that `text` names: a cell or how its name begins (or SWEEP:CELL), or a signature.

    A beginning that several cells of one training share names that training. Raises UserError where nothing or
    too much is named.
    """
    cells = _cells(text, store)
    exact = [cell for name, cell in cells if name == text.rpartition(":")[2]]
    found = exact or [cell for _, cell in cells]
    for kind in ("evaluation", "training"):
        signatures = {cell.get(kind) for cell in found}
        if len(signatures) == 1 and None not in signatures:
            return _recall(kind, found[0][kind], text, store)
    if found:
        names = ", ".join(name for name, _ in cells[:6])
        raise UserError(
            f"{text}: begins the names of {len(found)} cells ({names}, ...); give more of one, or SWEEP:CELL"
        )
    return _by_signature(text, store)


def _cells(text: str, store: Store) -> list[tuple[str, dict[str, str]]]:
    """All cells of past sweeps whose name begins with `text`."""
    sweep, _, start = text.rpartition(":")
    paths = sorted((store.root / "sweeps").glob("*.json"))
    known = [(path.stem, (read_json(path) or {"cells": {}})["cells"]) for path in paths]
    return [
        (name, cell)
        for own, cells in known
        for name, cell in cells.items()
        if name.startswith(start) and sweep in ("", own)
    ]


def _by_signature(text: str, store: Store) -> Piece:
    found: list[tuple[str, str]] = []
    if len(text) >= SHORTEST_SIGNATURE and text.isalnum():
        for kind, folder in KIND_OF_PIECE.items():
            found += [(kind, path.parent.name) for path in sorted(store.root.glob(f"{folder}/{text}*/{CONFIG}"))]
    if len(found) == 1:
        return _recall(*found[0], text, store)
    if found:
        raise UserError(f"{text}: begins {len(found)} signatures; give more of one")
    close = difflib.get_close_matches(text, [name for name, _ in _cells("", store)], n=1, cutoff=0.5)
    raise UserError(
        f"{text}: is no cell of a sweep that was run on {store.root}, and no signature in it; "
        + (f"did you mean {close[0]!r}? " if close else "")
        + "'edm-sweep plan FILE' shows what its cells are called, --store chooses another store"
    )


def _recall(kind: str, signature: str, text: str, store: Store) -> Piece:
    """The piece of work as it was planned."""
    path = store.folder(KIND_OF_PIECE[kind], signature) / CONFIG
    try:
        content = yaml.safe_load(path.read_text())
        return _adapter(Training if kind == "training" else Evaluation).validate_json(json.dumps(content))
    except FileNotFoundError:
        raise UserError(f"{text}: its {kind} has not begun; run its sweep first") from None
    except (ValidationError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); run its sweep again") from None


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
