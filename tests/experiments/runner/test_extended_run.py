"""Every kind of extension, as docs/extending.md has it, in a run of Ray's workers; then without its file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.tracking.records import recall_plan
from tests.commandline import run
from tests.docs.test_extending import EXAMPLES, NAMES

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {
    "name": "all",
    "extensions": ["mine/ideas.py"],
    "data": {"name": "bars"},
    "model": {"preset": "nano", "channels": 8},
    "training": {"kimg": 0.64, "batch_size": 32, "lr": 2.0e-3, "ema_halflife_kimg": 0.1, "label_dropout": 0.1},
    "sampling": {"steps": 3},
    "evaluation": {"images": 120, "features": "pixels", "metrics": ["kid", "nearest"]},
    "resources": {"sampling_batch": 40},
}
WHOLE = ("dataset", "features", "metric")  # of the whole sweep, so that all cells can be compared
APART = ("convolutions", "absolute", "ancestral")  # which leave nothing to do for others: for U-Nets, weights and steps
ALONE = ("ralston",)  # another sampler beside these two


def grid() -> list[dict[str, list[Any]]]:
    """A cell without any example, and three that have all of them together."""
    together: dict[str, list[Any]] = {"model.attention": [True]}
    apart: dict[str, list[Any]] = {}
    alone: dict[str, list[Any]] = {}
    for (kind, name), (_, fields) in zip(NAMES, EXAMPLES, strict=True):
        if kind not in WHOLE:
            sections: dict[str, dict[str, Any]] = yaml.safe_load(fields)
            axes = dict(pair for section, values in sections.items() for pair in _axes(section, values))
            (apart if name in APART else alone if name in ALONE else together).update(axes)
    return [{"sampling.sampler": ["euler"]}, together, apart, alone]


def _axes(section: str, values: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    return [
        pair
        for name, value in values.items()
        for pair in (
            [(f"{section}.{name}.{option}", [own]) for option, own in value.items()]
            if isinstance(value, dict)
            else [(f"{section}.{name}", [value])]
        )
    ]


def test_workers_run_every_kind_and_a_report_needs_no_file(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    ideas = tmp_path / "mine" / "ideas.py"
    ideas.write_text("\n\n".join(python for python, _ in EXAMPLES))
    (tmp_path / "all.yaml").write_text(yaml.safe_dump({**SETTINGS, "grid": grid()}))
    store = tmp_path / "runs"
    done = run("run", "../all.yaml", "--store", store, folder=tmp_path / "elsewhere")
    assert done.returncode == 0, done.stderr
    ideas.unlink()
    table = store / "reports" / "all" / "results.csv"
    before = table.read_bytes()
    table.unlink()
    assert run("report", "all", "--store", store, folder=tmp_path / "elsewhere").returncode == 0
    assert table.read_bytes() == before
    plan = recall_plan("all", Store(store))
    assert len(plan.extensions) == len(EXAMPLES) and len(plan.evaluations) == len(grid())
    used = [Store(store).finished(EvaluationResult, each).provenance.extensions for each in plan.evaluations]
    assert {name for names in used for name in names} >= {"bars", "pixels", "nearest", "adams", "sgd", "channel"}
