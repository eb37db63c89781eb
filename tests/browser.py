"""Pages as a person meets them: served by the command line, opened in a headless Chromium; and steps in MLflow's UI."""

import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.commandline import start
from tests.waiting import free_port

NAMES = ("/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
FLAGS = (
    "--no-sandbox",  # which Chromium cannot have where root runs it, as in most containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # a browser of its own accord asks its maker for this and that
    "--disable-component-update",
    "--disable-sync",
)
WIDTH, HEIGHT = 1400, 900
PATIENCE_MS = 60_000  # a loaded machine shows some pages after ten seconds


@contextmanager
def served(store: Path, *command: str) -> Iterator[str]:
    """Serve a store's record with `edm-sweep ui`, or what another command serves; its address."""
    with links_served(store, *command) as link:
        yield link.partition("/#")[0].rstrip("/")


@contextmanager
def links_served(store: Path, *command: str) -> Iterator[str]:
    """The same; the first link that is printed."""
    server = start(*(command or ("ui",)), "--store", store, "--port", free_port())
    try:
        assert server.stdout is not None
        link = next((found[0] for line in server.stdout if (found := re.search(r"http://\S+", line))), None)
        assert link is not None, server.communicate()[1]
        yield link
    finally:
        server.send_signal(signal.SIGINT)  # killed at once it would leave MLflow's processes behind
        try:
            server.communicate(timeout=30)
        finally:
            server.kill()


@contextmanager
def started() -> Iterator[Browser]:
    """A browser, which takes seconds to start."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened() -> Iterator[Page]:
    """An empty page of a browser of its own."""
    with started() as browser, page_of(browser) as page:
        yield page


@contextmanager
def page_of(browser: Browser) -> Iterator[Page]:
    """An empty page that knows nothing of a browser's earlier ones."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})  # in a context of its own
    try:
        page.set_default_timeout(PATIENCE_MS)
        yield page
    finally:
        page.close()


def open_experiment(page: Page, address: str, name: str) -> None:
    """Go from MLflow's first page to the table of an experiment's runs, by clicking."""
    open_afresh(page, address)
    page.get_by_role(
        "button", name="Model training", exact=True
    ).click()  # MLflow 3 begins with its pages for language models
    page.get_by_role("link", name="Experiments").first.click()
    page.get_by_role("table").get_by_role("link", name=name, exact=True).click()
    page.get_by_role("row").get_by_role("link").first.wait_for()
    close_panels(page)


def open_afresh(page: Page, address: str) -> None:
    """Open an address of MLflow's UI as in a new window: a page that is left within the UI keeps its state."""
    page.goto("about:blank")
    page.goto(address)


def close_panels(page: Page) -> None:
    """Close what lies over a page, such as an assistant that nobody called."""
    for panel in page.get_by_role("button", name="Close", exact=True).all():
        panel.click()


def row(page: Page, run: str) -> Locator:
    """The part of a run's row in the table that has its name; another part has the model, of the same name."""
    cell = page.locator("[role=gridcell][col-id*='Run Name']")
    return page.get_by_role("row").filter(has=cell.get_by_role("link", name=run, exact=True))
