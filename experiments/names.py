"""From what a person calls a piece of work to what it is: cell names of past sweeps, signatures, how either begins."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from experiments.errors import UserError
from experiments.planning import Evaluation, Piece, Plan, Training, plan_sweep
from experiments.register import named_work, remembered
from experiments.spec import load_sweep
from experiments.store import CONFIG, KIND_OF_PIECE, Store

SHORTEST_SIGNATURE = 4
SHOWN = 6  # names, where there are too many
SWEEP_FILES = (".yaml", ".yml")


@dataclass(frozen=True)
class Named:
    """A cell of a sweep, or, without an evaluation, one of its trainings."""

    sweep: str
    name: str
    training: str
    evaluation: str | None = None

    @property
    def signature(self) -> str:
        """Of its own piece of work."""
        return self.evaluation or self.training


def matching(text: str, names: Iterable[str]) -> list[str]:
    """The names that `text` stands for: one by itself, or all that some of its parts single out.

    The first of these that any name meets: it is the name; its parts, which may hold * and ?, are among the name's, in
    order; the name begins with it; the name's parts begin with its own.
    """
    known, wanted = list(names), text.split("/")
    tests = (
        lambda name: name == text,
        lambda name: _in_order(wanted, name.split("/"), fnmatchcase),
        lambda name: name.startswith(text),
        lambda name: _in_order(wanted, name.split("/"), str.startswith),
    )
    return next((found for test in tests if (found := [name for name in known if test(name)])), [])


def _in_order(wanted: list[str], parts: list[str], agrees: Any) -> bool:
    """Whether all that is wanted is met by some of the parts, in order."""
    left = iter(parts)
    return all(any(agrees(part, own) for part in left) for own in wanted)


def work_of(plan: Plan) -> Iterator[Named]:
    """The cells and trainings of a plan by name."""
    for planned in plan.cells:
        pieces = planned.training.signature, planned.evaluation.signature
        yield Named(plan.sweep.name, plan.cell_name(planned), *pieces)
    for name in plan.trainings:
        yield Named(plan.sweep.name, plan.names[name], name)


def named(text: str, store: Store) -> list[Named]:
    """All that `text` stands for in the sweeps that were run on a store; SWEEP:CELL says in which.

    SWEEP may be a file as well, of a sweep that was never run.
    """
    sweep, colon, cell = text.rpartition(":")
    if colon and Path(sweep).suffix in SWEEP_FILES:
        known = list(work_of(plan_sweep(load_sweep(sweep))))
    else:
        sweeps = remembered(store) if not colon else [sweep]
        known = [
            Named(own, name, **signatures) for own in sweeps for name, signatures in named_work(own, store).items()
        ]
    names = set(matching(cell, dict.fromkeys(one.name for one in known)))
    return [one for one in known if one.name in names]


def find_one(text: str, store: Store) -> Named:
    """The one cell or training that `text` stands for, be it by its signature; raises UserError.

    What several cells of one training share names that training.
    """
    found = named(text, store)
    exact = [one for one in found if one.name == text.rpartition(":")[2]]
    cells = [one for one in found if one.evaluation is not None]
    for alike in (exact,) if exact else (cells,):
        if len({one.signature for one in alike}) == 1:
            return alike[0]
    if len({one.training for one in found}) == 1 and not any(one.evaluation for one in exact):
        return _as_training(found)
    if found:
        shown = exact or cells or found
        names = ", ".join(f"{one.sweep}:{one.name}" for one in shown[:SHOWN])
        raise UserError(
            f"{text}: stands for {len(shown)} cells ({names}{', ...' if len(shown) > SHOWN else ''}); "
            "give more of one, or SWEEP:CELL"
        )
    return _by_signature(text, store)


def _as_training(found: list[Named]) -> Named:
    one = next((one for one in found if one.evaluation is None), found[0])
    return Named(one.sweep, one.name, one.training)


def find(text: str, store: Store) -> Piece:
    """The piece of work that `text` stands for, as it was planned; raises UserError."""
    one = find_one(text, store)
    return planned_piece("evaluation" if one.evaluation else "training", one.signature, text, store)


def _by_signature(text: str, store: Store) -> Named:
    found: list[tuple[str, str]] = []
    if len(text) >= SHORTEST_SIGNATURE and text.isalnum():
        for kind in ("training", "evaluation"):
            folder = KIND_OF_PIECE[kind]
            found += [(kind, path.parent.name) for path in sorted(store.root.glob(f"{folder}/{text}*/{CONFIG}"))]
    if len(found) == 1:
        return _with_signature(*found[0], text, store)
    if found:
        raise UserError(f"{text}: begins {len(found)} signatures; give more of one")
    every = {name for sweep in remembered(store) for name in named_work(sweep, store)}
    close = difflib.get_close_matches(text, sorted(every), n=1, cutoff=0.5)
    raise UserError(
        f"{text}: is no cell of a sweep that was run on {store.root}, and no signature in it; "
        + (f"did you mean {close[0]!r}? " if close else "")
        + "'edm-sweep plan FILE' shows what its cells are called, --store chooses another store"
    )


def _with_signature(kind: str, signature: str, text: str, store: Store) -> Named:
    """By the name that it has in a sweep, or, where none knows it any more, by its signature."""
    for sweep in remembered(store):
        for name, signatures in named_work(sweep, store).items():
            if signatures.get(kind) == signature and (kind == "evaluation" or "evaluation" not in signatures):
                return Named(sweep, name, **signatures)
    piece = planned_piece(kind, signature, text, store)
    if isinstance(piece, Evaluation):
        return Named("", signature, piece.training.signature, signature)
    return Named("", signature, signature)


def planned_piece(kind: str, signature: str, text: str, store: Store) -> Piece:
    """A piece of work as it was planned when it was begun; raises UserError, which calls it `text`."""
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
