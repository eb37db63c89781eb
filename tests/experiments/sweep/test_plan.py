"""Plans: the least work, and signatures that change when and only when the meaning does."""

import copy
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from edm.config import EvaluationConfig, SamplingConfig, TrainingConfig, added_field
from edm.cost import num_parameters
from experiments.sweep.identity import canonical, signature
from experiments.sweep.names import matching
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import preparations_of
from reports.values import show_value
from tests import ROOT
from tests.planning import load_sweep, plan_sweep
from tests.results import evaluation_result


def plan(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return plan_sweep(load_sweep(path))


def test_the_digits_sweep_is_24_evaluations_on_4_trainings() -> None:
    digits = plan_sweep(load_sweep(ROOT / "sweeps" / "digits.yaml"))
    assert (len(digits.cells), len(digits.trainings), len(digits.evaluations)) == (24, 4, 24)
    assert all(e.config.images >= 1000 for e in digits.evaluations.values())
    assert {e.config.splits for e in digits.evaluations.values()} == {("train", "val", "test")}


def test_signatures_of_the_shipped_sweep_are_pinned() -> None:
    """A change here makes every store redo its work: raise a version on purpose, or undo the change."""
    digits = plan_sweep(load_sweep(ROOT / "sweeps" / "digits.yaml"))
    golden = json.loads((ROOT / "tests" / "golden_signatures.json").read_text())
    found = {digits.names[name]: name for name in (*digits.trainings, *digits.evaluations)}
    assert found == golden


@pytest.mark.parametrize(
    "axis",
    ["sampling.steps: [3, 4]", "sampling.guidance: [1, 2]", "sampling.seed: [0, 1]", "evaluation.images: [100, 200]"],
)
def test_a_sampling_or_scoring_axis_never_retrains(tmp_path: Path, axis: str) -> None:
    made = plan(tmp_path, f"grid:\n  {axis}\n")
    assert len(made.trainings) == 1 and len(made.evaluations) == 2


@pytest.mark.parametrize(
    "axis",
    ["model.preset: [nano, micro]", "model.channels: [8, 16]", "training.lr: [1.0, 2.0]", "training.kimg: [1, 2]"],
)
def test_a_model_or_training_axis_trains(tmp_path: Path, axis: str) -> None:
    assert len(plan(tmp_path, f"grid:\n  {axis}\n").trainings) == 2


def test_every_seed_trains_anew(tmp_path: Path) -> None:
    made = plan(tmp_path, "seeds: [0, 1, 2]\n")
    assert len(made.trainings) == len(made.evaluations) == 3


def test_equal_networks_are_one_training_however_they_are_written(tmp_path: Path) -> None:
    grid = "grid:\n  - {model.preset: [nano]}\n  - {model.preset: [micro], model.channels: [16]}\n"
    made = plan(tmp_path, grid)
    assert len(made.cells) == 2 and len(made.trainings) == 1 and len(made.evaluations) == 1


def test_settings_that_a_sampler_ignores_share_its_evaluation(tmp_path: Path) -> None:
    grid = "grid: {sampling.sampler: [heun, stochastic_heun], sampling.s_churn: [1, 3]}\n"
    made = plan(tmp_path, grid)
    assert len(made.cells) == 4 and len(made.evaluations) == 3


def test_splits_choose_what_is_shown_and_are_scored_together(tmp_path: Path) -> None:
    made = plan(tmp_path, "grid: {evaluation.splits: [[test], [train, val]]}\n")
    (evaluation,) = made.evaluations.values()
    assert set(evaluation.config.splits) == {"train", "val", "test"}


@pytest.mark.parametrize("section", ["resources: {cpus: 2}", "report: {metrics: [fid_test]}", "name: other"])
def test_resources_report_and_name_do_not_change_signatures(tmp_path: Path, section: str) -> None:
    assert (
        plan(tmp_path, "seeds: [0]\n").evaluations.keys()
        == plan(tmp_path, f"seeds: [0]\n{section}\n").evaluations.keys()
    )


def test_a_signature_is_the_digest_of_canonical_json() -> None:
    content = {"x": SamplingConfig(), "text": 'é "quoted"', "n": 3, "yes": True, "whole": 2.0, "none": None, "l": [1.0]}
    whole = {name: canonical(value) for name, value in {"stage": "exact", "version": 1, **content}.items()}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    assert signature("exact", **content) == hashlib.sha256(text.encode()).hexdigest()[:20]


def test_whole_numbers_and_floats_are_one_value() -> None:
    assert signature("training", x=2.0) == signature("training", x=2)
    assert signature("training", x=2.5) != signature("training", x=2)


def test_defaults_are_part_of_a_signature() -> None:
    assert "rho" in canonical(SamplingConfig())
    assert signature("evaluation", x=SamplingConfig()) != signature("evaluation", x=SamplingConfig(rho=6.0))


def test_a_field_added_later_leaves_old_signatures_alone_at_its_default() -> None:
    @dataclass(frozen=True)
    class Grown(TrainingConfig):
        warmup_kimg: float = added_field(0.0)

    before = signature("training", x=TrainingConfig())
    assert signature("training", x=Grown()) == before
    assert signature("training", x=Grown(warmup_kimg=5.0)) != before


def test_display_fields_are_not_part_of_a_signature() -> None:
    config = EvaluationConfig()
    assert canonical(config) == canonical(dataclasses.replace(config, splits=("test",)))


def test_names_tell_pieces_and_cells_apart(tmp_path: Path) -> None:
    text = "grid: {model.preset: [nano, micro], model.attention: [true], sampling.guidance: [1, 2.5]}\nseeds: [0, 1]\n"
    made = plan(tmp_path, text)
    names = [made.cell_name(planned) for planned in made.cells]
    assert names[0] == "nano/attention/guidance=1/seed=0" and names[3] == "nano/attention/guidance=2.5/seed=1"
    assert len(set(names)) == len(names)
    assert made.names[made.cells[0].training.signature] == "nano/attention/seed=0"


def test_cells_that_differ_in_the_seventh_digit_have_other_names(tmp_path: Path) -> None:
    made = plan(tmp_path, "grid: {training.lr: [1.0e-3, 1.0000001e-3], sampling.sigma_max: [80, 80.000001]}\n")
    names = [made.cell_name(planned) for planned in made.cells]
    assert names[0] == "lr=0.001/sigma_max=80" and names[3] == "lr=0.0010000001/sigma_max=80.000001"
    assert show_value(80.000001) == "80.000001" and show_value(2e-4) == "0.0002"


def test_an_empty_text_matches_no_cell() -> None:
    assert matching("", ["nano/heun"]) == matching(" ", ["nano/heun"]) == []
    assert matching("nano/", ["nano/heun"]) == ["nano/heun"]


def test_too_few_images_for_the_features_are_warned_of(tmp_path: Path) -> None:
    few = plan(tmp_path, "data: {name: cifar10}\nevaluation: {images: 2048, features: inception}\n")
    assert "KID instead: 2,048 images drawn are not above the 2,048 dimensions of inception" in few.warnings[0]
    assert few.warnings[1] == "for an FID, set evaluation.images above 2,048"
    enough = plan(tmp_path, "data: {name: cifar10}\nevaluation: {images: 2049, features: inception}\n")
    assert not enough.warnings


def test_images_are_drawn_once_for_all_numbers_and_feature_spaces(tmp_path: Path) -> None:
    axes = "evaluation.images: [2000, 3000], evaluation.features: [inception, classifier, dinov2]"
    made = plan(tmp_path, f"grid: {{{axes}}}\n")
    assert len(made.evaluations) == 6
    assert len({e.drawing for e in made.evaluations.values()}) == 1
    wanted = {("inception", 3000), ("classifier", 3000), ("dinov2", 3000)}
    assert all({(space.name, images) for space, images in e.spaces} == wanted for e in made.evaluations.values())


def test_what_evaluations_share_is_what_each_needs_by_itself(tmp_path: Path) -> None:
    axes = "evaluation.features: [inception, classifier], sampling.steps: [3, 4], evaluation.metrics: [[fid], [kid]]"
    text = f"data: {{name: cifar10}}\nevaluation: {{images: 3000}}\ngrid: {{{axes}}}\n"
    made = plan(tmp_path, text).evaluations.values()
    alone = [copy.deepcopy(evaluation) for evaluation in made]  # which share nothing
    assert list(map(preparations_of, made)) == list(map(preparations_of, alone))
    for evaluation in made:
        drawn = [each for each in alone if each.drawing == evaluation.drawing]
        judged = [each.judge for each in drawn if "accuracy" in each.scores]
        assert dict(evaluation.spaces) == dict.fromkeys([*judged, *(each.features for each in drawn)], 3000)


def test_reference_and_resize_make_another_evaluation_of_the_same_images(tmp_path: Path) -> None:
    text = "grid: {evaluation.reference: [equal, all], evaluation.resize: [pytorch-fid, clean]}\n"
    made = plan(tmp_path, text)
    assert len(made.evaluations) == 4 and len({e.drawing for e in made.evaluations.values()}) == 1


def test_what_is_scored_besides_does_not_draw_again(tmp_path: Path) -> None:
    plain = plan(tmp_path, "seeds: [0]\n")
    more = plan(tmp_path, "evaluation: {metrics: [fid, kid, prdc, memorisation], truncation: true}\n")
    assert plain.evaluations.keys() == more.evaluations.keys()
    (before,), (after,) = plain.evaluations.values(), more.evaluations.values()
    assert set(before.scores) < set(after.scores)
    assert before.is_covered_by(evaluation_result(scores=after.scores))
    assert not after.is_covered_by(evaluation_result(scores=before.scores))


def test_a_published_file_is_known_by_its_content(tmp_path: Path) -> None:
    def signatures(content: bytes, name: str) -> set[str]:
        (tmp_path / name).write_bytes(content)
        text = f"data: {{name: cifar10}}\nevaluation: {{statistics: {tmp_path / name}}}\n"
        return set(plan(tmp_path, text).evaluations)

    assert signatures(b"one", "a.npz") == signatures(b"one", "b.npz") != signatures(b"two", "c.npz")


def test_only_evaluations_that_may_stop_early_look_at_their_rivals(tmp_path: Path) -> None:
    grid = "grid: {sampling.sampler: [euler, heun]}\n"
    assert not any(e.rivals for e in plan(tmp_path, grid).evaluations.values())
    stopping = plan(tmp_path, grid + "evaluation: {stop_when: 0.999}\nseeds: [0, 1]\n")
    by_name = {stopping.names[name]: e for name, e in stopping.evaluations.items()}
    assert set(by_name["euler/seed=0"].rivals) == set(stopping.evaluations)
    assert set(by_name["euler/seed=0"].kin) == {by_name[f"euler/seed={seed}"].signature for seed in (0, 1)}


def test_a_stopped_evaluation_is_done_only_where_what_stopped_it_competes(tmp_path: Path) -> None:
    grid = "grid: {sampling.sampler: [euler, heun]}\nevaluation: {stop_when: 0.999}\n"
    first, second = plan(tmp_path, grid).evaluations.values()
    assert first.is_covered_by(evaluation_result(scores=first.scores, stopped_by=second.signature))
    assert not first.is_covered_by(evaluation_result(scores=first.scores, stopped_by="of another sweep"))


def test_cost_follows_kimg_and_nfe(tmp_path: Path) -> None:
    made = plan(tmp_path, "sampling: {steps: 10}\ngrid: {training.kimg: [10, 20], sampling.sampler: [euler, heun]}\n")
    small, large = made.trainings.values()
    assert large.flops == pytest.approx(2 * small.flops, rel=0.01)
    euler, heun = (planned.evaluation for planned in made.cells[:2])
    assert heun.flops / euler.flops == pytest.approx(19 / 10)


def signatures(tmp_path: Path, *sections: str) -> list[tuple[str, str]]:
    """Signatures of the training and the evaluation of one-cell sweeps."""
    found = []
    for section in sections:
        (tmp_path / "x.yaml").write_text(section + "\n")
        [cell] = plan_sweep(load_sweep(tmp_path / "x.yaml")).cells
        found.append((cell.training.signature, cell.evaluation.signature))
    return found


@pytest.mark.parametrize(
    "sections",
    [
        ("model: {preset: nano, attention: none}", "model: {preset: nano, attention: false}"),
        ("model: {attention: levels}", "model: {attention: true}"),  # mini has it everywhere
        ("training: {micro_batch: 64}", "training: {}"),
        ("training: {weight_decay: 3, min_snr_gamma: 1}", "training: {}"),
        ("training: {keep: all, validate_kimg: 5, samples_kimg: 0, checkpoint_kimg: 1}", "training: {}"),
        ("training: {power_ema: [0.1, 0.05]}", "training: {power_ema: [0.05, 0.10]}"),
        (
            "sampling: {schedule: ve, rho: 3}",
            "sampling: {schedule: linear_log_snr}",
            "sampling: {schedule: exponential}",
        ),
        ("sampling: {eta: 0.5, s_churn: 3}", "sampling: {}"),
        ("sampling: {guidance: 1, guidance_interval: [0, 1], guide: {preset: nano}}", "sampling: {guidance: 1}"),
        ("data: {name: celeba, resolution: 128}\nmodel: {preset: tiny}", "data: {name: celeba}\nmodel: {preset: tiny}"),
        (
            "data: {name: celeba}\nsampling: {guidance: 3, guidance_interval: [0, 1]}",
            "data: {name: celeba}\nsampling: {guidance: 1}",  # no classes, nothing to guide
        ),
    ],
)
def test_the_same_said_otherwise_is_the_same_work(tmp_path: Path, sections: tuple[str, ...]) -> None:
    with_data = [s if "data:" in s else f"data: {{name: cifar10}}\n{s}" for s in sections]
    assert len(set(signatures(tmp_path, *with_data))) == 1


@pytest.mark.parametrize(
    "section",
    [
        "model: {norm: group}",
        "model: {resample: residual}",
        "model: {init: edm}",
        "model: {dropout: 0.1}",
        "training: {augment: 0.1}",
        "training: {flip: true}",
        "training: {warmup_kimg: 1}",
        "training: {clip_norm: 1}",
        "training: {optimizer: adamw}",
        "training: {micro_batch: 32}",
        "training: {stratified: true}",
        "training: {weighting: min_snr}",
        "training: {precision: bf16}",
        "training: {power_ema: [0.05, 0.1]}",
    ],
)
def test_what_changes_the_weights_trains_anew(tmp_path: Path, section: str) -> None:
    plain, other = signatures(tmp_path, "model: {}", section)
    assert plain[0] != other[0] and plain[1] != other[1]


@pytest.mark.parametrize(
    "section",
    [
        "sampling: {sampler: unipc}",
        "sampling: {schedule: vp}",
        "sampling: {guidance: 2, guidance_interval: [0.1, 3]}",
        "sampling: {guidance: 2, guide: {preset: nano}}",
        "sampling: {guidance: 2, guide: {kimg: 5}}",
        "sampling: {resolution: 16}",
        "sampling: {precision: bf16}",
    ],
)
def test_what_changes_the_images_draws_anew_and_never_trains_anew(tmp_path: Path, section: str) -> None:
    plain, guided, other = signatures(tmp_path, "sampling: {}", "sampling: {guidance: 2}", section)
    assert plain[0] == guided[0] == other[0]
    assert len({plain[1], guided[1], other[1]}) == 3


def test_a_guide_that_is_another_cells_network_is_trained_once(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "data: {name: digits}\ntraining: {kimg: 5}\nsampling: {guidance: 2}\ngrid:\n"
        "- {model.preset: [nano], sampling.guide: [null]}\n"
        "- {model.preset: [micro], sampling.guide: [{preset: nano}]}\n"
    )
    plan = plan_sweep(load_sweep(tmp_path / "x.yaml"))
    nano, micro = plan.cells
    assert set(plan.trainings) == {nano.training.signature, micro.training.signature}
    assert micro.evaluation.guide == nano.training and micro.evaluation.depends_on == (micro.training, nano.training)
    assert plan.names[nano.training.signature] == "nano"
    small, large = (num_parameters(cell.training.network) for cell in plan.cells)
    assert small < large and nano.evaluation.flops < micro.evaluation.flops


@pytest.mark.parametrize(
    ("section", "warning"),
    [
        (
            "sampling: {guidance_interval: [0.3, 5]}",
            "sampling.guidance_interval has no effect at sampling.guidance 1",
        ),
        ("sampling: {guide: {channels: 8}}", "sampling.guide has no effect at sampling.guidance 1"),
        (
            "sampling: {guidance: 2, guidance_interval: [100, 200]}",
            "[100, 200] contains none of the sampler's noise levels",
        ),
        (
            "training: {warmup_kimg: 20000}",
            "training.warmup_kimg exceeds training.kimg, so that the",
        ),
        (
            "evaluation: {metrics: [fid], splits: [test]}\nreport: {metrics: [fid_test, fid_val, recall_test]}",
            "report.metrics: no cell will have fid_val, recall_test",
        ),
    ],
)
def test_what_was_set_and_does_nothing_is_warned_of(tmp_path: Path, section: str, warning: str) -> None:
    (tmp_path / "x.yaml").write_text(f"{section}\ndata: {{name: cifar10}}\n")
    [found] = plan_sweep(load_sweep(tmp_path / "x.yaml")).warnings
    assert warning in found


def test_a_named_fid_whose_place_kid_takes_is_not_reported_missing(tmp_path: Path) -> None:
    named = "evaluation: {images: 2048, features: inception}\nreport: {metrics: [fid_test]}\n"
    few = plan(tmp_path, f"data: {{name: cifar10}}\n{named}")
    assert not any("report.metrics" in warning for warning in few.warnings)


def test_a_scale_of_1_beside_others_is_not_warned_of(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "data: {name: cifar10}\nsampling: {guidance_interval: [0.3, 5]}\ngrid: {sampling.guidance: [1, 2]}\n"
    )
    assert plan_sweep(load_sweep(tmp_path / "x.yaml")).warnings == []


def test_cells_that_come_to_the_same_are_scored_on_what_each_asks_for(tmp_path: Path) -> None:
    intervals = "grid:\n  - {sampling.guidance_interval: [[0.5, 5]], evaluation.splits: [[test]]}\n"
    intervals += "  - {sampling.guidance_interval: [[0.5001, 5]], evaluation.splits: [[train]]}\n"
    made = plan(tmp_path, f"sampling: {{steps: 4, guidance: 2}}\n{intervals}")
    (evaluation,) = made.evaluations.values()
    assert set(evaluation.config.splits) == {"train", "test"}
    assert {"kid/train", "kid/test"} <= set(evaluation.scores)
