"""Trainings that begin with a trained network: identity by its weights, the plan, the table, what is refused."""

import json
import math
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import edm
from edm import registry
from edm.config import ModelConfig
from edm.files import MODEL, load_model, save_model
from edm.pretrained.read import digest_of
from experiments.errors import UserError
from experiments.inspection.compare import compare
from experiments.inspection.config_diff import shown
from experiments.inspection.explain import explain
from experiments.inspection.status import StatusReader
from experiments.store.layout import LOG
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_from_json, plan_to_json
from experiments.sweep.tasks import Training
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.tracking.records import record_plan
from experiments.trials.perform import perform
from tests.commandline import invoke
from tests.edm.pretrained.published import nvlabs_file
from tests.experiments.sweep.test_pretrained import diffusers, nvlabs, study
from tests.inprocess import run_all, without_ray
from tests.planning import load_sweep, plan_sweep
from tests.trainings import CONTEXT, StopAfter, losses, weights

pytestmark = pytest.mark.usefixtures("few_statistics")

SWEEP = """\
name: tuned
training:   {{from: {path}, kimg: 0.32, batch_size: 32, lr: 1.0e-3, ema_halflife_kimg: 0.1}}
sampling:   {{steps: 3, sampler: euler}}
evaluation: {{images: 120, features: classifier}}
resources:  {{sampling_batch: 40}}
"""


def written(folder: Path, path: Path | str, text: str = SWEEP) -> Path:
    (folder / "tuned.yaml").write_text(text.format(path=path))
    return folder / "tuned.yaml"


def planned(folder: Path, path: Path | str, *overrides: str, text: str = SWEEP) -> Plan:
    return plan_sweep(load_sweep(written(folder, path, text), overrides))


def trainings_of(plan: Plan) -> tuple[Training, Training]:
    """The network that a training begins with, and the training."""
    start, training = plan.trainings.values()
    return start, training


@pytest.fixture
def model(done: tuple[Plan, Store], tmp_path: Path) -> Path:
    """The folder of a model that the tiny sweep trained."""
    plan, store = done
    shutil.copytree(store.folder("trainings", next(iter(plan.trainings))), tmp_path / "model")
    return tmp_path / "model"


def change(model: Path) -> None:
    changed = load_model(model / MODEL)
    with torch.no_grad():
        next(changed.parameters()).mul_(1.001)
    save_model(changed, model / MODEL)


def test_the_network_is_that_of_the_file_and_is_taken_in_first(model: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, model)
    start, training = trainings_of(plan)
    assert start.pretrained is not None and training.depends_on == (start,)
    assert training.network == load_model(model / MODEL).config and training.flops > 0
    assert list(plan.trained) == [training.signature] and plan.names[start.signature] == "network/model"


def test_identity_is_the_weights_not_the_path(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "elsewhere")
    one = planned(tmp_path, model)
    assert planned(tmp_path, tmp_path / "elsewhere").evaluations.keys() == one.evaluations.keys()
    assert not planned(tmp_path, model, "training.kimg=0.64").evaluations.keys() & one.evaluations.keys()
    change(model)
    assert not planned(tmp_path, model).evaluations.keys() & one.evaluations.keys()


def test_every_seed_begins_with_the_same_network(model: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, model, text=SWEEP + "seeds: [0, 1]\n")
    assert len(plan.trained) == 2 and len(plan.trainings) == 3


def test_a_table_has_it_beside_a_training_from_the_start_and_its_network(
    model: Path, store: Store, tmp_path: Path
) -> None:
    axes = """zip:
  - model.from: [null, {path}, null]
    training.from: [null, null, {path}]
    model.preset: [nano, mini, mini]
report: {{rows: [model.from, training.from]}}
"""
    plan = planned(tmp_path, model, text=SWEEP.replace("from: {path}, ", "") + axes)
    assert not run_all(plan, store).failures
    assert len(plan.trained) == 2 and len(plan.trainings) == 3  # the row without a training shares what is taken in
    frame = results_frame(plan, scores_in_store(plan, store)).set_index("training.from", drop=False)
    notes = frame["notes"].str
    assert list(notes.contains("fine-tuned: the training began with the network of model")) == [False, False, True]
    assert list(notes.contains("pretrained: the network of model")) == [False, True, False]
    tuned = frame.iloc[2]
    assert tuned["model.dropout"] == 0 and math.isnan(tuned["model.cond_channels"]) and tuned["training.kimg"] == 0.32
    assert frame["fid_test"].nunique() == 3


