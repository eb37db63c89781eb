"""Trainings that begin with the network of another training of the same sweep file (training.from as a mapping)."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from experiments.errors import UserError
from experiments.inspection.compare import compare
from experiments.inspection.config_diff import shown
from experiments.inspection.explain import explain
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.document import parse_document
from experiments.sweep.names import changes_text
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_from_json, plan_to_json
from experiments.sweep.tasks import Training
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.tracking.records import record_plan
from tests.commandline import invoke
from tests.inprocess import run_all, without_ray
from tests.planning import load_sweep, plan_sweep
from tests.trainings import weights

SWEEP = """\
name: tuned
model:      {preset: nano, channels: 8}
training:   {kimg: 0.32, batch_size: 32, lr: 1.0e-3, ema_halflife_kimg: 0.1, from: FROM}
sampling:   {steps: 3, sampler: euler}
evaluation: {images: 120, features: classifier}
resources:  {sampling_batch: 40}
"""
AXIS = "grid: {training.from: [null, {training.lr: 2.0e-3}]}\n"


def written(folder: Path, start: str, more: str = "") -> Path:
    (folder / "tuned.yaml").write_text(SWEEP.replace("FROM", start) + more)
    return folder / "tuned.yaml"


def planned(folder: Path, start: str, more: str = "", *overrides: str) -> Plan:
    return plan_sweep(load_sweep(written(folder, start, more), overrides))


def trainings_of(plan: Plan) -> tuple[Training, Training]:
    """The training that comes first, and the one that begins with its network."""
    first, training = plan.trainings.values()
    return first, training


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Grey pictures of 3 classes."""
    for i in range(90):
        name = tmp_path / "pictures" / "abc"[i % 3] / f"{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (16, 16), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(name)
    return tmp_path / "pictures"


def test_it_is_the_cells_own_training_but_for_what_it_names(tmp_path: Path) -> None:
    plan = planned(tmp_path, "{training.lr: 2.0e-3, training.kimg: 0.64}")
    first, training = trainings_of(plan)
    assert training.depends_on == (first,) and first.depends_on == () and len(plan.trained) == 2
    assert first.network == training.network and first.data == training.data and first.seed == training.seed
    assert (first.config.lr, first.config.total_kimg, first.config.batch_size) == (2.0e-3, 0.64, 32)
    assert (training.config.lr, training.config.total_kimg) == (1.0e-3, 0.32)
    assert plan.names[first.signature] == "tuned/pretraining"


def test_it_is_shared_with_a_cell_that_trains_the_same(tmp_path: Path) -> None:
    alone = planned(tmp_path, "null", "", "training.lr=2.0e-3")
    first, _ = trainings_of(planned(tmp_path, "{training.lr: 2.0e-3}"))
    assert list(alone.trainings) == [first.signature]


def test_each_seed_has_its_own_unless_the_mapping_names_one(tmp_path: Path) -> None:
    own = planned(tmp_path, "{training.lr: 2.0e-3}", "seeds: [0, 1]\n")
    assert [training.seed for training in own.trainings.values()] == [0, 0, 1, 1]
    shared = planned(tmp_path, "{training.lr: 2.0e-3, seed: 5}", "seeds: [0, 1]\n")
    assert [training.seed for training in shared.trainings.values()] == [5, 0, 1]


def test_identity_is_that_of_the_first_training(tmp_path: Path) -> None:
    def last(start: str) -> str:
        return trainings_of(planned(tmp_path, start))[1].signature

    one = last("{training.lr: 2.0e-3}")
    assert one == last("{training.lr: 0.002, training.batch_size: 32}")
    assert len({one, last("{training.lr: 2.0e-3, training.kimg: 0.64}"), last("{training.lr: 2.0e-3, seed: 1}")}) == 3


def test_it_begins_with_the_weights_of_the_first_training(store: Store, tmp_path: Path) -> None:
    """It comes to the same weights as a training that begins with the folder of the first one's model."""
    plan = planned(tmp_path, "{training.lr: 2.0e-3}")
    assert not run_all(plan, store).failures
    first, training = trainings_of(plan)
    shutil.copytree(store.folder_of(first), tmp_path / "model")
    by_path = planned(tmp_path, str(tmp_path / "model"))
    assert not run_all(by_path, store).failures
    (other,) = by_path.trained.values()
    found, expected = weights(store, training), weights(store, other)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    (note,) = results_frame(plan, scores_in_store(plan, store))["notes"]
    assert note.endswith("fine-tuned: the training began with the network of a training of 0.32 kimg on digits")


def test_images_of_another_data_set_come_first(store: Store, pictures: Path, tmp_path: Path) -> None:
    start = f"{{data.name: folder, data.path: {pictures}, data.resolution: 16, data.channels: 1}}"
    plan = planned(tmp_path, start)
    first, training = trainings_of(plan)
    assert (first.network.resolution, first.network.num_classes) == (16, 3)
    assert (training.network.resolution, training.network.num_classes) == (8, 10)
    assert {source.config.name for source in plan.sources.values()} == {"folder", "digits"}
    assert not run_all(plan, store).failures
    (note,) = results_frame(plan, scores_in_store(plan, store))["notes"]
    assert "kimg on pictures, which had 3 other classes: the embedding of classes began at random" in note
    result = store.finished(TrainingResult, training.signature)
    assert "fine-tuning" in result.code and "start: training" in result.code


