"""One scale and rounding for every metric."""

import math

import numpy as np
import pytest

from reports.dictionary import describe_columns
from reports.metrics import METRICS, common_decimals, shown, title_of
from reports.tables import result_tables
from tests.reports.frames import LAYOUT, frame, full, with_errors


@pytest.mark.parametrize(
    ("metric", "value", "margin", "text"),
    [
        ("fid_test", 0.7834, 0.1123, "0.78 ± 0.11"),
        ("fid_test", 27657.3, 312.4, "27657 ± 312"),
        ("fid_test", 12.3456, None, "12.35"),
        ("fid_test", 1.23456, math.nan, "1.235"),
        ("fid_test", 1.23456, 0.0, "1.235"),
        ("kid_test", 21.724, None, "21724.00"),
        ("kid_test", 0.0123, 0.0021, "12.3 ± 2.1"),
        ("class_accuracy", 0.9534, 0.0131, "95.3 ± 1.3 %"),
        ("class_accuracy", 1.0, None, "100.0 %"),
        ("fid_test", 1e-5, 2e-7, "0.00001000 ± 0.00000020"),
        ("fid_test", 999.951, 0.0213, "999.951 ± 0.021"),
        ("nn_ratio_pixels", math.inf, None, "inf"),
        ("val_loss", 0.123456, None, "0.123"),
        ("fid_test", None, None, "—"),
    ],
)
def test_a_metric_is_shown_in_its_scale(metric: str, value: float | None, margin: float | None, text: str) -> None:
    assert shown(metric, value, margin) == text


def test_a_difference_has_a_sign() -> None:
    assert shown("kid_test", 0.0123, 0.0021, sign=True) == "+12.3 ± 2.1"
    assert shown("kid_test", -0.0123, 0.0021, sign=True) == "-12.3 ± 2.1"
    for almost_zero in (-0.0001, 0.0001):
        assert shown("fid_test", almost_zero, 0.5, sign=True) == "0.00 ± 0.50", "a sign would say more than is known"


def test_a_single_value_is_shown_as_in_a_table() -> None:
    made = with_errors(full(frame()[:1]))
    for table in result_tables(made, LAYOUT):
        for head, entry in zip(table.heads, table.entries, strict=True):
            assert shown(head.metric, entry.mean, entry.margin) == entry.text


def test_titles() -> None:
    assert title_of("fid_test") == "FID test" and title_of("class_accuracy") == "class accuracy"
    assert title_of("val_loss") == "val_loss"
    assert len({info.title for info in METRICS.values()}) == len(METRICS)


def test_an_error_far_smaller_than_those_beside_it_is_not_shown_as_0() -> None:
    made = frame(fid_test=[2.341, 401.0, 395.0, 388.0], fid_test_se=[0.0112, 3.0, 3.1, 2.9])
    (table,) = result_tables(made, LAYOUT)
    texts = [entries[0].text for _, entries in table.rows]
    assert texts == ["2.341 ± 0.022", "401.0 ± 5.9", "395.0 ± 6.1", "388.0 ± 5.7"]
    assert [row.entries[0].text for row in table.baselines] == ["99.0", "0.5"]
    assert shown("fid_test", 2.341, 0.022, decimals=1) == "2.341 ± 0.022", "as below its images"


def test_intervals_and_spreads_decide_the_decimals_together() -> None:
    made = frame(seeds=3, fid_test=[396.0, 398.0, np.nan, 399.0, 405.0, np.nan, 390.0, 394.0, np.nan, 2.2, 2.29, 2.31])
    (table,) = result_tables(made, LAYOUT)
    assert [entries[0].text for _, entries in table.rows] == [
        "397.0 (s 1.4, 2 of 3 seeds)",
        "402.0 (s 4.2, 2 of 3 seeds)",
        "392.0 (s 2.8, 2 of 3 seeds)",
        "2.3 ± 0.1 (s 0.1)",
    ]


def test_a_spread_over_seeds_far_smaller_than_others_is_not_shown_as_0() -> None:
    made = frame(seeds=2, fid_test=[2.0, 2.02, 400.0, 410.0, 390.0, 405.0, 380.0, 399.0])
    (table,) = result_tables(made, LAYOUT)
    assert [entries[0].text for _, entries in table.rows][:2] == ["2.010 (s 0.014)", "405.0 (s 7.1)"]


def test_decimals_of_small_numbers_show_their_first_digit() -> None:
    assert common_decimals([8.034, 0.00042], []) == 4
    assert common_decimals([0.0], []) == 3
    assert common_decimals([1e-12], []) == 6


def test_the_error_of_a_copied_share_is_that_of_chance() -> None:
    made = frame(nn_copied_pixels=0.1, nn_copied_pixels_se=0.02)
    meanings = describe_columns(made).set_index("column")["meaning"]
    expected = "standard deviation of copied, pixels if nothing is copied, over random splits of the real images"
    assert meanings["nn_copied_pixels_se"] == expected and meanings["nn_copied_pixels"] == "copied, pixels"
