"""A sweep over lengths of training trains each length once, and what the commands say of that."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from experiments.cli.sweeps import plan_of
from experiments.runner.resume import open_schedule
from experiments.store.failures import Failure
from experiments.store.store import Store
from experiments.trials.training import continuing
from tests.commandline import invoke
from tests.inprocess import without_ray
from tests.othercode import TRAINING, copy_with, point_at
from tests.table import reproducible

pytestmark = pytest.mark.usefixtures("few_statistics")

SWEEP = """\
name: lengths
model:      {preset: nano, channels: 8}
training:   {batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1, label_dropout: 0.1}
sampling:   {steps: 3}
evaluation: {images: 120, features: classifier}
grid:
  training.kimg: [0.64, 1.28, 1.6]
resources:  {sampling_batch: 40}
"""


def sweep_file(folder: Path, text: str = SWEEP) -> Path:
    (folder / "lengths.yaml").write_text(text)
    return folder / "lengths.yaml"


def run(file: Path, store: Path) -> str:
    with without_ray():
        done = invoke("run", file, "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def table(store: Path) -> list[dict[str, str]]:
    """The rows of results.csv, without whether states are kept."""
    text = reproducible(store / "reports" / "lengths" / "results.csv")
    return [{**row, "": "", "training.keep_state": ""} for row in csv.DictReader(io.StringIO(text))]


@pytest.fixture(scope="module")
def filled(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that the sweep filled, each training beginning where a shorter one ended."""
    folder = tmp_path_factory.mktemp("lengths")
    shutil.copytree(prepared, folder / "store")
    before = run(sweep_file(folder), folder / "store")
    assert "2 trainings begin where shorter ones end: 1.6 of 3.52 kimg are left to train" in before
    assert before.count(", including the training that it continues)") == 2
    return folder / "store"


def names_of(store: Path) -> dict[str, str]:
    """The signatures of the trainings, by name."""
    planned = json.loads(invoke("plan", "lengths", "--store", store, "--json").stdout)
    return {training["name"]: training["signature"] for training in planned["trainings"]}


def test_the_table_is_that_of_trainings_from_the_start(filled: Path, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "store")
    alone = SWEEP.replace("batch_size", "keep_state: false, batch_size")
    assert "shorter" not in run(sweep_file(tmp_path, alone), tmp_path / "store")
    assert table(tmp_path / "store") == table(filled)


def test_why_says_where_a_training_began(filled: Path) -> None:
    told = " ".join(invoke("why", "lengths:kimg=1.6", "--store", filled).stdout.split())
    assert "began where kimg=1.28 ended" in told
    assert "began" not in invoke("why", "lengths:kimg=0.64", "--store", filled).stdout


def test_a_longer_training_later_takes_the_missing_steps(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "store")
    file = sweep_file(tmp_path, SWEEP.replace("[0.64, 1.28, 1.6]", "[2]"))
    planned = invoke("plan", file, "--store", tmp_path / "store").stdout
    assert "from 1.6 kimg" in planned
    assert "1 training begins where a shorter one ends: 0.416 of 2.016 kimg are left to train" in planned
    (training,) = json.loads(invoke("plan", file, "--store", tmp_path / "store", "--json").stdout)["trainings"]
    assert training["begins_at_kimg"] == 1.6
    told = " ".join(invoke("why", f"{file}:kimg=2", "--store", tmp_path / "store").stdout.split())
    assert f"begins where {names_of(filled)['kimg=1.6']} ends, at 1.6 kimg; differs from" in told


def test_a_length_that_is_not_asked_for_is_nothing_to_begin_at(tmp_path: Path) -> None:
    words = ("plan", sweep_file(tmp_path), "--store", tmp_path / "store")
    assert "from" not in invoke(*words, "--only", "kimg=1.28").stdout.replace("from 1 training", "")
    some = invoke(*words, "--only", "kimg=0.64", "--only", "kimg=1.6").stdout
    assert "1 training begins where a shorter one ends: 1.6 of 2.24 kimg are left to train" in some


def test_what_was_shared_is_counted_once_in_the_compute(filled: Path) -> None:
    results = [json.loads(path.read_text()) for path in filled.glob("*/*/result.json")]
    longest = max((result for result in results if result.get("kimg")), key=lambda result: result["kimg"])
    drawn = sum(result["seconds"] for result in results if "metrics" in result and "drawn" in result)
    report = (filled / "reports" / "lengths" / "report.md").read_text()
    assert f"{longest['seconds'] + drawn:,.0f} s on those devices" in report


