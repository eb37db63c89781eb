"""`training.from` as a mapping: the training to begin with is the cell's own, but for the fields that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from edm.config import FieldError, Pretraining, TrainingConfig, require_seed
from experiments.sweep.axes import Pick, Picks
from experiments.sweep.diagnostics import require_field, show_value
from experiments.sweep.document import Document, Location
from experiments.sweep.spec import OPTIONS, SECTIONS, field_names, split_axis
from experiments.wording import did_you_mean, shortened

FROM = "training.from"
DATA_SET, DROPOUT, SEED, KEEP = "data.name", "model.dropout", "seed", "training.keep"
CHANGEABLE = ("data", "training")  # sections, all fields of which may differ
REMEDY = "give fields of data and training, model.dropout or seed"
EXAMPLE = "{data.name: celeba, training.kimg: 5000}"
Companions = Mapping[str, tuple[str, ...]]  # as of SweepAxes.read


def start_asked_for(document: Document, picks: Picks) -> tuple[dict[str, Any], Location] | None:
    """Return the mapping of `training.from`, and where the file has it; None where a cell has none."""
    shared = document.data.get("training")
    places: list[tuple[Any, Location]] = [
        (shared.get("from") if isinstance(shared, dict) else None, ("training", "from"))
    ]
    places += [(pick.value, pick.location) for pick in picks if pick.axis == FROM]
    value, location = places[-1]
    return (value, location) if isinstance(value, dict) else None


def start_picks(
    document: Document, changes: dict[str, Any], location: Location, picks: Picks, companions: Companions
) -> Picks:
    """Return what distinguishes the training that a cell with these picks begins with; raises UserError.

    Unless `changes` says otherwise, it begins with random weights itself and keeps no checkpoints. A data set is
    described anew.
    """
    if not changes:
        raise document.error(location, f"{FROM}: {{}} changes nothing; write for example {EXAMPLE}")
    for field, value in changes.items():
        _require_changeable(document, field, value, (*location, field), companions)
    kept = (pick for pick in picks if not (DATA_SET in changes and pick.axis.startswith("data.")))
    own = (Pick(field, value, (*location, field)) for field, value in changes.items() if field != SEED)
    return (*kept, Pick(FROM, None, location), Pick(KEEP, "last", location), *own)


def _require_changeable(document: Document, field: str, value: Any, location: Location, companions: Companions) -> None:
    if field == SEED:
        _require_seed(document, value, location)
        return
    section = field.partition(".")[0]
    if field != DROPOUT and (section not in CHANGEABLE or section == field):
        fields = [f"{each}.{key}" for each in CHANGEABLE for key in field_names(SECTIONS[each])]
        inner = next(iter(value), "") if isinstance(value, dict) else field  # of a section that is written as a mapping
        meant = [each for each in fields if each.partition(".")[2] == inner]
        hint = f"write {meant[0]}" if meant else did_you_mean(field, (*fields, DROPOUT, SEED))
        what = "cannot differ" if section == "model" else "is no field of a training"
        raise document.error(location, f"{FROM}: {shortened(field)} {what}; {hint or REMEDY}")
    _, name, option = split_axis(field)
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
