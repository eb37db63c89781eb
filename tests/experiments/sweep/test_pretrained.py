"""Rows without a training: identity by the weights, the plan, the table, and wrong files answered in a sentence."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import edm
from edm.config import ModelConfig
from edm.files import load_model, save_model
from experiments.errors import UserError
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_from_json, plan_to_json
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.trials.assets import ensure_data
from tests.commandline import invoke
from tests.edm.pretrained.published import nvlabs_file
from tests.edm.pretrained.test_diffusers import folder as ddpm
from tests.edm.pretrained.test_study import checkpoint
from tests.inprocess import run_all, without_ray
from tests.planning import load_sweep, plan_sweep

ROW = """\
name: rows
model:      {{from: {path}}}
sampling:   {{steps: 3}}
evaluation: {{images: 120, features: classifier}}
grid:
  sampling.sampler: [euler, heun]
  sampling.guidance: [1, 2]
resources:  {{sampling_batch: 40}}
"""


def written(folder: Path, path: Path | str, text: str = ROW, name: str = "rows.yaml") -> Path:
    (folder / name).write_text(text.format(path=path))
    return folder / name


@pytest.fixture
def model(done: tuple[Plan, Store], tmp_path: Path) -> Path:
    """The folder of a model that the tiny sweep trained."""
    plan, store = done
    shutil.copytree(store.folder("trainings", next(iter(plan.trainings))), tmp_path / "model")
    return tmp_path / "model"


def test_a_row_has_no_training_and_its_axes_are_sampling_alone(model: Path, tmp_path: Path) -> None:
    plan = plan_sweep(load_sweep(written(tmp_path, model)))
    assert not plan.trained and len(plan.trainings) == 1
    assert len(plan.cells) == len(plan.evaluations) == 4
    assert sum(training.flops for training in plan.trainings.values()) == 0


def test_identity_is_the_weights_not_the_path_or_the_format(model: Path, tmp_path: Path) -> None:
    shutil.copy(model / "model.safetensors", tmp_path / "elsewhere.safetensors")
    one = plan_sweep(load_sweep(written(tmp_path, model)))
    same = plan_sweep(load_sweep(written(tmp_path, tmp_path / "elsewhere.safetensors")))
    assert one.evaluations.keys() == same.evaluations.keys()
    changed = load_model(model / "model.safetensors")
    with torch.no_grad():
        next(changed.parameters()).mul_(1.001)
    save_model(changed, tmp_path / "elsewhere.safetensors")
    other = plan_sweep(load_sweep(written(tmp_path, tmp_path / "elsewhere.safetensors")))
    assert not one.evaluations.keys() & other.evaluations.keys()


def test_seeds_of_trainings_share_what_is_drawn(model: Path, tmp_path: Path) -> None:
    plan = plan_sweep(load_sweep(written(tmp_path, model, ROW + "seeds: [0, 1]\n")))
    assert len(plan.cells) == 8 and len(plan.evaluations) == 4


def test_the_table_is_that_of_the_network_that_was_trained(
    done: tuple[Plan, Store], model: Path, tmp_path: Path
) -> None:
    """The images of a pretrained row are those of the training that the network comes from, bit for bit."""
    trained, store = done
    plan = plan_sweep(load_sweep(written(tmp_path, model)))
    assert not run_all(plan, store).failures
    frame = results_frame(plan, scores_in_store(plan, store))
    assert frame["notes"].str.contains("pretrained: the network of model").all()
    assert set(frame["model.from"]) == {str(model)}
    assert frame[["model.preset", "training.kimg", "training.lr"]].isna().all().all()  # nobody chose these here
    assert set(frame["sampling.steps"]) == {3}
    before = results_frame(trained, scores_in_store(trained, store))
    own = before[before["training"] == next(iter(trained.trainings))].set_index("sampling.sampler")
    for _, row in frame[frame["sampling.guidance"] == 1].iterrows():
        assert row["fid_test"] == own.loc[row["sampling.sampler"], "fid_test"]
    (signature,) = plan.trainings
    assert store.finished(TrainingResult, signature).loss is None


def test_the_command_line_says_pretrained(model: Path, store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, model)
    before = invoke("plan", file, "--store", store.root)
    assert before.returncode == 0, before.stderr
    assert "from 0 trainings (0 in the store), 1 pretrained network and 4 evaluations" in before.stdout
    with without_ray():
        ran = invoke("run", file, "--store", store.root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"done read \S+ \(\d+ s\)", ran.stdout) and "done train" not in ran.stdout
    reported = invoke("report", file, "--store", store.root)
    assert reported.returncode == 0, reported.stderr
    page = (store.root / "reports" / "rows" / "report.html").read_text()
    assert "pretrained: the network of model" in page
    content = json.loads(invoke("plan", file, "--store", store.root, "--json").stdout)
    assert content["trainings"] == [] and content["pretrained"][0]["done"]
    assert invoke("status", file, "--store", store.root).returncode == 0


def test_a_recorded_sweep_is_planned_again_without_the_file(model: Path, tmp_path: Path) -> None:
    plan = plan_sweep(load_sweep(written(tmp_path, model)))
    content = json.loads(json.dumps(plan_to_json(plan)))
    shutil.rmtree(model)
    again = plan_from_json(content, tmp_path)
    assert again.evaluations == plan.evaluations


def test_a_file_that_changed_after_planning_fails_with_a_sentence(model: Path, store: Store, tmp_path: Path) -> None:
    plan = plan_sweep(load_sweep(written(tmp_path, model)))
    changed = load_model(model / "model.safetensors")
    with torch.no_grad():
        next(changed.parameters()).mul_(2)
    save_model(changed, model / "model.safetensors")
    (failure, *_) = run_all(plan, store).failures.values()
    assert "holds other weights than when the sweep was planned" in failure.message


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ("model:      {{from: absent.pkl}}", "rows.yaml:2: model.from: absent.pkl: does not exist"),
        ("model:      {{from: {path}, preset: nano}}", "rows.yaml:2: model.preset: is decided by the network"),
        ("model:      {{from: 3}}", "rows.yaml:2: model.from: expected text, not 3"),
        ("model:      {{frm: {path}}}", "did you mean 'from'?"),
        ("model:      {{from: {path}}}\ndata: {{name: cifar10}}", "draws images with 1 channel, and"),
        ("model:      {{from: {path}}}\ndata: {{name: fashion_mnist}}", "draws 8x8 images"),
    ],
)
def test_what_does_not_fit_is_answered_with_a_line(model: Path, tmp_path: Path, section: str, sentence: str) -> None:
    text = ROW.replace("model:      {{from: {path}}}", section)
    with pytest.raises(UserError) as refusal:
        load_sweep(written(tmp_path, model, text))
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "value"), [("sampling.ema", "0.1"), ("sampling.guide", "{kimg: 1}"), ("sampling.resolution", "9")]
)
def test_sampling_that_needs_a_training_is_refused(model: Path, tmp_path: Path, field: str, value: str) -> None:
    with pytest.raises(UserError, match=field):
        load_sweep(written(tmp_path, model), (f"{field}={value}",))


def test_several_networks_are_an_axis(model: Path, tmp_path: Path) -> None:
    shutil.copy(model / "model.safetensors", tmp_path / "other.safetensors")
    text = ROW.replace("grid:", f"grid:\n  model.from: [{model}, {tmp_path}/other.safetensors]").replace("2]", "2, 3]")
    plan = plan_sweep(load_sweep(written(tmp_path, model, text)))
    assert len(plan.cells) == 12 and len(plan.evaluations) == 6  # the same weights
    assert any("come to the same" in sentence for sentence in [*plan.equivalences, *plan.warnings])


# every format, to a table -------------------------------------------------------------------------


def nvlabs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = ModelConfig(architecture="ddpmpp", channels=8, multipliers=(1, 2), depths=(1, 1)).network(1, 8, 10)
    nvlabs_file(folder / "network.pkl", config)
    return folder / "network.pkl"


def study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from edm.pretrained import study

    monkeypatch.setattr(study, "CONFIGURATIONS", ((1, 8, 10, "nano", True),))
    checkpoint(folder / "checkpoint.pth", ModelConfig("nano").network(1, 8, 10))
    return folder / "checkpoint.pth"


def diffusers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    ddpm(folder / "ddpm")
    return folder / "ddpm"


@pytest.mark.parametrize("write", [nvlabs, study, diffusers])
def test_every_format_is_sampled_to_a_table(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    path = write(tmp_path, monkeypatch)
    text = ROW.replace("{{steps: 3}}", "{{steps: 2}}").replace("[1, 2]", "[1]").replace("[euler, heun]", "[euler]")
    plan = plan_sweep(load_sweep(written(tmp_path, path, text)))
    schedule = run_all(plan, store)
    assert not schedule.failures, schedule.failures
    frame = results_frame(plan, scores_in_store(plan, store))
    assert frame["fid_test"].notna().all() and frame["status"].tolist() == ["done"]
    (training,) = plan.trainings.values()
    taken = edm.load(store.folder("trainings", training.signature))
    assert math.isfinite(taken.sigma_data)
    if write is study:
        assert taken.sigma_data == ensure_data(store, training.data).sigma_data
