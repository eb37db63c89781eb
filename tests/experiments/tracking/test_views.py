"""Saved views of MLflow's page: which runs, columns and charts they have."""

import base64
import json
import zlib
from pathlib import Path

import pytest

from experiments.sweep.plan import Plan
from experiments.tracking.views import LONGEST, main_metrics, saved_views
from tests.conftest import TINY
from tests.planning import load_sweep, plan_sweep


def state_of(plan: Plan, view: str) -> dict:
    """A view's state, read as MLflow's page does."""
    envelope = json.loads(saved_views(plan)[f"mlflow.sharedViewState.{view}"])
    assert set(envelope) == {"name", "createdAt", "updatedAt", "state"}
    packed = envelope["state"].removeprefix("deflate;")
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def test_the_scores_are_a_table_of_evaluations_best_first(tiny_plan: Plan) -> None:
    state = state_of(tiny_plan, "scores")
    assert state["searchFilter"] == "tags.`edm.kind` = 'evaluation'"
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`fid_test`", True)
    axes = ["params.`model.attention`", "params.`sampling.sampler`"]
    scores = ["metrics.`fid_test`", "metrics.`fid_val`", "metrics.`fid_train`", "metrics.`class_accuracy`"]
    assert state["selectedColumns"] == state["columnOrder"] == axes + scores


def test_its_first_chart_has_an_axis_for_every_axis_and_the_score(tiny_plan: Plan) -> None:
    first, *others = state_of(tiny_plan, "scores")["compareRunCharts"]
    assert first["type"] == "PARALLEL" and first["selectedMetrics"] == ["fid_test"]
    assert first["selectedParams"] == ["model.attention", "sampling.sampler"]
    assert [chart["metricKey"] for chart in others] == ["fid_test", "fid_val", "fid_train", "class_accuracy"]


def test_the_losses_come_first_among_the_charts_of_trainings(tiny_plan: Plan) -> None:
    state = state_of(tiny_plan, "losses")
    assert state["searchFilter"] == "tags.`edm.kind` = 'training'"
    assert [chart["metricKey"] for chart in state["compareRunCharts"]] == ["loss/train", "loss/val"]
    assert "params.`model.attention`" in state["selectedColumns"]
    assert "params.`sampling.sampler`" not in state["selectedColumns"]


@pytest.mark.parametrize(
    ("change", "first", "ascending"),
    [
        ("report: {metrics: [class_accuracy, fid_val]}", "fid_val", True),
        ("report: {metrics: [class_accuracy]}", "class_accuracy", False),
    ],
)
def test_the_report_decides_what_is_shown(tmp_path: Path, change: str, first: str, ascending: bool) -> None:
    (tmp_path / "t.yaml").write_text(f"{TINY}{change}\n")
    plan = plan_sweep(load_sweep(tmp_path / "t.yaml"))
    assert main_metrics(plan)[0] == first
    state = state_of(plan, "scores")
    assert (state["orderByKey"], state["orderByAsc"]) == (f"metrics.`{first}`", ascending)


def test_several_seeds_are_a_column(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(f"{TINY}seeds: [0, 1]\n")
    state = state_of(plan_sweep(load_sweep(tmp_path / "t.yaml")), "scores")
    assert "params.`seed`" in state["selectedColumns"]


def test_the_views_of_a_large_sweep_fit_into_tags() -> None:
    plan = plan_sweep(load_sweep("sweeps/digits.yaml"))
    views = saved_views(plan)
    assert len(views) == 2 and max(map(len, views.values())) < LONGEST / 2
