"""A name stands for the whole sweep file: what is run with overrides, or of some cells, never takes its place."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.inspection.lookup import find_one
from experiments.store.store import Store
from experiments.store.sweep_records import recorded_sweeps
from experiments.sweep.plan import Plan
from tests.commandline import invoke
from tests.inprocess import without_ray

pytestmark = pytest.mark.slow  # runs with MLflow, though without Ray

ONE = ("--only", "no-attention/heun")
QUICK = ("--set", "evaluation.images=80", *ONE)
VARIANT = "tiny_digits@evaluation.images=80+only=no-attention-heun-e0ff9cc3"


@pytest.fixture
def reported(done: tuple[Plan, Store], tiny_file: Path) -> Iterator[tuple[Store, Path, bytes]]:
    """A store that holds the whole sweep and its report, the sweep's file, and the report's table."""
    _, store = done
    assert invoke("report", tiny_file, "--store", store.root).returncode == 0
    with without_ray():
        yield store, tiny_file, (store.report_folder("tiny_digits") / "results.csv").read_bytes()


def test_a_quick_run_leaves_the_sweep_its_name_page_and_results(reported: tuple[Store, Path, bytes]) -> None:
    store, file, table = reported
    done = invoke("run", file, "--store", store.root, *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Report: {store.report_folder(VARIANT)}/report.html" in done.stdout
    assert (store.report_folder("tiny_digits") / "results.csv").read_bytes() == table
    listed = {row["sweep"]: (row["done"], row["cells"]) for row in json.loads(status(store))}
    assert listed == {"tiny_digits": (4, 4), VARIANT: (1, 1)}
    assert json.loads(invoke("gc", "--past", "--store", store.root, "--json").stdout)["items"] == []
    assert len(json.loads(status(store, VARIANT))["cells"]) == 1


def status(store: Store, *sweep: str) -> str:
    return invoke("status", *sweep, "--store", store.root, "--json").stdout


def test_a_name_of_a_cell_means_the_sweeps_and_not_a_variants(reported: tuple[Store, Path, bytes]) -> None:
    store, file, _ = reported
    whole = find_one("no-attention/heun", store)
    assert invoke("run", file, "--store", store.root, *QUICK).returncode == 0
    assert find_one("no-attention/heun", store) == whole
    assert find_one(f"{VARIANT}:no-attention/heun", store).evaluation != whole.evaluation


def test_a_variant_is_reported_and_forgotten_by_its_name(reported: tuple[Store, Path, bytes]) -> None:
    store, file, _ = reported
    assert invoke("run", file, "--store", store.root, *QUICK).returncode == 0
    made = json.loads(invoke("report", VARIANT, "--store", store.root, "--json").stdout)
    assert [(cell["cell"], cell["status"]) for cell in made["cells"]] == [("no-attention/heun", "done")]
    freed = invoke("gc", "--forget", VARIANT, "--yes", "--store", store.root, "--json")
    kinds = {item["kind"] for item in json.loads(freed.stdout)["items"]}
    assert "evaluations" in kinds and "trainings" not in kinds  # the training is the sweep's as well
    assert recorded_sweeps(store) == ["tiny_digits"]


def test_the_first_run_of_some_cells_records_the_whole_sweep_too(store: Store, tiny_file: Path) -> None:
    with without_ray():
        assert invoke("run", tiny_file, "--store", store.root, *ONE).returncode == 0
    listed = {row["sweep"]: (row["done"], row["cells"]) for row in json.loads(status(store))}
    assert listed == {"tiny_digits": (1, 4), "tiny_digits@only=no-attention-heun-f631ef99": (1, 1)}


@pytest.mark.parametrize("same", [("--cpus-per-trial", "1"), ("--gpus", "0"), ("--only", "*")])
def test_what_changes_no_result_and_leaves_out_no_cell_is_the_sweep(
    reported: tuple[Store, Path, bytes], same: tuple[str, str]
) -> None:
    store, file, _ = reported
    assert invoke("run", file, "--store", store.root, *same).returncode == 0
    assert recorded_sweeps(store) == ["tiny_digits"]


def test_a_plan_of_some_cells_shows_these_alone(tiny_file: Path, tmp_path: Path) -> None:
    done = invoke("plan", tiny_file, "--store", tmp_path / "fresh", *ONE)
    assert done.returncode == 0 and "no-attention/heun" in done.stdout and "euler" not in done.stdout
    assert ": 1 cell from 1 training (0 in the store) and 1 evaluation (0 in the store)" in done.stdout


def test_a_variant_that_was_never_run_is_an_unknown_name(reported: tuple[Store, Path, bytes]) -> None:
    done = invoke("report", "tiny_digits@training.kimg=1", "--store", reported[0].root)
    assert done.returncode == 2 and "no sweep of that name was run with the store" in done.stderr


def test_a_cell_of_a_file_whose_training_has_its_name_is_found(tiny_file: Path, store: Store) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("  sampling.sampler: [euler, heun]\n", ""))
    done = invoke("why", f"{tiny_file}:no-attention", "--store", store.root, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"][-1]["what"] == "evaluation"
