"""What a run can be told, on Ray."""

import json
import shutil
from pathlib import Path

import pytest

from tests.commandline import invoke, run
from tests.conftest import TINY
from tests.inprocess import without_ray

pytestmark = pytest.mark.slow

RACE = (
    TINY.replace("model.attention: [false, true]", "training.lr: [2.0e-3, 1.0e-5, 1.0e-6]")
    .replace("lr: 2.0e-3, ", "", 1)
    .replace("kimg: 0.64", "kimg: 4, validate_kimg: 0.4")
)


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "store")
    return tmp_path / "store"


def test_calibrated_costs_have_ranges_and_a_budget_below_them_is_refused(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "tiny_digits.yaml"
    file.write_text(TINY)
    done = invoke("plan", file, "--store", place, "--calibrate", "--json", "--set", "training.kimg=2000")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert [network["fits"] for network in made["networks"]] == [True, True]
    assert all(network["kimg_s"] > 0 and network["forward_s"] > 0 for network in made["networks"])
    assert set(made["estimates"]) == {"1", "2", "4", "8", "16"}
    for estimate in (made["estimate"], *made["estimates"].values()):
        assert all(cost["low"] <= cost["about"] <= cost["high"] for cost in estimate.values())
    assert made["estimates"]["2"]["wall_s"]["about"] <= made["estimates"]["1"]["wall_s"]["about"]
    assert len(list(place.glob("probes/*/result.json"))) == 2
    words = invoke("plan", file, "--store", place, "--calibrate", "--set", "training.kimg=2000").stdout
    assert "s/kimg" in words and "16 such machines" in words and "Disk: about" in words  # nothing is measured twice
    done = invoke("run", file, "--store", place, "--budget", "0.1m", "--set", "training.kimg=2000")
    assert done.returncode == 2 and "what is left takes about" in done.stderr and "raise --budget" in done.stderr
    assert not (place / "trainings").exists()


def test_asha_prunes_and_a_run_without_it_trains_to_the_end(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "tiny_digits.yaml"
    file.write_text(RACE)
    done = run("run", file, "--store", place, "--scheduler", "asha", "--gpus", "auto")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "done measure " in done.stdout  # auto looks at every network first
    pruned = {path.parent.name for path in place.glob("trainings/*/pruned.json")}
    assert pruned and len(list(place.glob("trainings/*/result.json"))) == 3 - len(pruned)
    assert f"6 cells, {2 * len(pruned)} pruned" in done.stdout and "pruned at " in done.stdout
    again = invoke("run", file, "--store", place, "--scheduler", "asha", "--json")
    made = json.loads(again.stdout)
    assert again.returncode == 0 and made["done"] == 0  # pruned is pruned
    states = [cell["status"] for cell in made["cells"]]
    assert states.count("pruned") == 2 * len(pruned) and states.count("done") == 6 - 2 * len(pruned)
    with without_ray():
        done = invoke("run", file, "--store", place)
    assert done.returncode == 0 and not list(place.glob("trainings/*/pruned.json"))
    assert len(list(place.glob("evaluations/*/result.json"))) == 6
