"""Which scores are asked for, and which of them would mean nothing."""

import dataclasses

import pytest

from edm.config import EvaluationConfig
from experiments.sweep.metrics import (
    ERRORS,
    baselines_of,
    fid_remedy,
    headline,
    headlines,
    meaningless,
    metrics_of,
    plain_score,
    reference_sizes,
    requested_scores,
    with_others,
)
from reports.metrics import METRICS

DIGITS = {"train": 1197, "val": 300, "test": 300}
CIFAR = {"train": 40_000, "val": 10_000, "test": 10_000}


def config(**changes) -> EvaluationConfig:
    return EvaluationConfig(**{"images": 1000, "features": "classifier", **changes})


def test_every_split_is_compared_with_as_many_real_images_by_default() -> None:
    assert reference_sizes(config(), DIGITS) == {"train": 300, "val": 300, "test": 300}
    assert reference_sizes(config(reference="all"), DIGITS) == DIGITS


@pytest.mark.parametrize(
    ("changes", "sizes", "withheld"),
    [
        ({}, DIGITS, set()),
        ({"images": 64}, DIGITS, {"train", "val", "test", "file"}),
        ({"images": 65}, DIGITS, set()),
        ({"features": "inception", "images": 5000}, DIGITS, {"train", "val", "test"}),
        ({"features": "inception", "images": 2048}, CIFAR, {"train", "val", "test", "file"}),
        ({"features": "inception", "images": 2049}, CIFAR, set()),
        ({"features": "dinov2", "images": 5000, "reference": "all"}, DIGITS, {"val", "test"}),
    ],
)
def test_a_distance_needs_more_images_than_dimensions_on_both_sides(changes, sizes, withheld) -> None:
    assert set(meaningless(config(**changes), sizes)) == withheld


@pytest.mark.parametrize(
    ("changes", "sizes", "expected"),
    [
        ({}, DIGITS, None),
        ({"features": "inception", "metrics": ("kid",)}, DIGITS, None),
        ({"images": 64}, DIGITS, "for an FID, set evaluation.images above 64"),
        ({"features": "inception", "images": 5000}, CIFAR, None),
        (
            {"features": "dinov2", "images": 5000, "splits": ("val", "train")},
            DIGITS,
            "for an FID, set evaluation.splits [train] and evaluation.reference all together",
        ),
        (
            {"features": "dinov2", "images": 5000, "splits": ("val",), "reference": "all"},
            DIGITS,
            "for an FID, set evaluation.splits [train]",
        ),
        (
            {"features": "dinov2", "images": 1000, "splits": ("train",)},
            DIGITS,
            "for an FID, set evaluation.images above 1,024 and evaluation.reference all together",
        ),
        (
            {"features": "inception", "images": 5000},
            DIGITS,
            "for an FID, use features with fewer dimensions, as no split has more than 2,048 images",
        ),
    ],
)
def test_what_would_help_is_said_with_everything_that_it_takes(changes, sizes, expected: str | None) -> None:
    assert fid_remedy(config(**changes), sizes) == expected


@pytest.mark.parametrize("splits", [("train",), ("val",), ("train", "val", "test")])
@pytest.mark.parametrize("reference", ["equal", "all"])
def test_what_is_said_to_help_does(splits, reference) -> None:
    asked = config(features="dinov2", images=2000, splits=splits, reference=reference)
    remedy = fid_remedy(asked, DIGITS)
    if remedy is not None:
        asked = dataclasses.replace(asked, splits=("train",) if "splits" in remedy else asked.splits)
        asked = dataclasses.replace(asked, reference="all" if "reference" in remedy else asked.reference)
    assert not meaningless(asked, DIGITS).keys() & set(asked.splits)


def test_everything_that_is_asked_for_is_wanted() -> None:
    asked = config(splits=("val", "test"), metrics=("fid", "kid", "prdc", "memorisation"), truncation=True)
    wanted = requested_scores(asked, DIGITS, deterministic=True)
    splits = [f"{metric}/{split}" for metric in ("fid", "kid", "prdc") for split in ("val", "test")]
    assert wanted.scores == ("accuracy", *splits, "memorisation", "truncation") and wanted.notes == ()


