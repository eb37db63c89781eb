"""`training.from` as a mapping: the training to begin with is the cell's own, but for the fields that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from edm.config import FieldError, Pretraining, TrainingConfig, require_seed
from experiments.sweep.axes import Pick, Picks
from experiments.sweep.diagnostics import require_field, show_value, suggest
from experiments.sweep.document import Document, Location
from experiments.sweep.spec import OPTIONS, SECTIONS, field_names, split_axis

FROM = "training.from"
DATA_SET, DROPOUT, SEED = "data.name", "model.dropout", "seed"
CHANGEABLE = ("data", "training")  # sections, all fields of which may differ
EXAMPLE = "{data.name: celeba, training.kimg: 5000}"
Companions = Mapping[str, tuple[str, ...]]  # as of SweepAxes.read


def start_asked_for(document: Document, picks: Picks) -> tuple[dict[str, Any], Location] | None:
    """Return the mapping of `training.from`, and where the file has it; None where a cell has none."""
    own = [(pick.value, pick.location) for pick in picks if pick.axis == FROM]
    shared = document.data.get("training")
    value, location = (
        own[-1] if own else (shared.get("from") if isinstance(shared, dict) else None, tuple(FROM.split(".")))
    )
    return (value, location) if isinstance(value, dict) else None


def start_picks(
    document: Document, changes: dict[str, Any], location: Location, picks: Picks, companions: Companions
) -> Picks:
    """Return what distinguishes the training that a cell with these picks begins with; raises UserError.

    It begins with random weights itself, unless `changes` says otherwise. A data set is described anew.
    """
    if not changes:
        raise document.error(location, f"{FROM}: {{}} changes nothing; write for example {EXAMPLE}")
    for field, value in changes.items():
        _require_changeable(document, field, value, (*location, field), companions)
    kept = (pick for pick in picks if not (DATA_SET in changes and pick.axis.startswith("data.")))
    own = (Pick(field, value, (*location, field)) for field, value in changes.items() if field != SEED)
    return (*kept, Pick(FROM, None, location), *own)


def _require_changeable(document: Document, field: str, value: Any, location: Location, companions: Companions) -> None:
    if field == SEED:
        _require_seed(document, value, location)
        return
    section, name, option = split_axis(field)
    if field != DROPOUT and (section not in CHANGEABLE or not name):
        fields = [f"{each}.{key}" for each in CHANGEABLE for key in field_names(SECTIONS[each])]
        decided = section in SECTIONS and name in field_names(SECTIONS[section])
        what = "is that of the training that begins with it" if decided else "is no field of a training"
        raise document.error(location, f"{FROM}: {field} {what}; {suggest(field, (*fields, DROPOUT, SEED))}")
    key = name + OPTIONS if option else name
    require_field(document, SECTIONS[section], key, value, location, field, companions.get(section, ()))


def _require_seed(document: Document, value: Any, location: Location) -> None:
    try:
        if isinstance(value, bool) or not isinstance(value, int):
            raise FieldError(SEED, f"{show_value(value)} is not a whole number; write for example 0")
        require_seed(value, SEED)
    except FieldError as error:
        raise document.error(location, f"{FROM}: {error}") from None


@lru_cache(maxsize=4096)
def beginning_with(training: TrainingConfig, start: Pretraining) -> TrainingConfig:
    """Return a training that begins with another one; the same object for all cells that share both."""
    return replace(training, source=start)
