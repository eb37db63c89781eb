"""Publishing a cell: a folder in the hub's layout, a card with its table, and the same images loaded back."""

import json
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path

import markdown
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

import edm
from edm.config import DataConfig, EvaluationConfig, Extension
from edm.generate import generate
from experiments.inspection import publication
from experiments.inspection.lookup import NamedTask
from experiments.inspection.publication import model_card
from experiments.store.drawings import features_folder
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.trials.extensions import keep_extensions, listing
from reports.metrics import CHANCE_NOTE
from tests.commandline import invoke
from tests.experiments.sweep.test_extensions import plan_of_package
from tests.extending import DAMPED, SWEEP, write_sweep
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep

CELL = "attention/heun"


@pytest.fixture
def published(done: tuple[Plan, Store], tmp_path: Path) -> Path:
    _, store = done
    answer = invoke("publish", f"tiny_digits:{CELL}", "--to", tmp_path / "published", "--store", store.root)
    assert answer.returncode == 0, answer.stderr
    return tmp_path / "published"


def test_the_folder_has_the_layout_of_the_hub(published: Path) -> None:
    names = {path.name for path in published.iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md", "samples.png", ".gitattributes"}
    config = json.loads((published / "config.json").read_text())
    assert config["architecture"] == "study" and config["sampling"]["sampler"] == "heun"
    assert config["network"]["channels"] == 8 and config["sigma_data"] > 0
    assert "*.safetensors filter=lfs" in (published / ".gitattributes").read_text()


def test_the_card_has_metadata_table_samples_and_the_command(published: Path, done: tuple[Plan, Store]) -> None:
    plan, store = done
    card = (published / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    metadata = yaml.safe_load(header)
    assert metadata["library_name"] == "edm-sweep" and metadata["datasets"] == ["digits"]
    assert metadata["pipeline_tag"] == "unconditional-image-generation"
    (evaluation,) = (p.evaluation for p in plan.cells if plan.cell_name(p) == CELL)
    metrics = store.finished(EvaluationResult, evaluation.signature).metrics
    (row,) = metadata["model-index"]
    assert {m["type"]: m["value"] for m in row["results"][0]["metrics"]}["fid_test"] == metrics["fid_test"]
    names = {m["type"]: m["name"] for m in row["results"][0]["metrics"]}
    assert names["fid_test"] == f"FID test ({evaluation.features.label})"
    assert names["class_accuracy"] == "class accuracy"
    assert "| FID test | " in body and "![Samples](samples.png)" in body and "edm-sweep run" in body
    assert evaluation.signature in body


def test_the_sweep_in_a_card_has_all_fields_of_its_images_but_their_place(done: tuple[Plan, Store]) -> None:
    plan, store = done
    evaluation = plan.cells[0].evaluation
    birds = DataConfig("folder", resolution=8, path="/home/me/birds", channels=1, split_seed=3)
    training = replace(evaluation.training, data=replace(evaluation.training.data, config=birds))
    scored = replace(evaluation.config, splits=("train",), reference="all", statistics="/home/me/birds.npz")
    result = replace(store.finished(EvaluationResult, evaluation.signature), metrics={"kid_train": 0.0123})
    named = NamedTask("tiny_digits", CELL, "")
    card = model_card(named, replace(evaluation, training=training, config=scored), result, 1, False)
    text = card.partition("    name: published")[2].partition("\n\n")[0]
    sweep = yaml.safe_load(textwrap.dedent(text.partition("\n")[2]))
    assert DataConfig(**sweep["data"]) == replace(birds, path="THESE_IMAGES") and "/home/me" not in card
    given = {**sweep["evaluation"], "splits": tuple(sweep["evaluation"]["splits"])}
    assert EvaluationConfig(**given) == replace(scored, statistics=None, metrics=EvaluationConfig().metrics)
    metadata = yaml.safe_load(card.split("---")[1])
    (scores,) = metadata["model-index"][0]["results"]
    assert metadata["datasets"] == ["imagefolder"] and "8x8 images of birds" in card
    assert scores["dataset"] == {"type": "imagefolder", "name": "birds"}
    (metric,) = scores["metrics"]
    assert "| KID ×10³ train | 12.3" in card and metric["value"] == 0.0123 and metric["name"].startswith("KID train (")


def test_the_sweep_in_a_card_names_extensions_with_their_options(done: tuple[Plan, Store]) -> None:
    plan, store = done
    evaluation = plan.cells[0].evaluation
    sampler = Extension("damped", "0" * 20, (("damping", 0.5), ("order", 1)), where="ideas.py, damped")
    metric = Extension("brightness", "1" * 20, (("bins", 3),), where="metrics.py, brightness")
    sampling = replace(evaluation.sampling, sampler=sampler)
    scored = replace(evaluation.config, metrics=("fid", metric))
    result = replace(store.finished(EvaluationResult, evaluation.signature), metrics={"fid_test": 1.0})
    named, drawn = NamedTask("tiny_digits", CELL, ""), replace(evaluation, sampling=sampling, config=scored)
    card = model_card(named, drawn, result, 1, False, listing((sampler, metric), store))
    text = card.partition("    name: published")[2].partition("\n\n")[0]
    sweep = yaml.safe_load(textwrap.dedent(text.partition("\n")[2]))
    assert sweep["extensions"] == ["ideas.py", "metrics.py"]
    assert sweep["sampling"]["sampler"] == "damped"
    assert sweep["sampling"]["sampler_options"] == {"damping": 0.5, "order": 1}
    assert sweep["evaluation"]["metrics"] == ["fid", "brightness"]
    assert sweep["evaluation"]["metrics_options"] == {"brightness": {"bins": 3}}
    assert "beside ideas.py and metrics.py, which belong to it and are not published here" in card


def test_a_sweep_that_needs_a_package_lists_its_folder_and_all_other_files(tmp_path: Path, store: Store) -> None:
    plan = plan_of_package(tmp_path)
    keep_extensions(plan, store)
    assert listing(plan.extensions.values(), store) == ["ideas/"]
    (tmp_path / "helper.py").write_text("ONE = 1\n")
    both = SWEEP.replace("[ideas.py]", "[ideas.py, helper.py]")
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, both, "import helper\n\n\n" + DAMPED)))
    keep_extensions(plan, store)
    assert listing(plan.extensions.values(), store) == ["ideas.py", "helper.py"]


