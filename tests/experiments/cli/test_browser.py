"""What a person sees of a sweep in MLflow's own UI, in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import Evaluation, Training
from tests.browser import CHROMIUM, PATIENCE_MS, expand, open_experiment, opened, row, served
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
def browsed(undisturbed: Filled) -> Iterator[Page]:
    """One browser on one server for all tests here: both take their time to start."""
    with served(undisturbed.store) as address, opened() as page:
        open_experiment(page, address, "tiny_digits")
        yield page


@pytest.fixture
def runs(browsed: Page) -> Page:
    """The page of the sweep's experiment, with the table of its runs."""
    browsed.get_by_role("link", name="Runs", exact=True).first.click()
    browsed.get_by_role("row").get_by_role("link").first.wait_for()
    return browsed


def open_run(page: Page, plan: Plan, task: Training | Evaluation) -> None:
    """Open a run from the table of runs, an evaluation by way of its training."""
    training = task.training if isinstance(task, Evaluation) else task
    name = plan.names[task.signature]
    if row(page, name).count() == 0:
        expand(page, plan.names[training.signature])
    row(page, name).get_by_role("link").click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def value_of(page: Page, kind: str, name: str) -> str:
    """What a run's page has beside a metric's or a parameter's name."""
    page.get_by_placeholder(f"Search {kind}").fill(name)  # only the rows in sight are there at all
    cell = page.get_by_role("cell", name=name, exact=True)
    return page.get_by_role("row").filter(has=cell).get_by_role("cell").nth(1).inner_text()


def test_the_table_has_the_trainings_and_under_each_its_evaluations(runs: Page, plan: Plan) -> None:
    expect(runs.get_by_text("6 matching runs")).to_be_visible()
    links = runs.get_by_role("row").get_by_role("link")
    assert set(links.all_inner_texts()) == {plan.names[name] for name in plan.trainings}
    for signature in plan.trainings:
        name, before = plan.names[signature], set(links.all_inner_texts())
        children = {plan.names[e.signature] for e in plan.evaluations.values() if e.training.signature == signature}
        expand(runs, name)
        expect(links).to_have_count(len(before) + len(children))
        assert set(links.all_inner_texts()) - before == children
        places = {link.inner_text(): link.bounding_box() or {"x": -1, "y": -1} for link in links.all()}
        assert all(places[child]["x"] > places[name]["x"] for child in children)  # moved in
        assert all(places[child]["y"] > places[name]["y"] for child in children)


def test_an_evaluation_has_its_scores_and_parameters(
    runs: Page, plan: Plan, evaluation: Evaluation, undisturbed: Filled
) -> None:
    open_run(runs, plan, evaluation)
    result = Store(undisturbed.store).result(EvaluationResult, evaluation.signature)
    assert result is not None
    assert float(value_of(runs, "metrics", "fid_test")) == result.metrics["fid_test"]
    assert value_of(runs, "parameters", "model.attention") == "True"
    assert value_of(runs, "parameters", "sampling.sampler") == "heun"
    expect(runs.get_by_text("Finished", exact=True)).to_be_visible()
    parent = runs.get_by_role("link", name=plan.names[evaluation.training.signature], exact=True)
    expect(parent).to_be_visible()


def test_an_evaluations_samples_are_shown(runs: Page, plan: Plan, evaluation: Evaluation) -> None:
    open_run(runs, plan, evaluation)
    runs.get_by_role("tab", name="Artifacts").click()
    runs.get_by_text("samples.png", exact=True).first.click()
    picture = runs.get_by_role("img", name="samples.png")
    expect(picture).to_be_visible()
    assert picture.evaluate("async picture => { await picture.decode(); return picture.naturalWidth; }") > 100


def test_a_training_has_its_loss_as_a_curve(runs: Page, plan: Plan, evaluation: Evaluation) -> None:
    open_run(runs, plan, evaluation.training)
    runs.get_by_role("tab", name="Model metrics").click()
    runs.get_by_placeholder("Search metric charts").fill("^loss$")
    expect(runs.get_by_role("heading", name="loss", exact=True)).to_be_visible()
    chart = runs.locator(".js-plotly-plot")
    expect(chart).to_have_count(1)  # those of other metrics are gone
    line = chart.locator("path.js-line").first
    expect(line).to_be_visible()
    assert (line.get_attribute("d") or "").count("L") > 10  # tasks of a line, from point to point