def test_a_meaningless_distance_is_replaced_by_kid_with_a_note() -> None:
    wanted = requested_scores(config(images=50, metrics=("fid", "prdc"), splits=("test",)), DIGITS, deterministic=True)
    assert wanted.scores == ("accuracy", "kid/test", "prdc/test")
    (note,) = wanted.notes
    assert "no FID, KID instead: 50 images drawn are not above the 64 dimensions of classifier" in note


def test_a_published_file_has_frechet_distances_alone() -> None:
    asked = config(features="inception", images=5000, splits=("test",), statistics="x.npz", metrics=("fid", "kid"))
    assert requested_scores(asked, CIFAR, deterministic=True).scores == ("fid/test", "fid/file", "kid/test")


def test_samplers_that_add_noise_have_no_truncation_error() -> None:
    wanted = requested_scores(config(truncation=True), DIGITS, deterministic=False)
    assert "truncation" not in wanted.scores and "add noise" in wanted.notes[0]


def test_a_score_by_a_mended_rule_takes_the_place_of_the_older_one() -> None:
    asked = config(metrics=("fid_infinity", "kid"), splits=("test",))
    scores = requested_scores(asked, DIGITS, deterministic=True).scores
    assert scores == ("accuracy", "fid_infinity.2/test", "kid/test")
    assert with_others(scores, ("fid/test", "fid_infinity/test", "kid/test")) == (*scores, "fid/test")
    assert metrics_of("fid_infinity.2/test") == metrics_of("fid_infinity/test")
    assert [plain_score(score) for score in scores] == ["accuracy", "fid_infinity/test", "kid/test"]


@pytest.mark.parametrize(
    "score", ["fid/test", "fid/file", "fid_infinity.2/val", "kid/train", "prdc/test", "accuracy", "memorisation"]
)
def test_every_score_is_told_by_metrics_that_a_report_may_ask_for(score: str) -> None:
    names = metrics_of(score)
    assert names and {name for name in names if not name.endswith(("_se", "_low", "_high"))} <= set(METRICS)
    assert all(name.startswith(("noise_", "real_")) for name in baselines_of(score))


def test_a_line_tells_the_best_that_there_is() -> None:
    assert headlines({"fid_test": 1.0, "fid_test_se": 0.1, "kid_test": 2.0, "class_accuracy": 0.5}) == {
        "fid_test": 1.0,
        "class_accuracy": 0.5,
    }
    assert headlines({"kid_test": 2.0, "recall_test": 0.5}) == {"kid_test": 2.0}


def test_a_line_shows_titles_scales_and_units() -> None:
    assert headline({"kid_test": 0.021724, "recall_test": 0.5, "class_accuracy": 0.953}) == (
        "KID ×10³ test 21.72, class accuracy 95.3 %"
    )
    assert headline({}) == ""


@pytest.mark.parametrize(
    ("images", "prefixes"), [(500, (500,)), (1000, (1000,)), (7000, (1000, 2000, 5000, 7000)), (2000, (1000, 2000))]
)
def test_prefixes_are_round_numbers_and_all(images: int, prefixes: tuple[int, ...]) -> None:
    assert config(images=images).prefixes == prefixes


def test_reports_know_how_to_show_every_metric_and_no_other() -> None:
    against = dict.fromkeys(("fid", "fid_infinity"), ("train", "val", "test", "file"))
    against |= dict.fromkeys(("kid", "prdc"), ("train", "val", "test"))
    scores = {f"{metric}/{name}" for metric, names in against.items() for name in names}
    scores |= {"accuracy", "memorisation", "truncation"}
    metrics = {name for score in scores for name in metrics_of(score)}
    assert {name for name in metrics if not name.endswith(ERRORS)} == set(METRICS)
