"""Networks in every published format, through the command itself with Ray and MLflow, in one run."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import edm
from edm.config import ModelConfig
from edm.files import save_model
from edm.networks.build import start
from edm.precondition import Denoiser
from edm.pretrained.read import digest_of, read_pretrained
from edm.pretrained.study import configurations
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.database import embedded_uri
from tests.commandline import invoke, run
from tests.edm.pretrained.published import nvlabs_file
from tests.edm.pretrained.test_diffusers import folder as diffusers_folder
from tests.edm.pretrained.test_study import checkpoint
from tests.planning import load_sweep, plan_sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SIDE, CLASSES, PER_CLASS = 32, 10, 40
SWEEP = """\
name: others
data:       {{name: folder, path: images, resolution: 32, channels: 1}}
sampling:   {{sampler: euler, steps: 1}}
evaluation: {{images: 70, features: classifier, splits: [train], reference: all}}
grid:
  model.from: [{files}]
resources:  {{sampling_batch: 35}}
"""


def own(place: Path) -> None:
    config = ModelConfig("nano", channels=8).network(1, SIDE, CLASSES)
    place.mkdir()
    save_model(Denoiser(config, 0.6, start(config, torch.Generator().manual_seed(0))), place / "model.safetensors")


def edm_pickle(place: Path) -> None:
    config = ModelConfig(architecture="ncsnpp", channels=8, multipliers=(1, 2), depths=(1, 1))
    nvlabs_file(place, config.network(1, SIDE, CLASSES))


def edm2_pickle(place: Path) -> None:
    config = ModelConfig(architecture="edm2", channels=8, multipliers=(1, 2), depths=(1, 1))
    nvlabs_file(place, replace(config.network(1, SIDE, CLASSES), uncertainty=True), half=True)


def study(place: Path) -> None:
    checkpoint(place, list(configurations())[1])  # FashionMNIST without attention


def diffusers(place: Path) -> None:
    diffusers_folder(place, side=SIDE, beta_end=0.15)  # beyond a noise level of 80


FORMATS: dict[str, Callable[[Path], None]] = {
    "own": own,
    "edm.pkl": edm_pickle,
    "edm2.pkl": edm2_pickle,
    "checkpoint.pth": study,
    "ddpm": diffusers,
}


@dataclass(frozen=True)
class Ran:
    """The folder of a run, what it printed, its plan and its store."""

    folder: Path
    output: str
    plan: Plan
    store: Store


def write_images(folder: Path) -> None:
    """Write images that a classifier tells apart at once: a bright bar on noise, in a folder for each class."""
    noise = np.random.default_rng(0)
    for label in range(CLASSES):
        (folder / str(label)).mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = noise.integers(0, 100, (SIDE, SIDE), dtype=np.uint8)
            pixels[3 * label : 3 * label + 3] = 255
            Image.fromarray(pixels).save(folder / str(label) / f"{number}.png")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("others")
    write_images(folder / "images")
    for name, write in FORMATS.items():
        write(folder / name)
    file = folder / "others.yaml"
    file.write_text(SWEEP.format(files=", ".join(FORMATS)))
    done = run("run", file, "--store", folder / "store", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return Ran(folder, done.stdout, plan_sweep(load_sweep(file)), Store(folder / "store"))


def test_a_run_fills_a_table_with_a_row_for_every_format(ran: Ran) -> None:
    assert "5 cells from 0 trainings (0 in the store), 5 pretrained networks" in ran.output
    frame = pd.read_csv(ran.store.root / "reports" / "others" / "results.csv")
    assert list(frame["model.from"]) == list(FORMATS) and (frame["status"] == "done").all()
    assert np.isfinite(frame["fid_train"]).all() and frame["fid_train"].nunique() == len(FORMATS)
    assert frame["notes"].str.contains("pretrained: the network of ").all()
    page = (ran.store.root / "reports" / "others" / "report.html").read_text()
    assert all(f"pretrained: the network of {name}" in page for name in FORMATS)


def test_the_store_holds_the_networks_of_the_files_and_nothing_was_trained(ran: Ran) -> None:
    for training in ran.plan.trainings.values():
        pretrained = training.pretrained
        assert pretrained is not None
        taken = edm.load(ran.store.folder("trainings", training.signature))
        assert digest_of(taken) == digest_of(read_pretrained(ran.folder / pretrained.path))
        assert math.isfinite(taken.sigma_data)
        result = ran.store.finished(TrainingResult, training.signature)
        assert result.loss is None and result.kimg == 0 and result.flops == 0


def test_mlflow_has_a_run_for_every_row(ran: Ran) -> None:
    client = mlflow.MlflowClient(tracking_uri=embedded_uri(ran.store))
    experiment = client.get_experiment_by_name("others")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    scored = [each.data.params["model.from"] for each in runs if "fid_train" in each.data.metrics]
    assert sorted(scored) == sorted(FORMATS) and {each.info.status for each in runs} == {"FINISHED"}


def test_it_is_done_for_good_even_where_a_file_was_moved(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran.folder)
    (ran.folder / "edm.pkl").rename(ran.folder / "moved.pkl")
    file = ran.folder / "moved.yaml"
    file.write_text(SWEEP.format(files="moved.pkl"))
    content = json.loads(invoke("plan", file, "--store", ran.store.root, "--json").stdout)
    assert [task["done"] for task in (*content["pretrained"], *content["evaluations"])] == [True, True]
