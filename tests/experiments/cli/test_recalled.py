"""A sweep that is run again by its name, when a folder or a network that it names is gone."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edm.config import NetworkConfig
from edm.data import folder as folder_module
from edm.files import save_model
from edm.precondition import Denoiser
from experiments.cli.main import app
from experiments.errors import UserError
from experiments.store.store import Store
from experiments.tracking.records import record_plan
from experiments.trials.datasets import ensure_prepared
from experiments.trials.perform import perform
from tests.datafiles import image_tree
from tests.inprocess import CONTEXT
from tests.planning import load_sweep, plan_sweep

ROOT = Path(__file__).parents[3]
SWEEP = """\
name: birds
data:       {{name: folder, path: {folder}, resolution: 8}}
model:      {{preset: nano}}
training:   {{kimg: 0.1, batch_size: 10}}
evaluation: {{images: 100, features: classifier}}
"""


@pytest.fixture
def folder(tmp_path: Path, store: Store) -> Path:
    """Images that were planned once, under the name of birds."""
    images = image_tree(tmp_path / "images", *(f"{kind}/{i}.png" for kind in "ab" for i in range(20)))
    (tmp_path / "birds.yaml").write_text(SWEEP.format(folder=images))
    record_plan(plan_sweep(load_sweep(tmp_path / "birds.yaml")), store)
    return images


def command(*words: str, store: Store) -> Result:
    folder_module._opened.clear()  # as in another process
    return CliRunner().invoke(app, [*words, "--store", str(store.root)])


@pytest.mark.parametrize("words", [("plan", "birds"), ("run", "birds", "--dry-run")], ids=["plan", "run"])
def test_without_its_folder_it_goes_on_from_prepared_images(folder: Path, store: Store, words: tuple[str, ...]) -> None:
    plan = plan_sweep(load_sweep(folder.parent / "birds.yaml"))
    (source,) = plan.sources.values()
    ensure_prepared(store, source)
    shutil.rmtree(folder)
    said = command(*words, store=store)
    told = " ".join(said.output.split())
    assert said.exit_code == 0 and "1 cell from 1 training" in told
    assert f"Warning: {folder}: no such folder" in told
    assert "birds goes on from what the store holds of it" in told


def test_without_prepared_images_one_sentence_says_what_is_gone(folder: Path, store: Store) -> None:
    shutil.rmtree(folder)
    said = command("plan", "birds", store=store)
    assert isinstance(said.exception, UserError)
    gone = f"birds: {folder}: no such folder; give a folder or a zip archive of images"
    assert str(said.exception) == gone


def test_an_image_that_changed_plans_it_again(folder: Path, store: Store) -> None:
    plan = plan_sweep(load_sweep(folder.parent / "birds.yaml"))
    (source,) = plan.sources.values()
    ensure_prepared(store, source)
    (folder / "a" / "0.png").write_bytes((folder / "b" / "0.png").read_bytes())
    said = command("plan", "birds", store=store)
    assert said.exit_code == 0 and "goes on from" not in " ".join(said.output.split())


def test_images_that_changed_since_the_last_run_are_pointed_out(folder: Path, store: Store) -> None:
    file = str(folder.parent / "birds.yaml")
    (source,) = plan_sweep(load_sweep(file)).sources.values()
    ensure_prepared(store, source)
    for words in (("plan", file), ("report", file, "--format", "md")):
        assert "other images" not in command(*words, store=store).output
    (folder / "a" / "new.png").write_bytes((folder / "b" / "0.png").read_bytes())
    for words in (("plan", file), ("plan", "birds"), ("run", file, "--dry-run"), ("report", file, "--format", "md")):
        said = command(*words, store=store)
        told = " ".join(said.output.split())
        assert said.exit_code == 0
        assert f"Warning: {folder}: has other images than at the last run of birds (40 then, 41 now), so" in told
    (folder / "a" / "new.png").unlink()
    assert "other images" not in command("plan", file, store=store).output
    (folder / "a" / "0.png").rename(folder / "b" / "new.png")
    told = " ".join(command("plan", file, store=store).output.split())
    assert "has other images or other labels than at the last run of birds, so that no earlier result" in told


def test_images_that_were_never_prepared_have_not_changed(folder: Path, store: Store) -> None:
    (folder / "a" / "0.png").write_bytes(b"broken, so that the first run fails")
    folder_module._opened.clear()  # as in another process
    record_plan(plan_sweep(load_sweep(folder.parent / "birds.yaml")), store)
    for words in (("plan", "birds"), ("plan", str(folder.parent / "birds.yaml"))):
        assert "last run of birds" not in " ".join(command(*words, store=store).output.split())


def test_without_its_network_it_goes_on_from_the_store(tmp_path: Path, store: Store) -> None:
    save_model(Denoiser(NetworkConfig(1, 8, 10, 8, (1,), (0,), 0), 0.5), tmp_path / "own.safetensors")
    text = SWEEP.replace("{{preset: nano}}", "{{from: {folder}}}").replace("training: ", "#")
    text = text.replace("{{name: folder, path: {folder}, resolution: 8}}", "{{name: digits}}")
    (tmp_path / "birds.yaml").write_text(text.format(folder=tmp_path / "own.safetensors"))
    plan = plan_sweep(load_sweep(tmp_path / "birds.yaml"))
    record_plan(plan, store)
    (tmp_path / "own.safetensors").rename(tmp_path / "kept.safetensors")
    assert isinstance(command("plan", "birds", store=store).exception, UserError)
    (tmp_path / "kept.safetensors").rename(tmp_path / "own.safetensors")
    (training,) = plan.trainings.values()
    perform(store, training, CONTEXT)
    (tmp_path / "own.safetensors").unlink()
    said = command("plan", "birds", store=store)
    told = " ".join(said.output.split())
    assert said.exit_code == 0 and "own.safetensors: does not exist; " in told and "1 pretrained network" in told


@pytest.mark.parametrize(
    "words", [("plan", "--set", "training.kimg=1"), ("run", "--gpus", "0", "--set", "seeds=[1]")], ids=["plan", "run"]
)
def test_overrides_of_a_variant_by_its_name_ask_for_the_file_of_its_sweep(store: Store, words: tuple[str, ...]) -> None:
    record_plan(plan_sweep(load_sweep(ROOT / "sweeps" / "digits.yaml", ("evaluation.images=100",))), store)
    said = command(words[0], "digits@evaluation.images=100", *words[1:], store=store)
    assert said.exit_code != 0 and isinstance(said.exception, UserError)
    assert str(said.exception).endswith(
        "can only be overridden for a sweep file; give the file, such as sweeps/digits.yaml"
    )


def test_resources_of_a_sweep_by_its_name_are_overridden(store: Store) -> None:
    record_plan(plan_sweep(load_sweep(ROOT / "sweeps" / "digits.yaml")), store)
    said = command("plan", "digits", "--gpus", "0", "--cpus-per-trial", "1", store=store)
    assert said.exit_code == 0 and "4 trainings" in said.output
    wrong = command("plan", "digits", "--set", "resources.gpus=many", store=store)
    assert isinstance(wrong.exception, UserError)
    assert str(wrong.exception).startswith("--set resources.gpus=many: resources.gpus: 'many'")
    shared = command("run", "digits", "--gpus", "97", "--dry-run", store=store)
    assert isinstance(shared.exception, UserError) and "97 GPUs cannot share" in str(shared.exception)
