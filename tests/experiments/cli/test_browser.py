"""What a person sees of a sweep in MLflow's own UI, in a real browser."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import Evaluation, Training
from tests.browser import (
    CHROMIUM,
    PATIENCE_MS,
    close_panels,
    links_served,
    open_afresh,
    open_experiment,
    opened,
    row,
)
from tests.conftest import Filled
from tests.planning import load_sweep, plan_sweep

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def plan(undisturbed: Filled) -> Plan:
    return plan_sweep(load_sweep(undisturbed.file))


@pytest.fixture(scope="module")
def evaluation(plan: Plan) -> Evaluation:
    """One of the sweep, with attention and Heun's sampler."""
    (found,) = (e for e in plan.evaluations.values() if plan.names[e.signature] == "attention/heun")
    return found


@pytest.fixture(scope="module")
def link(undisturbed: Filled) -> Iterator[str]:
    """The link that `edm-sweep ui` prints, of one server for all tests here: it takes its time to start."""
    with links_served(undisturbed.store) as printed:
        yield printed


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with opened() as page:
        yield page


@pytest.fixture
def scores(browser_page: Page, link: str) -> Page:
    """The page that the link opens."""
    open_afresh(browser_page, link)
    browser_page.get_by_role("row").get_by_role("link").first.wait_for()
    close_panels(browser_page)
    return browser_page


@pytest.fixture
def runs(browser_page: Page, link: str) -> Page:
    """The page of the sweep's experiment as one finds it by clicking, with the table of its runs."""
    open_experiment(browser_page, link.partition("/#")[0], "tiny_digits")
    return browser_page


def open_run(page: Page, plan: Plan, task: Training | Evaluation) -> None:
    """Open a run from the table of runs."""
    name = plan.names[task.signature]
    row(page, name).get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def value_of(page: Page, kind: str, name: str) -> str:
    """What a run's page has beside a metric's or a parameter's name."""
    page.get_by_placeholder(f"Search {kind}").fill(name)  # only the rows in sight are there at all
    cell = page.get_by_role("cell", name=name, exact=True)
    return page.get_by_role("row").filter(has=cell).get_by_role("cell").nth(1).inner_text()


def require_picture(picture: Locator) -> None:
    expect(picture).to_be_visible()
    assert picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth; }") > 100


def results_of(plan: Plan, filled: Filled) -> dict[str, EvaluationResult]:
    store = Store(filled.store)
    return {plan.names[name]: store.finished(EvaluationResult, name) for name in plan.evaluations}


# the table of scores ------------------------------------------------------------------------------


def test_the_link_opens_a_table_of_all_scores_best_first(scores: Page, plan: Plan, undisturbed: Filled) -> None:
    expect(scores.get_by_text("4 matching runs")).to_be_visible()
    results = results_of(plan, undisturbed)
    best_first = sorted(results, key=lambda name: results[name].metrics["fid_test"])
    links = scores.get_by_role("row").get_by_role("link").filter(has_text=re.compile("heun|euler"))
    expect(links).to_have_text(best_first)  # none of them hidden under its training
    for column in ("model.attention", "sampling.sampler", "fid_test", "fid_val", "fid_train"):
        expect(scores.get_by_role("columnheader").filter(has_text=column).first).to_be_visible()
    shown = [float(text) for text in re.findall(r"\b\d+\.\d+", scores.get_by_role("grid").inner_text())]
    for result in results.values():
        assert any(abs(number - result.metrics["fid_test"]) < 0.01 for number in shown)


def test_the_scores_are_drawn_against_every_axis(scores: Page, link: str) -> None:
    open_afresh(scores, f"{link}&compareRunsMode=CHART")
    chart = scores.locator(".parcoords")
    expect(chart).to_be_visible()
    labels = ["model.attention", re.compile(r"^sampli.*ampler$"), "fid_test"]  # MLflow shortens long ones
    expect(chart.locator(".label")).to_have_text(labels)
    expect(scores.get_by_role("heading", name="fid_test", exact=True)).to_be_visible()


