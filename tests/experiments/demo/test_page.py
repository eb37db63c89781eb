"""The demo in a real browser: what a person sees and does on the page that the command line serves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.browser import CHROMIUM, PATIENCE_MS, opened, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium"),
]
expect.set_options(timeout=PATIENCE_MS)
PHONE = {"width": 390, "height": 844}


@dataclass
class Demo:
    """A browser on the page, its problems in the console, and requests to other machines."""

    browser: Browser
    address: str
    problems: list[str] = field(default_factory=list)

    def tab(self, viewport: dict[str, int] | None = None) -> Page:
        """Open the page in a tab of its own; it begins to draw by itself."""
        page = self.browser.new_page(viewport=viewport or {"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self._note(request.url))
        page.goto(self.address)
        expect(message_of(page)).to_contain_text("Done: 16 images")
        return page

    def _note(self, url: str) -> None:
        if not url.startswith((self.address.rstrip("/"), "data:", "blob:")):
            self.problems.append(f"asked for {url}")


@pytest.fixture(scope="module")
def demo(finished: tuple[Plan, Store]) -> Iterator[Demo]:
    _, store = finished
    with served(store.root, "demo") as address, opened() as page:
        assert page.context.browser is not None
        yield Demo(page.context.browser, address)


@pytest.fixture
def page(demo: Demo) -> Iterator[Page]:
    demo.problems.clear()
    page = demo.tab()
    yield page
    page.close()
    assert demo.problems == []


def message_of(page: Page):
    return page.locator(".message p")


def fill(page: Page, label: str, value: object) -> None:
    page.get_by_label(label, exact=True).fill(str(value))
    page.get_by_label(label, exact=True).press("Tab")


def choose(page: Page, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=value, exact=True).click()


def draw(page: Page) -> None:
    page.get_by_role("button", name="Draw", exact=True).click()


def picture(page: Page, label: str):
    """The picture below a label."""
    return page.locator(".pixels").filter(has_text=re.compile(f"^\\s*{re.escape(label)}\\s*$")).locator("img")


def test_frames_arrive_one_after_the_other(page: Page) -> None:
    fill(page, "Steps", 200)
    draw(page)
    seen = set()
    while "Done: 16 images, 399" not in (text := message_of(page).inner_text()):
        seen.update(re.findall(r"step (\d+) of 200", text))
        page.wait_for_timeout(50)
    assert len(seen) >= 3
    expect(picture(page, "Denoised: D(x; σ)")).to_be_visible()


def test_another_sampler_and_class_draw_other_images(page: Page) -> None:
    before = picture(page, "Denoised: D(x; σ)").get_attribute("src")
    expect(page.get_by_label("Churn", exact=True)).not_to_be_visible()
    choose(page, "Sampler", "stochastic_heun")
    expect(page.get_by_label("Churn", exact=True)).to_be_visible()
    choose(page, "Class", "7")
    fill(page, "Guidance (1: off)", 2)
    draw(page)
    expect(page.get_by_text("--label 7")).to_be_visible()
    assert picture(page, "Denoised: D(x; σ)").get_attribute("src") != before
    command = page.locator(".cm-content").first.inner_text()
    assert "--sampler stochastic_heun" in command and "--guidance 2.0" in command and "--s-churn 40.0" in command


def test_two_settings_are_compared(page: Page) -> None:
    page.get_by_label("Compare with a second setting").check()
    choose(page, "Sampler of B", "euler")
    fill(page, "Steps of B", 4)
    draw(page)
    expect(message_of(page)).to_contain_text("A and B differ by")
    for label in ("Denoised: D(x; σ)", "Denoised: D(x; σ) of B", "Difference of the images of A and B (black: equal)"):
        expect(picture(page, label)).to_be_visible()


def test_cancel_ends_the_drawing_and_the_next_one_runs(page: Page) -> None:
    fill(page, "Number of images", 64)
    fill(page, "Steps", 256)
    draw(page)
    expect(message_of(page)).to_contain_text("of 256")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(message_of(page)).to_have_text("Cancelled.")
    fill(page, "Steps", 4)
    draw(page)
    expect(message_of(page)).to_contain_text("Done: 64 images, 7 network evaluations")


def test_a_wrong_number_is_a_sentence_on_the_page(page: Page) -> None:
    fill(page, "Steps", 0)
    draw(page)
    expect(message_of(page)).to_have_text("Steps: 0 is not possible; give a whole number from 1 to 256.")
    fill(page, "Steps", 4)
    fill(page, "only for σ in", "5, 1")
    draw(page)
    expect(message_of(page)).to_contain_text("Guidance interval: 5 to 1 is not a range of noise levels")


def test_the_slider_shows_earlier_steps(page: Page) -> None:
    images = picture(page, "Denoised: D(x; σ)").get_attribute("src")
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(message_of(page)).to_have_text("σ = 80, step 1 of 18.")
    assert picture(page, "Denoised: D(x; σ)").get_attribute("src") != images
    page.keyboard.press("End")
    expect(message_of(page)).to_contain_text("Done: 16 images")


def test_a_click_shows_the_nearest_training_images(page: Page) -> None:
    shown = picture(page, "Denoised: D(x; σ)")
    box = shown.bounding_box()
    assert box is not None
    side = min(box["width"], box["height"])  # of four images; the picture is in the middle of its box
    shown.click(position={"x": box["width"] / 2 + side / 8, "y": box["height"] / 2 - side / 8})
    sentence = re.compile(r"^Image 6; nearest in pixels: distance .* nearest in features")
    expect(page.get_by_text(sentence)).to_be_visible()
    expect(picture(page, "The image and its nearest training images")).to_be_visible()


@pytest.mark.parametrize(("button", "form"), [("Download PNG", "PNG"), ("Download GIF", "GIF")])
def test_images_and_denoising_are_downloaded(page: Page, tmp_path: Path, button: str, form: str) -> None:
    expect(page.get_by_role("button", name=button)).to_be_enabled()
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    download.value.save_as(tmp_path / "file")
    with Image.open(tmp_path / "file") as image:
        assert image.format == form


def test_two_tabs_draw_at_once_and_keep_their_own_images(demo: Demo, page: Page) -> None:
    other = demo.tab()
    for tab, seed in ((page, 3), (other, 4)):
        fill(tab, "Seed", seed)
        fill(tab, "Steps", 60)
        draw(tab)
    for tab, seed in ((page, 3), (other, 4)):
        expect(tab.get_by_text(f"--seed {seed}")).to_be_visible()
        expect(message_of(tab)).to_contain_text("Done: 16 images, 119")
    other.close()


def test_the_page_fits_a_phone(demo: Demo) -> None:
    demo.problems.clear()
    page = demo.tab(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for name in ("Draw", "Cancel"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    page.close()
    assert demo.problems == []
