"""A report of several sweeps says in which fields they differ besides their axes."""

from pathlib import Path

from experiments.cli.unlike import unlike_fields
from experiments.sweep.plan import Plan
from experiments.tracking.frames import ABSENT, results_frame
from tests.extending import DAMPED, SWEEP, write_sweep
from tests.planning import load_sweep, plan_sweep


def plan_of(folder: Path, *changes: tuple[str, str]) -> Plan:
    folder.mkdir()
    text = SWEEP
    for old, new in changes:
        text = text.replace(old, new)
    return plan_sweep(load_sweep(write_sweep(folder, text, DAMPED)))


def test_fields_that_are_no_axes_and_decide_numbers_are_named(tmp_path: Path) -> None:
    one = plan_of(tmp_path / "one", ("images: 120", "images: 120, splits: [test]"))
    other = plan_of(
        tmp_path / "two", ("kimg: 0.64", "kimg: 1.28"), ("steps: 3", "steps: 5"), ("[euler, damped]", "[euler]")
    )
    expected = "one and two also differ in fields that are no axes: training.kimg (0.64, 1.28), sampling.steps (3, 5)."
    assert unlike_fields({"one": one, "two": other}) == expected
    assert unlike_fields({"one": one, "again": one}) == ""


def test_a_frame_has_the_axes_of_other_sweeps(tmp_path: Path) -> None:
    plan = plan_of(tmp_path / "one", ("[euler, damped]", "[euler]"))
    axes = ("model.architecture", "sampling.sampler_options.damping", "model.from")
    assert "model.architecture" not in results_frame(plan, {})
    assert results_frame(plan, {}, axes)[list(axes)].to_numpy().tolist() == [["study", ABSENT, ABSENT]]
