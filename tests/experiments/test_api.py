"""From Python: the page that documents it is run, block by block, and prints what it says."""

import contextlib
import dataclasses
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from experiments import UserError, load_sweep, plan, results
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import FORMER_CLASSIFIER, classifier_of
from experiments.tracking.records import record_plan
from tests import ROOT
from tests.inprocess import without_ray

PAGE = (ROOT / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```(?:\n\n((?:    [^\n]*\n)+))?", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_page_does_what_it_says(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(prepared, tmp_path / "runs")
    shutil.copytree(ROOT / "sweeps", tmp_path / "sweeps")
    monkeypatch.chdir(tmp_path)
    for name in ("EDM_SWEEP_STORE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert len(BLOCKS) == 5
    names: dict[str, object] = {}
    for code, expected in BLOCKS:
        output = io.StringIO()
        with contextlib.redirect_stdout(output), without_ray():
            exec(compile(code, "docs/python.md", "exec"), names)
        wanted = [line.removeprefix("    ") for line in expected.splitlines()]
        assert output.getvalue().splitlines() == wanted


def test_results_are_those_of_the_report(finished: tuple[Plan, Store]) -> None:
    made, store = finished
    frame = results(made.sweep, store.root)
    assert frame["cell"].tolist() == [made.cell_name(cell) for cell in made.cells]
    assert set(frame["status"]) == {"done"} and frame["fid_test"].notna().all()


def test_a_sweep_may_be_given_by_its_file_or_by_its_name(finished: tuple[Plan, Store], tiny_file: Path) -> None:
    made, store = finished
    assert repr(plan(tiny_file)) == "<Plan of tiny_digits: 4 cells, 2 trainings, 4 evaluations>"
    record_plan(made, store)
    assert results(made.sweep.name, store.root).equals(results(made.sweep, store.root))
    with pytest.raises(UserError, match="nowhere"):
        results("nowhere.yaml", store.root)


def test_the_name_of_a_variant_is_no_file(tmp_path: Path) -> None:
    """A name such as this one has a dot, and is a recorded name all the same, as on the command line."""
    with pytest.raises(UserError, match="no sweep of that name was run with the store"):
        plan("tiny_digits@training.kimg=0.5", tmp_path)


def test_what_an_earlier_release_left_in_the_store_is_used(tiny_file: Path, tmp_path: Path) -> None:
    """As on the command line: a plan, and so a run and its results, is one for the store."""
    (source,) = plan(tiny_file, tmp_path / "empty").sources.values()
    former, store = dataclasses.replace(source, classifier_version=FORMER_CLASSIFIER), Store(tmp_path / "old")
    folder = store.folder("classifiers", classifier_of(former))
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    made = plan(tiny_file, store.root)
    assert {each.classifier_version for each in made.sources.values()} == {FORMER_CLASSIFIER}
    assert results(tiny_file, store.root)["evaluation"].tolist() == list(made.evaluations)
    assert not made.evaluations.keys() & plan(tiny_file, tmp_path / "empty").evaluations.keys()


def test_overrides_and_mistakes(tiny_file: Path) -> None:
    assert plan(load_sweep(tiny_file, "training.kimg=2")).cells[0].training.config.kimg == 2
    with pytest.raises(UserError, match=r"training.kimg: expected a number, not 'x'"):
        load_sweep(tiny_file, "training.kimg=x")


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, experiments\n"
        "experiments.plan(experiments.load_sweep('sweeps/digits.yaml'))\n"
        "print([name for name in ('torch', 'ray', 'mlflow', 'pandas', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[]\n", done.stderr


def test_its_names_are_not_hidden_by_modules() -> None:
    """A module of the same name would take a function's place as soon as anybody imports it."""
    modules = {path.stem for path in (ROOT / "experiments").iterdir()}
    assert not modules & set(experiments.__all__)