def test_it_begins_where_the_other_training_ended(done: tuple[Plan, Store], model: Path, tmp_path: Path) -> None:
    """Its first losses are those of a trained network, not those of random weights."""
    others, store = done
    plan = planned(tmp_path, model)
    assert not run_all(plan, store).failures
    _, training = trainings_of(plan)
    from_the_start = losses(store, next(iter(others.trainings.values())))
    assert losses(store, training)[0] < 0.9 * from_the_start[0]
    taken, tuned = load_model(model / MODEL), edm.load(store.folder_of(training))
    assert tuned.sigma_data == taken.sigma_data
    assert "begins with the network of model (weights " in (store.folder_of(training) / LOG).read_text()
    result = store.finished(TrainingResult, training.signature)
    assert "fine-tuning" in result.code and "start: pretrained" in result.code


def test_an_interrupted_one_ends_with_the_same_weights(model: Path, store: Store, tmp_path: Path) -> None:
    start, training = trainings_of(planned(tmp_path, model))
    whole, resumed = store, StopAfter(tmp_path / "resumed")
    shutil.copytree(store.root, resumed.root)
    resumed.looks = 100
    for each in (whole, resumed):
        assert perform(each, start, CONTEXT).state == "done"
    assert perform(whole, training, CONTEXT).state == "done"
    resumed.looks = 5
    assert perform(resumed, training, replace(CONTEXT, report_s=0.0)).state == "interrupted"
    again = Store(resumed.root)
    assert perform(again, training, CONTEXT).state == "done"
    found, expected = weights(again, training), weights(whole, training)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert losses(again, training) == losses(whole, training)


def test_longer_ones_begin_where_shorter_ones_end(model: Path, store: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path, model, text=SWEEP + "grid:\n  training.kimg: [0.32, 0.64]\n")
    assert len(plan.shorter) == 1 and not run_all(plan, store).failures
    longer = max(plan.trained.values(), key=lambda training: training.config.kimg)
    assert store.finished(TrainingResult, longer.signature).continues in plan.trained
    change(model)
    assert not planned(tmp_path, model, "training.kimg=0.64").trained.keys() & plan.trained.keys()


def test_a_guide_is_fine_tuned_for_less_time(model: Path, store: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path, model, "sampling.guide={kimg: 0.16}", "sampling.guidance=2")
    assert len(plan.trained) == 2 and len(plan.trainings) == 3
    assert not run_all(plan, store).failures
    (note,) = results_frame(plan, scores_in_store(plan, store))["notes"]
    assert "fine-tuned: " in note and "its guide was fine-tuned: " in note