def test_a_recorded_sweep_is_planned_again_without_its_files(pictures: Path, tmp_path: Path) -> None:
    start = f"{{data.name: folder, data.path: {pictures}, data.resolution: 16, data.channels: 1}}"
    plan = planned(tmp_path, "null", f"grid: {{training.from: [null, {start}]}}\nseeds: [0, 1]\n")
    content = json.loads(json.dumps(plan_to_json(plan)))
    shutil.rmtree(pictures)
    again = plan_from_json(content, tmp_path)
    assert again.evaluations == plan.evaluations and again.trainings == plan.trainings
    assert again.names == plan.names and again.sweep.cells == plan.sweep.cells


def test_pretrainings_may_begin_with_others(store: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path, "{training.lr: 2.0e-3, training.from: {training.lr: 4.0e-3}}")
    rates = [training.config.lr for training in plan.trainings.values()]
    assert rates == [4.0e-3, 2.0e-3, 1.0e-3]
    assert [plan.names[name] for name in plan.trainings] == [
        "tuned/pretraining/pretraining",
        "tuned/pretraining",
        "tuned",
    ]
    steps = explain("tuned", recorded(plan, store)).steps
    assert [step.what for step in steps[1:4]] == ["pretraining", "pretraining", "training"]
    assert [step.remark for step in steps[2:4]] == ["waits for its pretraining"] * 2
    assert not run_all(plan, store).failures


def test_a_data_set_that_is_described_anew_stays_so_for_what_comes_before(pictures: Path, tmp_path: Path) -> None:
    own = f"data.name=folder,data.path={pictures},data.resolution=8,data.channels=1".split(",")
    start = "{data.name: digits, training.from: {training.lr: 4.0e-3}}"
    plan = planned(tmp_path, start, "", *own, "evaluation.features=inception")
    assert [training.data.config.name for training in plan.trainings.values()] == ["digits", "digits", "folder"]


def recorded(plan: Plan, store: Store) -> Store:
    record_plan(plan, store)
    return store


def test_pretrainings_share_steps_with_other_trainings(store: Store, tmp_path: Path) -> None:
    more = "grid: {training.from: [null, {training.kimg: 0.64}, {training.kimg: 1.28}]}\n"
    plan = planned(tmp_path, "null", more)
    assert sorted(len(shorter) for shorter in plan.shorter.values()) == [1, 2]
    assert not run_all(plan, store).failures
    longest = max(plan.trainings.values(), key=lambda training: training.config.kimg)
    assert store.finished(TrainingResult, longest.signature).continues is not None


def test_a_guide_is_a_shorter_fine_tuning_of_the_same_network(tmp_path: Path) -> None:
    guided = ("sampling.guide={kimg: 0.16}", "sampling.guidance=2")
    plan = planned(tmp_path, "{training.lr: 2.0e-3}", "", *guided)
    (evaluation,) = plan.evaluations.values()
    assert evaluation.guide is not None and evaluation.guide.start == evaluation.training.start
    assert len(plan.trainings) == 3


def test_evaluations_of_several_seeds_are_kin(tmp_path: Path) -> None:
    more = f"{AXIS}seeds: [0, 1]\n"
    plan = planned(tmp_path, "null", more, "evaluation.stop_when=0.999")
    assert [len(evaluation.kin) for evaluation in plan.evaluations.values()] == [2, 2, 2, 2]


def test_what_the_first_training_lacks_blocks_the_second(store: Store, pictures: Path, tmp_path: Path) -> None:
    start = f"{{data.name: folder, data.path: {pictures}, data.resolution: 16, data.channels: 1}}"
    plan = planned(tmp_path, start)
    shutil.rmtree(pictures)
    schedule = run_all(plan, store)
    first, training = trainings_of(plan)
    assert [schedule.states[task.signature] for task in (first, training)] == ["failed", "blocked"]


def test_the_commands_speak_of_it(store: Store, tmp_path: Path) -> None:
    file = written(tmp_path, "null", AXIS)
    said = invoke("plan", file, "--store", store.root).stdout
    assert "1 training begins with the network of another, which is trained first" in said
    assert "2 cells from 3 trainings (0 in the store) and 2 evaluations" in said
    with without_ray():
        ran = invoke("run", file, "--store", store.root)
    assert ran.returncode == 0 and "not up to date" not in ran.stdout, ran.stdout + ran.stderr
    assert "done train lr=0.002/pretraining" in ran.stdout
    why = invoke("why", "tuned:lr=0.002", "--store", store.root).stdout
    assert [line.split()[0] for line in why.splitlines()[3:6]] == ["data", "pretraining", "training"]
    content = json.loads(invoke("plan", file, "--store", store.root, "--json").stdout)
    by_name = {training["name"]: training for training in content["trainings"]}
    started = by_name["lr=0.002"]["from"]
    assert started == by_name["lr=0.002/pretraining"]["signature"]
    assert "lr=0.002" in (store.root / "reports" / "tuned" / "results.csv").read_text()
    published = invoke("publish", "tuned:lr=0.002", "--to", tmp_path / "published", "--store", store.root)
    assert published.returncode == 0, published.stderr
    assert "network of a training of 0.32 kimg on digits" in (tmp_path / "published" / "README.md").read_text()


