"""Log lines and the terminal show a metric as reports do, although neither package imports the other's table."""

import pytest

from experiments.sweep.metrics import METRICS, metric_title, scale_of, shown_metric
from reports import metrics as reported

VALUES = (0.0, 0.00004, 0.021724, 0.5, 3.14159, 9.996, 27.65, 27657.0, -0.25, float("nan"), float("inf"))
MARGINS = (None, 0.0, 0.00012, 0.013, 1.7, 250.0, float("nan"))


def test_both_know_the_same_metrics() -> None:
    assert set(METRICS) == set(reported.METRICS)


@pytest.mark.parametrize("name", [*METRICS, "noise_fid_test", "loss"])
def test_titles_and_scales_agree(name: str) -> None:
    info = reported.metric_info(name)
    assert (metric_title(name), scale_of(name)) == (info.title, (info.scale, info.unit))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("sign", [False, True])
def test_values_are_rounded_alike(name: str, sign: bool) -> None:
    for value in VALUES:
        for margin in MARGINS:
            assert shown_metric(name, value, margin, sign) == reported.shown(name, value, margin, sign=sign)


def test_kid_is_shown_in_thousandths_and_accuracy_in_percent() -> None:
    assert f"{metric_title('kid_test')} {shown_metric('kid_test', 0.021724)}" == "KID x10^3 test 21.72"
    assert shown_metric("class_accuracy", 0.9534, 0.0131) == "95.3 ± 1.3 %"