@pytest.mark.parametrize("write", [nvlabs, study, diffusers])
def test_every_format_is_trained_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    plan = planned(tmp_path, write(tmp_path, monkeypatch), "training.kimg=0.064")
    schedule = run_all(plan, store)
    assert not schedule.failures, schedule.failures
    start, training = trainings_of(plan)
    before, after = (load_model(store.folder_of(task) / MODEL) for task in (start, training))
    moved = [not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    assert math.isfinite(store.finished(TrainingResult, training.signature).val_loss or math.nan)


def test_other_classes_are_learnt_anew_and_the_table_says_so(store: Store, tmp_path: Path) -> None:
    config = ModelConfig(architecture="ddpmpp", channels=8, multipliers=(1, 2), depths=(1, 1)).network(1, 8, 3)
    nvlabs_file(tmp_path / "three.pkl", config)
    plan = planned(tmp_path, tmp_path / "three.pkl", "training.kimg=0.064")
    _, training = trainings_of(plan)
    assert training.network == replace(config, num_classes=10)
    assert not run_all(plan, store).failures
    (note,) = results_frame(plan, scores_in_store(plan, store))["notes"]
    assert "which had 3 other classes: the embedding of classes began at random" in note


def test_a_recorded_sweep_is_planned_again_without_the_file(model: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, model)
    content = json.loads(json.dumps(plan_to_json(plan)))
    shutil.rmtree(model)
    again = plan_from_json(content, tmp_path)
    assert again.evaluations == plan.evaluations and again.trainings == plan.trainings


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("training.from", "[{path}, {copy}, null]"),
        ("model.from", "[{path}, {copy}]"),
        ("sampling.guide", "[{{from: {path}}}, {{from: {copy}}}]"),
    ],
)
def test_a_recorded_sweep_may_name_the_same_weights_by_several_paths(
    model: Path, tmp_path: Path, axis: str, values: str
) -> None:
    shutil.copytree(model, tmp_path / "copy")
    shape = "sampling:   {{guidance: 2, " if axis == "sampling.guide" else "sampling:   {{"
    text = SWEEP.replace("from: {path}, ", "").replace("sampling:   {{", shape)
    written_values = values.format(path=model, copy=tmp_path / "copy").replace("{", "{{").replace("}", "}}")
    plan = planned(tmp_path, model, text=f"{text}grid:\n  {axis}: {written_values}\n")
    again = plan_from_json(json.loads(json.dumps(plan_to_json(plan))), tmp_path)
    assert again.evaluations == plan.evaluations and again.sweep.cells == plan.sweep.cells


def test_a_file_that_changed_after_planning_blocks_the_training(model: Path, store: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path, model)
    start, training = trainings_of(plan)
    change(model)
    schedule = run_all(plan, store)
    assert "holds other weights than when the sweep was planned" in schedule.failures[start.signature].message
    assert schedule.states[training.signature] == "blocked" and not store.has_begun("trainings", training.signature)


def test_the_commands_speak_of_it(model: Path, store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, model)
    before = invoke("plan", file, "--store", store.root)
    assert before.returncode == 0, before.stderr
    assert "1 cell from 1 training (0 in the store), 1 pretrained network and 1 evaluation" in before.stdout
    assert "1 training begins with the weights of model" in before.stdout
    with without_ray():
        ran = invoke("run", file, "--store", store.root)
    assert ran.returncode == 0 and "not up to date" not in ran.stdout, ran.stdout + ran.stderr
    assert re.search(r"done read network/model .*done train tuned:", ran.stdout, re.DOTALL)
    assert f"thenetworkof{model}" in "".join(invoke("why", "tuned", "--store", store.root).stdout.split())
    content = json.loads(invoke("plan", file, "--store", store.root, "--json").stdout)
    assert content["trainings"][0]["from"] == content["pretrained"][0]["signature"]
    assert "fine-tuned: " in (store.root / "reports" / "tuned" / "report.html").read_text()
    with closing(sqlite3.connect(store.root / "mlflow.db")) as database:
        query = "SELECT name, value FROM runs JOIN tags USING (run_uuid) WHERE key = 'mlflow.note.content'"
        described = dict(database.execute(query).fetchall())
    assert "| Network that was trained elsewhere | model (weights " in described["network/model"]
    assert "Training took" not in described["network/model"]
    published = invoke("publish", "tuned", "--to", tmp_path / "published", "--store", store.root)
    assert published.returncode == 0, published.stderr
    assert "beginning with the network of model (weights " in (tmp_path / "published" / "README.md").read_text()
    accepted = invoke("accept", "tuned", "--store", store.root)
    assert accepted.returncode == 0, accepted.stderr


OWN = """\
from torch import nn

from edm import extend


class Own(nn.Module):
    def __init__(self, channels, num_classes):
        super().__init__()
        self.label = nn.Embedding(num_classes + 1, channels)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x, c_noise, label, augment_labels):
        return self.last(x + self.label(label)[:, :, None, None])


@extend.network("own")
def own(image_channels, resolution, num_classes):
    return Own(image_channels, num_classes)
"""


