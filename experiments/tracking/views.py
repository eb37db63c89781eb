"""What MLflow's page of an experiment shows first: saved views of its runs, as tags that the page reads.

MLflow lists them in its menu Views (from version 3.16 on) and opens each by a link; a server that does not know them
ignores the tags. MLflow has no function that writes them, so this module knows the format.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from typing import Any

from experiments.sweep.metrics import HEADLINES, metrics_of
from experiments.sweep.plan import TRAINING_SECTIONS, Plan
from experiments.tracking.links import WORKFLOW
from experiments.tracking.metric_names import LOSSES
from reports.metrics import METRICS, PREFERRED_SPLITS, metric_info

Json = dict[str, Any]
PREFIX = "mlflow.sharedViewState."  # a tag of the experiment; what follows is the name in the link
SCORES, LOSS_CURVES = "scores", "losses"  # the names of the views in links
LONGEST = 5000  # characters of a tag that servers of before MLflow 3.16 take
SAVED_MS = 1_764_201_600_000  # a view says when it was saved; the same for all, so that nothing changes with time
MOST_CHARTS = 12


def view_link(experiment: str, view: str = SCORES) -> str:
    """Return the address of a view of an experiment, after that of the server and a slash."""
    return f"#/experiments/{experiment}/runs?{WORKFLOW}&viewStateShareKey={view}"


def saved_views(plan: Plan) -> dict[str, str]:
    """Return the views of a sweep's experiment as tags: its scores as one flat table, and its losses as charts."""
    views = {SCORES: ("Scores of all cells", scores_view(plan)), LOSS_CURVES: ("Loss curves", losses_view(plan))}
    tags = {f"{PREFIX}{key}": _envelope(title, state) for key, (title, state) in views.items()}
    return {key: value for key, value in tags.items() if len(value) <= LONGEST}


def scores_view(plan: Plan) -> Json:
    """Return the view of the evaluations, best first: a column for each axis and each main score."""
    metrics, axes = main_metrics(plan), _axes(plan)
    columns = _columns(axes, metrics)
    if any(evaluation.rivals for evaluation in plan.evaluations.values()):
        columns.append("tags.`edm.stopped_at`")  # scores of fewer images are not like the others
    charts = [_parallel(axes, metrics[:1])] if metrics else []
    charts += [_chart("BAR", metric, "scores") for metric in metrics[:MOST_CHARTS]]
    order: Json = {}
    if metrics:
        order = {"orderByKey": f"metrics.`{metrics[0]}`", "orderByAsc": metric_info(metrics[0]).better == "lower"}
    return _view("evaluation", columns, {"scores": "Scores"}, charts) | order


def losses_view(plan: Plan) -> Json:
    """Return the view of the trainings, with their losses as the first charts."""
    axes = [axis for axis in _axes(plan) if axis.split(".")[0] in (*TRAINING_SECTIONS, "seed")]
    metrics = (*reversed(LOSSES), "parameters", "seconds")
    columns = _columns(axes, metrics)
    charts = [_chart("LINE", metric, "loss") for metric in LOSSES]
    return _view("training", columns, {"loss": "Loss"}, charts)


def _columns(axes: Iterable[str], metrics: Iterable[str]) -> list[str]:
    return [*(f"params.`{axis}`" for axis in axes), *(f"metrics.`{metric}`" for metric in metrics)]


def main_metrics(plan: Plan) -> list[str]:
    """Return the metrics of the sweep's first table, the preferred split of the first kind of score first."""
    scores = dict.fromkeys(score for evaluation in plan.evaluations.values() for score in evaluation.scores)
    known = [name for score in scores for name in metrics_of(score) if name in METRICS]
    asked = plan.sweep.report[0].metrics
    if asked is not None:
        known = [name for name in asked if name in known] or known
    has_fid = any(METRICS[name].name == "FID" for name in known)
    shown = [name for name in known if METRICS[name].group in ("main", "own") or not has_fid]
    return sorted(shown, key=_rank)


def _rank(metric: str) -> tuple[int, int, int]:
    """Return the place of a metric: FIDs or KIDs come first; of each, the split that is shown where only one is."""
    info, names = METRICS[metric], [info.name for info in METRICS.values()]
    headline = next((place for place, start in enumerate(HEADLINES) if metric.startswith(start)), len(HEADLINES))
    split = PREFERRED_SPLITS.index(info.split) if info.split in PREFERRED_SPLITS else len(PREFERRED_SPLITS)
    return headline, names.index(info.name), split


def _axes(plan: Plan) -> list[str]:
    seeds = {planned.cell.seed for planned in plan.cells}
    return [*plan.sweep.axes, *(("seed",) if len(seeds) > 1 else ())]


def _view(kind: str, columns: Iterable[str], sections: dict[str, str], charts: list[Json]) -> Json:
    """Return a view of the runs of a kind. sections: of charts, their titles by name, above all that MLflow makes."""
    return {
        "searchFilter": f"tags.`edm.kind` = '{kind}'",
        "selectedColumns": [*columns],
        "columnOrder": [*columns],
        "runsHiddenMode": "SHOW_ALL",  # in charts, of which MLflow else shows ten
        "isAccordionReordered": True,
        "compareRunSections": [
            {"uuid": name, "name": title, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
            for name, title in sections.items()
        ],
        "compareRunCharts": charts,
    }


def _chart(kind: str, metric: str, section: str) -> Json:
    chart: Json = {"uuid": f"edm-{metric}", "type": kind, "metricKey": metric, "displayName": metric}
    if kind == "LINE":
        chart |= {"selectedMetricKeys": [metric], "xAxisKey": "step", "useGlobalXaxisKey": True}
        chart |= {"useGlobalLineSmoothing": True, "xAxisScaleType": "linear", "scaleType": "linear", "range": {}}
    return chart | _card(section)


def _parallel(params: list[str], metrics: list[str]) -> Json:
    """Return the chart with a vertical axis for each parameter and metric, and a line for each run."""
    chart: Json = {"uuid": "edm-parallel", "type": "PARALLEL", "selectedParams": params, "selectedMetrics": metrics}
    return chart | {"showAllRuns": True} | _card("scores")


def _card(section: str) -> Json:
    return {"metricSectionId": section, "deleted": False, "isGenerated": False, "runsCountToCompare": 100}


def _envelope(title: str, state: Json) -> str:
    """Return a saved view as MLflow's page writes it."""
    packed = base64.b64encode(zlib.compress(json.dumps(state, sort_keys=True).encode(), 9)).decode()
    return json.dumps({"name": title, "createdAt": SAVED_MS, "updatedAt": SAVED_MS, "state": f"deflate;{packed}"})
