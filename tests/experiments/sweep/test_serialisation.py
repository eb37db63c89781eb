"""Recorded sweeps: a record of an old store is read as it was written, without the files that the sweep names."""

import json
from pathlib import Path
from typing import ClassVar

import pytest

from experiments.errors import UserError
from experiments.store.layout import StoreKind
from experiments.sweep.serialisation import plan_from_json, plan_to_json

# written by the version before the code moved into rooms, from a sweep on a folder with a published statistics file
RECORD = Path(__file__).parent / "recorded_sweep.json"
CONTENT = json.loads(RECORD.read_text())


class Recorded:
    """A store that has the result of every task that the record names."""

    names: ClassVar[set[str]] = {signature for tasks in CONTENT["cells"].values() for signature in tasks.values()}

    def signatures(self, _kind: StoreKind) -> set[str]:
        return self.names

    def has_result(self, _kind: StoreKind, signature: str) -> bool:
        return signature in self.names

    def has_begun(self, _kind: StoreKind, signature: str) -> bool:
        return signature in self.names


def test_an_old_record_is_planned_to_the_signatures_it_names() -> None:
    plan = plan_from_json(CONTENT, RECORD, Recorded())
    found = {plan.names[signature]: {"training": signature} for signature in plan.trainings}
    for cell in plan.cells:
        found[plan.cell_name(cell)] = {"training": cell.training.signature, "evaluation": cell.evaluation.signature}
    assert found == CONTENT["cells"]
    assert {cell.training.data.sizes["train"] for cell in plan.cells} == {20}
    assert {cell.evaluation.statistics for cell in plan.cells} == set(CONTENT["statistics"].values())
    assert plan.cells[-1].cell.sampling.s_churn == float("inf")


def test_it_is_written_again_byte_for_byte() -> None:
    assert json.dumps(plan_to_json(plan_from_json(CONTENT, RECORD, Recorded()))) == json.dumps(CONTENT)


@pytest.mark.parametrize("key", ["folders", "statistics"])
def test_what_was_not_recorded_is_not_looked_up(key: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read .* run the sweep again from its file"):
        plan_from_json({**CONTENT, key: type(CONTENT[key])()}, RECORD)
