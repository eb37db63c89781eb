"""Revisions: what was made by a rule that has since been mended is made again, and nothing else is."""

import dataclasses
import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edm.config import ClassifierConfig, FormerClassifierConfig
from edm.cost import classifier_flops
from experiments.inputs import InputFiles
from experiments.store.layout import RESULT, StoreKind
from experiments.store.store import Store
from experiments.sweep.identity import signature
from experiments.sweep.plan import plan_sweep as plan_for
from experiments.sweep.preparations import ExactSolution, classifier_for
from experiments.sweep.tasks import Evaluation, FeatureSpace, classifier_of
from tests import ROOT
from tests.planning import load_sweep, plan_sweep


def evaluation(tmp_path: Path, text: str) -> Evaluation:
    (tmp_path / "x.yaml").write_text(f"data: {{name: cifar10}}\n{text}\n")
    (found,) = plan_sweep(load_sweep(tmp_path / "x.yaml")).evaluations.values()
    return found


def drawn_as_before(found: Evaluation) -> bool:
    """Whether images have the signature that they had before there were revisions."""
    guide = {} if found.guide is None else {"guide": found.guide.signature}
    return found.drawing == signature("drawing", training=found.training.signature, sampling=found.sampling, **guide)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("training: {power_ema: [0.05, 0.1]}", True),
        ("training: {power_ema: [0.05, 0.1]}\nsampling: {ema: 0.07}", False),
        ("training: {power_ema: [0.05, 0.1]}\nsampling: {guidance: 2, guide: {ema: 0.2}}", False),
        ("sampling: {guidance: 2, guide: {channels: 16}}", True),
        ("sampling: {sampler: unipc, steps: 3}", True),
        ("sampling: {sampler: unipc, steps: 4}", False),
        ("sampling: {sampler: dpmpp_3m, steps: 4}", True),
    ],
)
def test_images_of_a_rule_that_was_mended_are_drawn_again(tmp_path: Path, text: str, before: bool) -> None:
    assert drawn_as_before(evaluation(tmp_path, text)) == before


def test_the_exact_solution_is_drawn_again_where_the_images_are(tmp_path: Path) -> None:
    found = evaluation(tmp_path, "training: {power_ema: [0.05, 0.1]}\nsampling: {ema: 0.07}")
    former = signature("exact", training=found.training.signature, sampling=found.sampling.exact())
    solution = ExactSolution.of(dataclasses.replace(found, scores=("truncation",)))
    assert solution is not None and solution.signature != former


@pytest.mark.parametrize(("rule", "revision"), [("pytorch-fid", 1), ("clean", 2), ("tensorflow", 1)])
def test_features_by_a_rule_that_was_mended_are_taken_again(tmp_path: Path, rule: str, revision: int) -> None:
    found = evaluation(tmp_path, f"evaluation: {{resize: {rule}}}")
    assert found.features.revision == revision
    before = signature("space", features=dataclasses.replace(found.features, revision=1))
    assert (found.features.signature == before) == (revision == 1)
    assert drawn_as_before(found)


def test_features_in_the_store_are_of_the_rule_that_they_were_taken_by() -> None:
    """Records of before there were revisions have none."""
    record = {"name": "inception", "dimension": 2048, "resize": "clean"}
    assert TypeAdapter(FeatureSpace).validate_python(record).revision == 1


CLASSIFIED = "evaluation: {features: classifier, metrics: [fid, accuracy]}"


def of_version(version: int, *found: Evaluation) -> bool:
    """Whether evaluations use the classifier of a version and no other."""
    used = {found.features.classifier for found in found} | {found.judge.classifier for found in found}
    return used == {classifier_of(dataclasses.replace(found[0].training.data, classifier_version=version))}


def planned(tmp_path: Path, store: Store | None = None) -> Evaluation:
    (tmp_path / "x.yaml").write_text(f"data: {{name: digits}}\n{CLASSIFIED}\n")
    (found,) = plan_for(load_sweep(tmp_path / "x.yaml"), InputFiles(), holdings=store).evaluations.values()
    return found


def finish(store: Store, kind: StoreKind, signature: str) -> None:
    store.folder(kind, signature).mkdir(parents=True)
    (store.folder(kind, signature) / RESULT).write_text("{}")


def test_a_classifier_of_version_1_has_the_signature_that_it_had(tmp_path: Path) -> None:
    """Of an evaluation in its features, too: both are in stores of earlier releases."""
    store = Store(tmp_path / "store")
    finish(store, "classifiers", "edeae851d8e67b71c668")
    found = planned(tmp_path, store)
    assert found.features.classifier == "edeae851d8e67b71c668"
    assert found.features.label == "classifier features, 64-d"
    former = FeatureSpace("classifier", 64, "edeae851d8e67b71c668")
    scored = {"drawing": found.drawing, "evaluation": found.config, "features": former}
    assert found.signature == signature("evaluation", **scored)


def test_a_store_goes_on_with_the_classifier_that_it_has(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert of_version(2, planned(tmp_path), planned(tmp_path, store))
    data = planned(tmp_path).training.data
    finish(store, "classifiers", classifier_of(data))
    assert of_version(2, planned(tmp_path, store))
    finish(store, "classifiers", classifier_of(dataclasses.replace(data, classifier_version=1)))
    assert of_version(1, planned(tmp_path, store))


def test_results_without_their_classifier_are_found_and_never_mixed(tmp_path: Path) -> None:
    """A bundle has no classifiers."""
    old = Store(tmp_path / "old")
    finish(old, "classifiers", "edeae851d8e67b71c668")
    first, second = planned(tmp_path, old), planned(tmp_path)
    for found, version in ((first, 1), (second, 2)):
        store = Store(tmp_path / f"bundle{version}")
        finish(store, "evaluations", found.signature)
        assert planned(tmp_path, store) == found and of_version(version, found)
    assert first.features.label != second.features.label


def test_a_store_of_an_earlier_release_still_fills_the_shipped_sweep(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, "classifiers", "edeae851d8e67b71c668")
    digits = plan_for(load_sweep(ROOT / "sweeps" / "digits.yaml"), InputFiles(), holdings=store)
    former = json.loads((ROOT / "tests" / "former_signatures.json").read_text())
    assert {digits.names[name]: name for name in digits.evaluations} == former


def test_the_classifiers_of_both_versions_are_different_tasks(tmp_path: Path) -> None:
    data = planned(tmp_path).training.data
    former, latest = (classifier_for(dataclasses.replace(data, classifier_version=version)) for version in (1, 2))
    assert former.config == FormerClassifierConfig() and latest.config == ClassifierConfig()
    assert former.signature == "edeae851d8e67b71c668" != latest.signature
    assert former.flops == 3 * 24 * 1197 * classifier_flops(former.config, 1, 8, 10)
