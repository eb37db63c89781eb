"""Revisions: what was made by a rule that has since been mended is made again, and nothing else is."""

import dataclasses
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from experiments.sweep.identity import signature
from experiments.sweep.tasks import Evaluation, FeatureSpace
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
    assert found.solution != former


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