def test_a_network_of_ones_own_is_published_drawn_from_and_trained_on(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    published = tmp_path / "published"

    def written_as(name: str, model: str, training: str) -> Path:
        text = f"extensions: [own.py]\nmodel: {model}\n" + SWEEP.format(path=training)
        return written(tmp_path, "", text.replace("name: tuned", f"name: {name}").replace("{", "{{").replace("}", "}}"))

    def run(name: str, model: str, training: str) -> str:
        file = written_as(name, model, training)
        with without_ray():
            ran = invoke("run", file, "--store", store.root)
        assert ran.returncode == 0 and "not up to date" not in ran.stdout, ran.stdout + ran.stderr
        return (store.root / "reports" / name / "results.csv").read_text()

    run("first", "{architecture: own}", "null")
    made = invoke("publish", "first", "--to", published, "--store", store.root)
    assert made.returncode == 0, made.stderr
    card = (published / "README.md").read_text()
    assert "extensions: [own.py]" in card and "In Python" not in card
    assert "pretrained: the network of published" in run("drawn", f"{{from: {published}}}", "null")
    assert "fine-tuned: the training began with" in run("tuned", "{}", str(published))
    file = written_as("other", f"{{from: {published}}}", "null")
    file.write_text(file.read_text().replace("extensions: [own.py]", ""))
    monkeypatch.setattr(registry, "_registered", {})  # a command of its own knows no code but what its file names
    refused = invoke("plan", file, "--store", store.root)
    assert "needs the code of 'own' (own.py, own); list its file under extensions" in refused.stderr


def test_networks_have_the_names_of_their_files(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "model"
    shutil.copytree(model, other)
    change(other)
    text = SWEEP.replace("from: {path}, ", "") + f"grid:\n  training.from: [{{path}}, {other}]\n"
    plan = planned(tmp_path, model, text=text)
    starts = [name for name in plan.names.values() if name.startswith("network/")]
    assert starts == [f"network/{tmp_path.name}/model", "network/other/model"]
    assert planned(tmp_path, other).names.keys() & plan.names.keys()


def test_the_network_itself_and_its_fine_tuning_have_names_of_their_own(model: Path, tmp_path: Path) -> None:
    axes = "zip: {{model.from: [null, {path}, null], training.from: [null, null, {path}]}}\n"
    plan = planned(tmp_path, model, text=SWEEP.replace("from: {path}, ", "") + axes)
    names = [plan.cell_name(cell) for cell in plan.cells]
    assert names == ["training.from=null", str(model), f"training.from={model}"]


def test_files_with_the_same_weights_are_remarked_on(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "copy")
    text = SWEEP.replace("from: {path}, ", "") + f"grid:\n  training.from: [null, {{path}}, {tmp_path / 'copy'}]\n"
    plan = planned(tmp_path, model, text=text)
    same = f"training.from: {model} and {tmp_path / 'copy'} come to the same computation, which is done once"
    assert plan.equivalences == [f"{same}: the files hold the same weights"]


def test_diff_and_why_compare_the_weights_that_trainings_begin_with(
    done: tuple[Plan, Store], model: Path, tmp_path: Path
) -> None:
    store, begins = done[1], f"model (weights {digest_of(load_model(model / MODEL))[:12]})"
    text = SWEEP.replace("from: {path}, ", "") + "grid:\n  training.from: [null, {path}]\n"
    record_plan(planned(tmp_path, model, text=text), store)
    found = compare("tuned:from=null", f"tuned:{model}", store).fields
    (difference,) = (one for one in found if not one.field.startswith("model."))
    assert (difference.field, shown(difference.here), shown(difference.there)) == ("training.from", "none", begins)
    remarks = [step.remark for step in explain(f"tuned:{model}", store).steps if step.what == "training"]
    assert f"training.from is {begins}, there none" in remarks[0]


def test_diff_compares_the_weights_of_trained_networks(model: Path, store: Store, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "other")
    change(tmp_path / "other")
    text = SWEEP.replace("from: {path}, ", "") + f"grid:\n  model.from: [{{path}}, {tmp_path / 'other'}]\n"
    record_plan(planned(tmp_path, model, text=text), store)
    (difference,) = compare(f"tuned:{model}", f"tuned:{tmp_path / 'other'}", store).fields
    assert difference.field == "model.from" and shown(difference.there).startswith("other (weights ")


def test_a_plan_says_that_a_network_has_changed_since_the_last_run(model: Path, store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, model)
    record_plan(planned(tmp_path, model), store)
    assert "other weights" not in invoke("plan", file, "--store", store.root).stdout
    change(model)
    for sweep in (file, "tuned"):
        said = invoke("plan", sweep, "--store", store.root)
        assert f"Warning: {model}: holds other weights than at the last run of tuned, so that" in said.stdout, said


def test_the_plan_counts_only_what_is_trained(model: Path, store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, model, SWEEP + "grid:\n  training.kimg: [0.32, 0.64]\n")
    said = invoke("plan", file, "--store", store.root).stdout
    assert "1 training begins where a shorter one ends: 0.64 of 0.96 kimg are left to train" in said


def test_status_says_why_it_cannot_begin(model: Path, store: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path, model)
    change(model)
    run_all(plan, store)
    (cell,) = StatusReader(plan, store).cells()
    assert cell.status.state == "failed" and "network/model failed: " in cell.status.note


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("training.from=absent.pkl",), "training.from: absent.pkl: does not exist"),
        (("training.from=''",), "training.from: is empty; give the path"),
        (
            ("model.preset=nano",),
            "model.preset: 'nano' describes another network than that of training.from",
        ),
        (
            ("model.norm=group",),
            "model.norm: 'group' describes another network than that of training.from, which has norm 'batch'",
        ),
        (("model.channels=24",), "model.channels: 24 describes another network"),
        (("data.name=cifar10",), "draws images with 1 channel, and those of cifar10 have 3; use images like"),
        (("sampling.guide={channels: 8}", "sampling.guidance=2"), "which the network of training.from decides"),
        (("sampling.resolution=9",), "sampling.resolution: 9 is not a multiple of 4"),
    ],
)
def test_what_does_not_fit_is_answered_with_a_line(
    model: Path, tmp_path: Path, more: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UserError) as refusal:
        planned(tmp_path, model, *more)
    assert sentence in str(refusal.value)