def test_the_card_explains_the_interval_of_a_copied_share(done: tuple[Plan, Store]) -> None:
    plan, store = done
    evaluation = plan.cells[0].evaluation
    result = store.finished(EvaluationResult, evaluation.signature)
    copied = {"nn_copied_pixels": 0.1, "nn_copied_pixels_se": 0.02}
    named = NamedTask("tiny_digits", CELL, evaluation.training.signature, evaluation.signature)
    cards = [model_card(named, evaluation, replace(result, metrics=m), 1, False) for m in (result.metrics, copied)]
    assert [CHANCE_NOTE in card for card in cards] == [False, True]


def test_the_hub_reads_the_card_and_renders_its_table_and_samples(published: Path) -> None:
    """By the hub's own library, and by Markdown as pages are rendered."""
    card = ModelCard((published / "README.md").read_text())
    assert card.data.library_name == "edm-sweep" and card.data.datasets == ["digits"]
    results = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    assert results["fid_test"] > 0
    page = markdown.markdown(card.text, extensions=["tables"])
    assert "<td>FID test</td>" in page and '<img alt="Samples" src="samples.png"' in page
    assert page.count("<h1>") == 1 and "<pre><code>" in page
    assert "---" not in page and "| --- |" not in page  # nothing is left of the metadata or of a broken table


def test_loaded_back_it_draws_the_same_images(published: Path, done: tuple[Plan, Store]) -> None:
    plan, store = done
    (evaluation,) = (p.evaluation for p in plan.cells if plan.cell_name(p) == CELL)
    model = edm.load(published)
    drawn = torch.cat([part.images for part in generate(model, evaluation.sampling, 0, 40, 40)])
    kept = edm.load(store.folder("trainings", evaluation.training.signature))
    assert torch.equal(drawn, torch.cat([part.images for part in generate(kept, evaluation.sampling, 0, 40, 40)]))


def test_the_sweep_in_the_card_draws_the_same_images(published: Path, done: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = done
    lines = (published / "README.md").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip() == "name: published")
    text = "\n".join(line.strip() for line in lines[start : lines.index("", start)])
    (tmp_path / "published.yaml").write_text(text.replace("THIS_FOLDER", str(published)))
    again = plan_sweep(load_sweep(tmp_path / "published.yaml", ("resources.sampling_batch=40",)))
    assert not run_all(again, store).failures
    (own,) = again.evaluations.values()
    (evaluation,) = (p.evaluation for p in plan.cells if plan.cell_name(p) == CELL)
    assert own.sampling == evaluation.sampling
    features = [
        load_file(next(features_folder(store, task.drawing, task.features.signature).glob("*.safetensors")))
        for task in (own, evaluation)
    ]
    differing = [name for name, value in features[0].items() if not torch.equal(value, features[1][name])]
    assert differing in ([], ["seconds"])  # the features of 120 images are equal, bit for bit


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [("tiny_digits:attention", "is a training; give one of the cells"), ("nothing", "matches no cell")],
)
def test_what_cannot_be_published_is_answered(
    done: tuple[Plan, Store], tmp_path: Path, cell: str, sentence: str
) -> None:
    answer = invoke("publish", cell, "--to", tmp_path / "published", "--store", done[1].root)
    assert answer.returncode == 2 and sentence in answer.stderr
    assert not (tmp_path / "published").exists()


def test_a_folder_with_other_files_is_left_alone(done: tuple[Plan, Store], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    answer = invoke("publish", f"tiny_digits:{CELL}", "--to", tmp_path, "--store", done[1].root)
    assert answer.returncode == 2 and "is not empty; give a new folder" in answer.stderr


def test_no_folder_is_left_where_the_network_is_gone(done: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = done
    for signature in plan.trainings:
        shutil.rmtree(store.folder("trainings", signature))
    (tmp_path / "empty").mkdir()
    for folder in ("new/folder", "empty"):
        refused = invoke("publish", f"tiny_digits:{CELL}", "--to", tmp_path / folder, "--store", store.root)
        assert refused.returncode == 2 and "--recompute missing" in refused.stderr
    assert not (tmp_path / "new").exists() and list((tmp_path / "empty").iterdir()) == []


def test_nothing_is_left_where_a_file_cannot_be_written(
    done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that becomes full with the network written."""

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publication, "model_card", full)
    with pytest.raises(OSError, match="No space left"):
        publication.publish(f"tiny_digits:{CELL}", done[1], tmp_path / "new")
    assert not (tmp_path / "new").exists()
