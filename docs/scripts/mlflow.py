"""Take docs/images/mlflow.png, a sweep's scores in MLflow's UI: `uv run python docs/scripts/mlflow.py STORE`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)  # tests/ is not installed; and from here this file would be imported as MLflow

from playwright.sync_api import Page  # noqa: E402

from tests.browser import close_panels, links_served, opened  # noqa: E402


def main(store: Path) -> None:
    """Write the picture of the scores of the sweep that was recorded last."""
    with links_served(store) as link, opened() as page:
        page.goto(link)
        page.get_by_role("columnheader").filter(has_text="fid_test").first.wait_for()
        page.get_by_role("row").get_by_role("link").first.wait_for()
        close_panels(page)
        page.get_by_role("button", name="Toggle sidebar").click()  # or the columns do not all fit
        page.get_by_role("button", name="Exit shared view").locator("xpath=following-sibling::button").first.click()
        fit_columns(page)
        page.get_by_role("heading", name="Runs").click()  # nothing is left focused or hovered over
        page.screenshot(path=ROOT / "docs" / "images" / "mlflow.png")


def fit_columns(page: Page) -> None:
    """Make columns as wide as what is in them, as a double click on their edges does."""
    for header in page.get_by_role("columnheader").filter(has_text=re.compile(r"\w")).all():
        edge = header.locator('[class*="cell-resize"]')
        if edge.count() and edge.is_visible():
            edge.dblclick()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