def test_a_model_that_describes_the_same_network_is_accepted(model: Path, tmp_path: Path) -> None:
    network = load_model(model / MODEL).config
    shape = f"{{{{preset: nano, channels: {network.channels}, attention: {str(any(network.heads)).lower()}}}}}"
    text = SWEEP.replace("training: ", f"model: {shape}\ntraining: ") + "grid:\n  training.from: [null, {path}]\n"
    plan = planned(tmp_path, model, text=text.replace("from: {path}, ", ""))
    own, tuned = plan.trained.values()
    assert own.network == tuned.network and own.signature != tuned.signature
    assert {planned_cell.cell.value("model.preset") for planned_cell in plan.cells} == {"nano"}


def test_dropout_is_the_trainings_own(model: Path, tmp_path: Path) -> None:
    _, training = trainings_of(planned(tmp_path, model, "model.dropout=0.2"))
    assert training.network.dropout == 0.2


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("model.dropout=0.1", "model.dropout: is decided by a network of diffusers"),
        ("training.augment=0.1", "needs an input of the network for the augmentation"),
        ("training.noise_distribution=iddpm", "has noise levels above the 157 that the network"),
    ],
)
def test_what_a_network_of_diffusers_cannot_learn_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, sentence: str
) -> None:
    with pytest.raises(UserError) as refusal:
        planned(tmp_path, diffusers(tmp_path, monkeypatch), more)
    assert sentence in str(refusal.value)