def test_status_says_which_length_one_waits_for(filled: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    shutil.copytree(filled, root)
    for folder in (*root.glob("trainings/*"), *root.glob("evaluations/*"), *root.glob("drawings/*")):
        shutil.rmtree(folder)
    assert invoke("status", "lengths", "--store", root).stdout.count("planned") == 4  # three cells and their sum
    with Store(root).lock("trainings", names_of(filled)["kimg=0.64"]):
        shown = json.loads(invoke("status", "lengths", "--store", root, "--json").stdout)
    states = {training["name"]: (training["state"], training["why"]) for training in shown["trainings"]}
    assert states["kimg=1.28"] == ("waiting", "for kimg=0.64")
    assert states["kimg=1.6"] == ("waiting", "for kimg=1.28")
    cells = {cell["name"]: (cell["state"], cell["why"]) for cell in shown["cells"]}
    assert cells["kimg=0.64"] == ("waiting", "for its training")
    assert cells["kimg=1.6"] == ("waiting", "its training waits for kimg=1.28")


def test_gc_frees_what_the_sweep_no_longer_keeps(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "store")
    run(sweep_file(tmp_path, SWEEP.replace("batch_size", "keep_state: false, batch_size")), tmp_path / "store")
    listed = json.loads(invoke("gc", "--past", "--store", tmp_path / "store", "--json").stdout)["items"]
    assert [item["reason"] for item in listed] == ["states"] * 3


def test_what_is_done_again_shares_its_steps_again(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The states that other code has made are nothing to begin at; those that the run makes are."""
    shutil.copytree(filled, tmp_path / "store")
    point_at(monkeypatch, copy_with(tmp_path / "other", TRAINING))
    words = ("run", sweep_file(tmp_path), "--store", tmp_path / "store", "--recompute", "changed", "--dry-run")
    planned, some = invoke(*words).stdout, invoke(*words, "--only", "kimg=1.28").stdout
    assert "6 tasks left" in planned and "2 tasks left" in some
    assert "2 trainings begin where shorter ones end: 1.6 of 3.52 kimg are left to train" in planned
    later = sweep_file(tmp_path, SWEEP.replace("[0.64, 1.28, 1.6]", "[2]"))
    planned_later = invoke("plan", later, "--store", tmp_path / "store").stdout
    assert "2 tasks left" in planned_later
    assert " left to train" not in some + planned_later


def test_what_has_a_checkpoint_of_its_own_begins_there(filled: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(filled, store)
    shorter, longer = (store / "trainings" / names_of(filled)[name] for name in ("kimg=1.28", "kimg=1.6"))
    (longer / "result.json").unlink()
    shutil.rmtree(store / "evaluations")
    (state,) = (longer / "checkpoints").iterdir()
    state.rename(state.with_name(state.name.replace("0050-", "0045-")))
    Failure("OSError: a disk").write(longer)
    planned = invoke("plan", sweep_file(tmp_path), "--store", store).stdout
    assert "from 1.44 kimg" in planned and "shorter" not in planned
    assert "begins where" not in invoke("why", "lengths:kimg=1.6", "--store", store).stdout
    (shorter / "result.json").unlink()
    shutil.rmtree(shorter / "checkpoints")
    planned = invoke("plan", "lengths", "--store", store).stdout
    assert "1 training begins where a shorter one ends: 0.8 of 2.88 kimg are left to train" in planned


def test_one_that_begins_at_another_sweeps_end_waits_for_none(filled: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(filled, store)
    shutil.rmtree(store / "trainings" / names_of(filled)["kimg=0.64"])
    shutil.rmtree(store / "evaluations")
    plan = plan_of(str(sweep_file(tmp_path, SWEEP.replace("[0.64, 1.28, 1.6]", "[0.64, 2]"))), store)
    schedule = open_schedule(plan, Store(store))
    assert list(schedule.continuing) == [next(reversed(plan.trainings))] and not schedule.graph.shorter


def test_gc_frees_the_states_and_longer_trainings_begin_at_the_start(filled: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(filled, store)
    assert "nothing to delete" in invoke("gc", "--store", store).stdout
    listed = json.loads(invoke("gc", "--states", "--store", store, "--json").stdout)
    assert {item["reason"] for item in listed["items"]} == {"states"} and len(listed["items"]) == 3
    assert "Freed" in invoke("gc", "--states", "--yes", "--store", store).stdout
    assert not list(store.glob("trainings/*/checkpoints/*.safetensors"))
    assert "Nothing is left to do." in invoke("plan", "lengths", "--store", store).stdout
    later = invoke("plan", sweep_file(tmp_path, SWEEP.replace("1.28,", "1.92,")), "--store", store).stdout
    assert "from 1.6 kimg" not in later and "shorter" not in later and "1 training" not in later


def test_what_is_killed_as_it_begins_leaves_nothing_that_counts(
    prepared: Path, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The curves of the shorter training are there, and its state is not; by the next run it is gone."""
    store = tmp_path / "store"
    shutil.copytree(prepared, store)

    def killed(*_: object) -> None:
        raise OSError(5, "Input/output error")

    file = sweep_file(tmp_path, SWEEP.replace("[0.64, 1.28, 1.6]", "[0.64, 1.6]"))
    with monkeypatch.context() as patch, without_ray():
        patch.setattr(continuing.shutil, "copyfile", killed)
        assert invoke("run", file, "--store", store, "--retries", "0").returncode == 1
    short, longer = (store / "trainings" / names_of(filled)[name] for name in ("kimg=0.64", "kimg=1.6"))
    assert (longer / "journal.jsonl").exists() and not list(longer.glob("checkpoints/*"))
    shutil.rmtree(short / "checkpoints")
    run(file, store)
    assert [row["cell"] for row in table(store)] == ["kimg=0.64", "kimg=1.6"]
    assert all(row in table(filled) for row in table(store))
    assert "began" not in invoke("why", "lengths:kimg=1.6", "--store", store).stdout


def test_a_damaged_model_is_made_again_from_the_state_at_the_end(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "store")
    folder = tmp_path / "store" / "trainings" / names_of(filled)["kimg=1.6"]
    before = (folder / "result.json").read_text()
    (folder / "model.safetensors").write_bytes(b"damaged")
    run(sweep_file(tmp_path), tmp_path / "store")
    assert "from step 50" in (folder / "log.txt").read_text()
    after = json.loads((folder / "result.json").read_text())
    for name in ("loss", "val_loss", "kimg", "continues", "code"):
        assert after[name] == json.loads(before)[name], name
    assert Store(tmp_path / "store").sound("trainings", folder.name) and table(tmp_path / "store") == table(filled)
