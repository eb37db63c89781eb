"""The page in a real browser: what a person can do on it, without a network."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from reports.folder import write_report
from reports.report import Report
from tests.browser import CHROMIUM, page_of, started
from tests.reports.frames import DIGITS, digits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
ROWS = "#table-1 tbody tr:not(.baseline)"
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the digits sweep with small pictures, on disk."""
    folder = tmp_path_factory.mktemp("page")
    made = digits().assign(training="t", evaluation="e", training_name="nano/attention", nfe=18, **{"training.lr": 0.1})
    pictures = {}
    for number, cell in enumerate(made["cell"]):
        pictures[cell] = folder / f"{number}.png"
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(pictures[cell])
    links = {cell: f"http://127.0.0.1:5000/#/experiments/1/runs/{cell}" for cell in pictures}
    curves = pd.DataFrame(
        {"training": "nano/attention", "kimg": [1, 2, 2], "loss": [1, 0.5, None], "val_loss": [None, None, 0.5]}
    )
    layouts = (
        DIGITS,
        replace(DIGITS, rows=DIGITS.rows[:3], columns=DIGITS.rows[3:], metrics=("fid_test",), name="Pivot"),
    )
    whole = Report(layouts, made, curves, pictures, {"host": "a"}, denoising=pictures, links=links)
    return write_report(whole, folder / "out").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as chromium:
        yield chromium


@pytest.fixture
def page(address: str, browser: Browser) -> Iterator[Page]:
    """The page, whose every message and request but its own is an error."""
    with page_of(browser) as opened_page:
        problems: list[str] = []
        opened_page.on("console", lambda message: problems.append(message.text))
        opened_page.on("pageerror", lambda error: problems.append(str(error)))
        opened_page.on("request", lambda request: problems.append(request.url) if is_foreign(request.url) else None)
        opened_page.goto(address)
        yield opened_page
        assert problems == []


def is_foreign(url: str) -> bool:
    return not url.startswith(("file:", "data:"))


def column(page: Page, number: int) -> list[str]:
    return page.locator(f"{ROWS}:visible > :nth-child({number})").all_inner_texts()


def test_rows_are_sorted_by_any_column_and_baselines_stay_last(page: Page) -> None:
    head = page.locator("#table-1 th[data-column='6']")
    head.get_by_role("button").click()
    values = [float(text.split()[0]) for text in column(page, 7)]
    assert values == sorted(values) and values[0] == 0.69
    expect(head).to_have_attribute("aria-sort", "ascending")
    head.get_by_role("button").click()
    assert [float(text.split()[0]) for text in column(page, 7)] == sorted(values, reverse=True)
    assert "real train images" in page.locator("#table-1 tbody tr").last.inner_text()


def test_rows_and_images_are_filtered_by_axis_values(page: Page) -> None:
    page.get_by_role("group", name="sampler").get_by_label("heun", exact=True).uncheck()
    page.get_by_role("group", name="guidance").get_by_label("2").uncheck()
    assert len(column(page, 1)) == 8 and "heun" not in column(page, 4)
    assert page.locator("#samples figure:visible").count() == 8
    expect(page.locator("#count")).to_contain_text("rows shown")
    page.get_by_role("button", name="Show all").click()
    assert len(column(page, 1)) == 24 and page.locator("#count").inner_text() == ""


def test_a_click_on_a_cell_shows_all_about_it_and_commands_can_be_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="0.69 ± 0.11").first.click()
    panel = page.get_by_role("dialog")
    expect(panel.get_by_role("heading", name="micro/False/1/euler")).to_be_visible()
    for text in ("FID test", "0.69 ± 0.11", "sampling.sampler", "Depends on", "Loss of its training", "host"):
        expect(panel).to_contain_text(text)
    assert panel.locator("img").first.get_attribute("src").startswith("data:image/png")
    panel.get_by_role("button", name=re.compile("Copy: edm-sweep run")).click()
    expect(page.locator("#said")).to_have_text("Copied to the clipboard")
    assert page.evaluate("navigator.clipboard.readText()") == "edm-sweep run digits --only micro/False/1/euler"
    page.keyboard.press("Escape")
    expect(panel).not_to_be_visible()


def test_two_cells_stand_side_by_side_with_a_slider_and_their_difference(page: Page) -> None:
    first, second = page.get_by_label("Left"), page.get_by_label("Right")
    first.select_option(index=3)
    second.select_option(index=5)
    assert page.locator("#left").get_attribute("alt") == "samples of nano/False/2/euler"
    assert page.locator("#left").get_attribute("src") != page.locator("#right").get_attribute("src")
    slider = page.get_by_label("Boundary")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#compare").evaluate("e => e.style.getPropertyValue('--cut')") == "51%"
    page.get_by_label("Show the difference").check()
    blend = page.locator("#right").evaluate("e => getComputedStyle(e).mixBlendMode")
    assert blend == "difference"


def test_two_cells_are_shown_step_by_step(page: Page) -> None:
    above, below = (page.locator(f"[data-steps='steps-{where}']") for where in ("Above", "Below"))
    assert "nano/False/1/heun" in str(page.locator("#steps-Below").get_attribute("alt"))
    above.focus()
    page.keyboard.press("ArrowDown")
    below.select_option(index=7)
    for where, cell in (("Above", "nano/False/1/heun"), ("Below", "nano/True/1/heun")):
        picture = page.locator(f"#steps-{where}")
        assert str(picture.get_attribute("alt")).startswith(cell)
        assert picture.evaluate("e => e.complete && e.naturalWidth > 0")


def test_the_panel_shows_the_steps_and_the_run_in_mlflow(page: Page) -> None:
    page.locator("#table-1 td button").first.click()
    panel = page.get_by_role("dialog")
    expect(panel.get_by_role("heading", name="Step by step")).to_be_visible()
    address = panel.get_by_role("link", name="This cell's run in MLflow").get_attribute("href")
    assert address == "http://127.0.0.1:5000/#/experiments/1/runs/nano/False/1/euler"


def test_the_panel_leads_to_the_comparison(page: Page) -> None:
    page.locator("#samples figure").nth(4).get_by_role("button").click()
    page.get_by_role("button", name="Compare side by side").click()
    expect(page.get_by_role("dialog")).not_to_be_visible()
    assert page.get_by_label("Left").input_value() == "4" and page.get_by_label("Left").evaluate(
        "e => e === document.activeElement"
    )


def test_everything_is_reached_and_used_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
    assert {"A.", "INPUT.", "BUTTON.button", "DIV.scroll", "BUTTON."} <= seen
    page.locator("#table-1 td button").first.focus()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog")
    expect(panel).to_be_visible()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.cell") == "0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("part", ["page", "panel"])
def test_axe_finds_nothing_serious(page: Page, scheme: str, part: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    if part == "panel":
        page.locator("#table-1 td button").first.click()
    found = Axe().run(page).response["violations"]
    serious = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


def test_a_phone_shows_the_scores_without_scrolling_sideways(page: Page) -> None:
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    box = page.locator("#table-1 td button").first.bounding_box()
    assert box is not None and box["x"] > 0 and box["x"] + box["width"] < PHONE["width"]
    page.get_by_label("Sort by").first.select_option("FID test")
    assert page.locator(f"{ROWS} td:nth-child(7)").first.inner_text().startswith("0.69")