def test_the_note_has_the_main_table_and_leads_to_the_report(scores: Page, plan: Plan, undisturbed: Filled) -> None:
    expect(scores.get_by_role("link", name="All scores in one table")).to_be_visible()
    expect(scores.get_by_role("columnheader", name="FID test", exact=True)).to_be_visible()
    for result in results_of(plan, undisturbed).values():
        score = re.compile(rf"^{result.metrics['fid_test']:.2f} ± ")
        expect(scores.get_by_role("cell", name=score).first).to_be_visible()
    with scores.expect_popup() as found:  # MLflow opens links of a note in a tab of their own
        scores.get_by_role("link", name="The report").click()
    heading = found.value.frame_locator("iframe").get_by_role("heading").first
    expect(heading).to_have_text("tiny_digits")
    found.value.close()


# runs ---------------------------------------------------------------------------------------------


def test_the_table_has_the_trainings_and_under_each_its_evaluations(runs: Page, plan: Plan) -> None:
    expect(runs.get_by_text("7 matching runs")).to_be_visible()
    for signature in (*plan.trainings, *plan.evaluations):
        expect(row(runs, plan.names[signature])).to_be_visible()  # evaluations without a click
    places = {
        plan.names[signature]: row(runs, plan.names[signature]).get_by_role("link").first.bounding_box()
        for signature in (*plan.trainings, *plan.evaluations)
    }
    for evaluation in plan.evaluations.values():
        child, parent = (places[plan.names[task.signature]] for task in (evaluation, evaluation.training))
        assert child is not None and parent is not None
        assert child["x"] > parent["x"] and child["y"] > parent["y"]  # moved in


def test_an_evaluation_has_its_scores_and_parameters(
    runs: Page, plan: Plan, evaluation: Evaluation, undisturbed: Filled
) -> None:
    open_run(runs, plan, evaluation)
    result = Store(undisturbed.store).finished(EvaluationResult, evaluation.signature)
    assert float(value_of(runs, "metrics", "fid_test")) == result.metrics["fid_test"]
    assert value_of(runs, "parameters", "model.attention") == "True"
    assert value_of(runs, "parameters", "sampling.sampler") == "heun"
    expect(runs.get_by_text("Finished", exact=True)).to_be_visible()
    parent = runs.get_by_test_id("key-value-Parent run").get_by_role("link")
    expect(parent).to_have_text(plan.names[evaluation.training.signature])
    expect(runs.get_by_text(f"digits ({evaluation.training.data.signature})")).to_be_visible()


def test_a_description_shows_the_numbers_and_the_picture(runs: Page, plan: Plan, evaluation: Evaluation) -> None:
    open_run(runs, plan, evaluation)
    expect(runs.get_by_text(re.compile(r"FID train \S+ ± \S+, FID val"))).to_be_visible()
    runs.get_by_text("Show more").click()
    require_picture(runs.locator("img[src*='path=samples.png']"))  # MLflow drops the titles of pictures
    expect(runs.get_by_role("cell", name="FID test", exact=True)).to_be_visible()


def test_an_evaluations_samples_are_shown(runs: Page, plan: Plan, evaluation: Evaluation) -> None:
    open_run(runs, plan, evaluation)
    runs.get_by_role("tab", name="Artifacts").click()
    runs.get_by_text("samples.png", exact=True).first.click()
    require_picture(runs.get_by_role("img", name="samples.png"))


def test_the_first_curve_of_a_training_is_its_loss(runs: Page, plan: Plan, evaluation: Evaluation) -> None:
    open_run(runs, plan, evaluation.training)
    runs.get_by_role("tab", name="Model metrics").click()
    chart = runs.get_by_test_id("experiment-view-compare-runs-card").first
    expect(chart).to_contain_text("(loss/train)")
    line = chart.locator("path.js-line").first
    expect(line).to_have_attribute("d", re.compile(r"(L[^L]+){10}"))  # from point to point


def test_a_networks_model_is_listed_with_its_loss(runs: Page, plan: Plan) -> None:
    runs.get_by_role("link", name="Models", exact=True).first.click()
    for signature in plan.trainings:
        expect(runs.get_by_role("link", name=plan.names[signature], exact=True).first).to_be_visible()
