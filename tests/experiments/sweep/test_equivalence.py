"""Values that come to the same computation are computed once, and people are told."""

from pathlib import Path

import pytest

from experiments.sweep.plan import Plan
from tests.planning import load_sweep, plan_sweep


def plan(tmp_path: Path, text: str) -> Plan:
    (tmp_path / "x.yaml").write_text(f"data: {{name: cifar10}}\n{text}\n")
    return plan_sweep(load_sweep(tmp_path / "x.yaml"))


def test_half_lives_that_are_never_reached_are_trained_once_and_warned_of(tmp_path: Path) -> None:
    made = plan(tmp_path, "training: {kimg: 1}\ngrid: {training.ema_halflife_kimg: [0.1, 0.5, 2]}")
    assert len(made.cells) == 3 and len(made.trainings) == len(made.evaluations) == 1
    assert made.warnings == [
        "training.ema_halflife_kimg changes nothing: 0.1, 0.5 and 2 come to the same computation, which is done once: "
        "training.ema_rampup holds the half-life at 0.048 kimg or less, a share of the images seen; "
        "give shorter half-lives, or set ema_rampup: null"
    ]
    assert made.equivalences == []


def test_without_a_ramp_up_every_half_life_is_another_training(tmp_path: Path) -> None:
    axes = "grid: {training.ema_halflife_kimg: [0.1, 0.5, 2]}"
    made = plan(tmp_path, f"training: {{kimg: 1, ema_rampup: null}}\n{axes}")
    assert len(made.trainings) == 3 and made.warnings == []


def test_some_values_that_come_to_the_same_are_named(tmp_path: Path) -> None:
    made = plan(
        tmp_path, "training: {kimg: 1}\ngrid: {training.ema_halflife_kimg: [0.01, 0.5, 2], training.lr: [1, 2]}"
    )
    assert len(made.trainings) == 4 and made.warnings == []
    (sentence,) = made.equivalences
    assert sentence.startswith("training.ema_halflife_kimg: 0.5 and 2 come to the same computation, which is done once")


def test_an_axis_that_matters_in_some_cells_is_no_idle_one(tmp_path: Path) -> None:
    made = plan(tmp_path, "grid: {sampling.sampler: [heun, stochastic_heun], sampling.s_churn: [1, 3]}")
    assert len(made.evaluations) == 3 and made.warnings == []
    assert made.equivalences == ["heun/s_churn=1 and heun/s_churn=3 come to the same computation, which is done once"]


@pytest.mark.parametrize(
    "axis", ["evaluation.splits: [[test], [val]]", "evaluation.metrics: [[kid], [fid]]", "sampling.steps: [4, 5]"]
)
def test_a_choice_of_what_is_shown_is_no_idle_axis(tmp_path: Path, axis: str) -> None:
    made = plan(tmp_path, f"grid: {{{axis}}}")
    assert made.warnings == made.equivalences == []


def test_axes_that_move_together_are_not_told_apart(tmp_path: Path) -> None:
    made = plan(tmp_path, "zip: {sampling.steps: [4, 5], sampling.s_churn: [1, 2]}")
    assert made.warnings == made.equivalences == []
