"""What a store remembers of its sweeps: the very same plan, without the file, on any machine."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.errors import UserError
from experiments.store import sweep_records
from experiments.store.store import Store
from experiments.store.sweep_records import forget_past, forget_sweep, named_tasks, recorded_sweeps
from experiments.sweep.plan import Plan
from experiments.tracking.records import recall_past_plans, recall_plan, recall_sweep, record_plan
from tests.planning import load_sweep, plan_sweep
from tests.test_sweeps import SWEEPS
from tests.test_sweeps import planned as planned_of_files

RICH = """\
name: rich
data:       {name: digits}
training:   {kimg: 20, label_dropout: 0.1, power_ema: [0.05, 0.1], keep: [5, 10]}
evaluation: {images: 1000, features: classifier, splits: [test]}
grid:
  - model.attention: [true, none]
    sampling.guidance: [2]
    sampling.guidance_interval: [null, [0.3, 5]]
    sampling.guide: [null, {kimg: 10}, {channels: 8, ema: 0.1}]
  - {model.preset: [micro], sampling.s_churn: [.inf], sampling.sampler: [stochastic_heun]}
seeds: [3, 1]
resources: {gpus: auto, cpus: 2}
report: {metrics: [fid_test]}
"""


def planned(path: Path) -> Plan:
    return plan_sweep(load_sweep(path))


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_shipped_sweep_is_recalled_as_it_was(path: Path, tmp_path: Path) -> None:
    plan, store = planned_of_files(path.stem), Store(tmp_path)
    record_plan(plan, store)
    assert recorded_sweeps(store) == [plan.sweep.name]
    assert recall_sweep(plan.sweep.name, store) == plan.sweep
    assert recall_plan(plan.sweep.name, store) == plan


def test_lists_mappings_infinities_and_seeds_come_back(tmp_path: Path) -> None:
    plan, store = planned(written(tmp_path, RICH)), Store(tmp_path / "store").create()
    record_plan(plan, store)
    again = recall_plan("rich", store)
    assert again == plan and again.names == plan.names
    assert [type(cell.model.attention) for cell in again.sweep.cells] == [
        type(cell.model.attention) for cell in plan.sweep.cells
    ]
    cells = {name: work for name, work in named_tasks("rich", store).items() if "evaluation" in work}
    assert cells == {
        plan.cell_name(p): {"training": p.training.signature, "evaluation": p.evaluation.signature} for p in plan.cells
    }


def images(folder: Path) -> Path:
    noise = np.random.default_rng(0)
    for i in range(24):
        path = folder / f"class-{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


def test_a_sweep_on_a_folder_is_recalled_where_there_is_no_such_folder(tmp_path: Path) -> None:
    folder, store = images(tmp_path / "images"), Store(tmp_path / "store").create()
    text = f"name: mine\ndata: {{name: folder, path: {folder}, resolution: 8}}\nmodel: {{preset: nano}}\n"
    plan = planned(written(tmp_path, text + "evaluation: {images: 100, features: classifier}\n"))
    record_plan(plan, store)
    shutil.rmtree(folder)
    again = recall_plan("mine", store)
    assert again == plan
    assert {"data/images", "feature-classifier/images", "reference-statistics/images"} <= set(again.names.values())
    assert again.cells[0].training.data.sizes == {"train": 20, "val": 2, "test": 2}


def test_a_sweep_that_was_forgotten_or_never_run_is_not_recalled(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").create()
    with pytest.raises(UserError, match=r"nothing: no such file, and no sweep .* \(no sweep was run with it yet\)"):
        recall_plan("nothing", store)
    record_plan(planned(written(tmp_path, RICH)), store)
    with pytest.raises(UserError, match=r"other: no such file.*\(its sweeps: rich\)"):
        recall_plan("other", store)
    with pytest.raises(UserError, match=r"; did you mean 'rich'\?"):
        recall_plan("rihc", store)
    with pytest.raises(UserError, match="no such file"):
        recall_plan("../sweeps/rich", store)
    forget_sweep("rich", store)
    assert recorded_sweeps(store) == []


def test_what_was_run_under_a_name_before_is_kept_as_its_past(tmp_path: Path) -> None:
    path, store = written(tmp_path, RICH), Store(tmp_path / "store").create()
    first = planned(path)
    second = planned(written(tmp_path, RICH.replace("kimg: 20", "kimg: 40")))
    for plan in (first, first, second, first, second):
        record_plan(plan, store)
    assert recall_plan("rich", store) == second
    assert sorted(plan.cells[0].training.config.kimg for plan in recall_past_plans(store)) == [20, 40]
    assert recall_past_plans(store, ["rich"]) == []
    forget_past(store)
    assert recall_past_plans(store) == [] and recall_plan("rich", store) == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("fields"), "cannot be read"),
        (lambda content: content.update(format=99), "was written by another version of edm-sweep"),
        (lambda content: content["fields"]["training.lr"].update(values=["fast"]), "cannot be read"),
        (lambda content: content["fields"]["model.attention"].update(at=[9] * 14), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, change, message: str) -> None:
    store = Store(tmp_path / "store").create()
    record_plan(planned(written(tmp_path, RICH)), store)
    path = store.root / "sweeps" / "rich.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        recall_plan("rich", store)


def test_half_a_record_is_said_to_be_unreadable(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").create()
    record_plan(planned(written(tmp_path, RICH)), store)
    path = store.root / "sweeps" / "rich.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match=r"rich.json: cannot be read; run the sweep again from its file"):
        recall_plan("rich", store)


def test_two_that_forget_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store").create()
    gone = [({"name": "rich"}, tmp_path / "gone.json")]  # as listed before the other deleted it
    monkeypatch.setattr(sweep_records, "read_past_records", lambda _: gone)
    forget_past(store)
    forget_sweep("rich", store)