def test_diff_names_the_trainings_that_differ(store: Store, tmp_path: Path) -> None:
    record_plan(planned(tmp_path, "null", AXIS), store)
    (difference,) = compare("tuned:from=null", "tuned:lr=0.002", store).fields
    assert (difference.field, shown(difference.here)) == ("training.from", "none")
    assert "(0.32 kimg on digits)" in shown(difference.there)


@pytest.mark.parametrize(
    ("axis", "start", "value"),
    [
        ("training.from", "null", "{training.lr: 2.0e-3}"),
        ("sampling.guide", "null", "{kimg: 0.16}"),
    ],
)
def test_mappings_can_be_excluded_and_compared_with(tmp_path: Path, axis: str, start: str, value: str) -> None:
    grid = f"grid: {{{axis}: [null, {value}], sampling.steps: [3, 4]}}\n"
    exclude = f"exclude: [{{{axis}: {value}, sampling.steps: 4}}]\n"
    baseline = f"report: {{baseline: {{{axis}: {value}}}}}\n"
    plan = planned(tmp_path, start, grid + exclude + baseline, "sampling.guidance=2")
    assert len(plan.cells) == 3
    (table,) = plan.sweep.report
    assert table.baseline == {axis: results_frame(plan, {})[axis].iloc[-1]}
    with pytest.raises(UserError, match="is not a value of"):
        planned(tmp_path, start, grid + baseline.replace("2.0e-3", "9.0e-3").replace("0.16", "0.08"))


@pytest.mark.parametrize(
    ("start", "sentence"),
    [
        ("{}", "training.from: {} changes nothing; write for example {data.name: celeba"),
        ("{kimg: 5}", "training.from: kimg is no field of a training; write training.kimg"),
        ("{training: {kimg: 5}}", "training.from: training is no field of a training; write training.kimg"),
        ("{training.kmig: 5}", "training.kmig: unknown field; did you mean 'kimg'?"),
        ("{training.kimg: -5}", "training.kimg: -5.0 is not above 0"),
        ("{model.preset: tiny}", "training.from: model.preset cannot differ"),
        ("{sampling.steps: 5}", "is no field of a training; give fields of data and training"),
        ("{seed: one}", "training.from: seed: 'one' is not a whole number"),
        ("{seed: -1}", "training.from: seed: -1 is not a seed"),
        ("{data.name: cifar10}", "training.from: 'cifar10' draws images with 3 channels"),
        ("{data.name: folder}", "data.path: is missing"),
        ("{data.name: folder, data.path: absent, data.resolution: 8}", "absent: no such folder"),
        ("{training.from: absent.pkl}", "training.from: training.from: absent.pkl: does not exist"),
        ("{training.from: {training.kimg: 0}}", "training.kimg: 0.0 is not above 0"),
    ],
)
def test_what_does_not_fit_is_answered_with_its_line(tmp_path: Path, start: str, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        planned(tmp_path, start)
    assert str(refusal.value).startswith(f"{tmp_path}/tuned.yaml:3: ") and sentence in str(refusal.value)


def test_a_guide_cannot_be_another_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"which the network of training\.from decides"):
        planned(tmp_path, "{training.lr: 2.0e-3}", "", "sampling.guide={channels: 4}", "sampling.guidance=2")


def test_checkpoints_to_keep_are_those_of_the_last_training(tmp_path: Path) -> None:
    first, training = trainings_of(planned(tmp_path, "{training.kimg: 0.16}", "", "training.keep=[0.32]"))
    assert (first.config.keep, training.config.keep) == ("last", (0.32,))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ("{data.name: cifar10, training.kimg: 500}", "cifar10,kimg=500"),
        ("{data.name: folder, data.path: some/birds, data.resolution: 64}", "some/birds,resolution=64"),
        ("{training.flip: true, training.clip_norm: null, seed: 3}", "flip=true,clip_norm=null,seed=3"),
        ("{training.kimg: 2, training.from: {data.name: digits}}", "kimg=2,from=(digits)"),
        ("{training.power_ema: [0.05, 0.1], model.dropout: 0.1}", "power_ema=0.05,0.1,dropout=0.1"),
    ],
)
def test_it_is_called_by_what_it_names(changes: str, text: str) -> None:
    assert changes_text(parse_document("text", changes).data) == text
