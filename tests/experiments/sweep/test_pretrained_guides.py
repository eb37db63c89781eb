"""Autoguidance by a trained network of a file: as by the training that it comes from, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from edm.config import ModelConfig
from edm.files import load_model, save_model
from edm.precondition import Denoiser
from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_from_json, plan_to_json
from experiments.sweep.tasks import Training
from experiments.tracking.frames import results_frame, scores_in_store
from tests.commandline import invoke
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep

SWEEP = """\
name: guided
model:      {{preset: nano, channels: 8}}
training:   {{kimg: 0.64, batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1, label_dropout: 0.1}}
sampling:   {{steps: 3, sampler: euler, guidance: 2, guide: {guide}}}
evaluation: {{images: 120, features: classifier}}
resources:  {{sampling_batch: 40}}
"""


def plan_of(folder: Path, guide: str, *overrides: str, text: str = SWEEP) -> Plan:
    (folder / "guided.yaml").write_text(text.format(guide=guide))
    return plan_sweep(load_sweep(folder / "guided.yaml", overrides))


def fid(plan: Plan, store: Store) -> float:
    assert not run_all(plan, store).failures
    (value,) = results_frame(plan, scores_in_store(plan, store))["fid_test"]
    return value


def guide_of(plan: Plan) -> Training:
    (evaluation,) = plan.evaluations.values()
    assert evaluation.guide is not None
    return evaluation.guide


@pytest.fixture
def model(done: tuple[Plan, Store], tmp_path: Path) -> Path:
    """The folder of a network with attention that the tiny sweep trained."""
    plan, store = done
    signature = next(name for name, training in plan.trainings.items() if any(training.network.heads))
    shutil.copytree(store.folder("trainings", signature), tmp_path / "model")
    return tmp_path / "model"


def network_file(path: Path, classes: int = 10, resolution: int = 8) -> Path:
    save_model(Denoiser(ModelConfig("nano", channels=8).network(1, resolution, classes), 0.5).eval(), path)
    return path


def test_it_guides_as_the_training_it_comes_from(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    derived = plan_of(tmp_path, "{kimg: 0.32}")
    expected = fid(derived, store)
    folder = store.folder("trainings", guide_of(derived).signature)
    plan = plan_of(tmp_path, f"{{from: {folder}}}")
    assert plan.trained.keys() < derived.trained.keys() and guide_of(plan).pretrained is not None
    assert fid(plan, store) == expected
    (notes,) = results_frame(plan, scores_in_store(plan, store))["notes"]
    assert f"its guide is pretrained: the network of {folder.name}" in notes


def test_a_pretrained_network_is_guided_by_another(model: Path, store: Store, tmp_path: Path) -> None:
    weaker = network_file(tmp_path / "weaker.safetensors")
    pretrained = f"model.from={model}"
    text = "\n".join(line for line in SWEEP.splitlines() if not line.startswith(("model:", "training:")))
    plan = plan_of(tmp_path, f"{{from: {weaker}}}", pretrained, text=text)
    assert not plan.trained and len(plan.trainings) == 2
    alone = plan_of(tmp_path, "null", pretrained, text=text)
    assert fid(plan, store) != fid(alone, store)


def test_a_guide_without_classes_guides_all_of_them(store: Store, tmp_path: Path) -> None:
    weaker = network_file(tmp_path / "weaker.safetensors", classes=0)
    assert fid(plan_of(tmp_path, f"{{from: {weaker}}}"), store) > 0


def test_its_weights_are_its_identity(model: Path, tmp_path: Path) -> None:
    shutil.copy(model / "model.safetensors", tmp_path / "elsewhere.safetensors")
    one, same = (
        plan_of(tmp_path, f"{{from: {model}}}"),
        plan_of(tmp_path, f"{{from: {tmp_path}/elsewhere.safetensors}}"),
    )
    assert one.evaluations.keys() == same.evaluations.keys()
    changed = load_model(model / "model.safetensors")
    next(changed.parameters()).data.mul_(1.001)
    save_model(changed, tmp_path / "elsewhere.safetensors")
    other = plan_of(tmp_path, f"{{from: {tmp_path}/elsewhere.safetensors}}")
    assert not one.evaluations.keys() & other.evaluations.keys()


def test_several_guides_are_an_axis(model: Path, tmp_path: Path) -> None:
    weaker = network_file(tmp_path / "weaker.safetensors")
    guides = f"grid:\n  sampling.guide: [{{{{from: {model}}}}}, {{{{from: {weaker}}}}}, {{{{kimg: 0.32}}}}]\n"
    plan = plan_of(tmp_path, "null", text=SWEEP.replace(", guide: {guide}", "") + guides)
    assert len(plan.evaluations) == 3 and len(plan.trained) == 2 and len(plan.trainings) == 4
    assert [plan.cell_name(cell) for cell in plan.cells] == [
        f"guide=from={model}",
        f"guide=from={weaker}",
        "guide=kimg=0.32",
    ]


def test_a_recorded_sweep_is_planned_again_without_the_file(model: Path, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, f"{{from: {model}}}")
    content = json.loads(json.dumps(plan_to_json(plan)))
    shutil.rmtree(model)
    assert plan_from_json(content, tmp_path).evaluations == plan.evaluations


def test_the_command_line_runs_it_and_draws_from_it(model: Path, done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    plan, file = plan_of(tmp_path, f"{{from: {model}}}"), tmp_path / "guided.yaml"
    assert not run_all(plan, store).failures
    planned = invoke("plan", file, "--store", store.root)
    assert "1 pretrained network" in planned.stdout and "nothing is left to do" in planned.stdout.lower()
    drawn = invoke("sample", *plan.evaluations, "--store", store.root, "--out", tmp_path / "grid.png")
    assert drawn.returncode == 0 and (tmp_path / "grid.png").exists(), drawn.stderr


@pytest.mark.parametrize(
    ("guide", "sentence"),
    [
        ("{from: absent.pkl}", "guided.yaml:4: sampling.guide: absent.pkl: does not exist"),
        ("{from: ''}", "from: is empty; give the path of a trained network"),
        ("{from: 3}", "from: expected text, not 3"),
        ("{from: a.pkl, kimg: 1}", "kimg: is decided by the network of guide.from; remove one of the two"),
        ("{frm: a.pkl}", "did you mean 'from'?"),
    ],
)
def test_a_wrong_file_is_answered_with_a_line(tmp_path: Path, guide: str, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        plan_of(tmp_path, guide)
    assert sentence in str(refusal.value)


def test_networks_that_cannot_guide_are_refused(model: Path, tmp_path: Path) -> None:
    larger = network_file(tmp_path / "larger.safetensors", resolution=16)
    without = network_file(tmp_path / "without.safetensors", classes=0)
    for guide, main, sentence in [
        (larger, None, "draws 16x16 images, and those of digits are 8x8; use the data set that it was trained on"),
        (model, model, "is the same network as the one it guides; give a weaker one"),
        (model, without, "knows classes, and the network it guides does not; give one without classes"),
    ]:
        text = SWEEP if main is None else SWEEP.replace("{{preset: nano, channels: 8}}", f"{{{{from: {main}}}}}")
        with pytest.raises(UserError, match=r"sampling\.guide") as refusal:
            plan_of(tmp_path, f"{{from: {guide}}}", text=text)
        assert sentence in str(refusal.value)
