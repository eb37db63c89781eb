"""Take docs/images/mlflow.png, a sweep in MLflow's UI: `uv run python docs/scripts/mlflow.py STORE SWEEP`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)  # tests/ is not installed; and from here this file would be imported as MLflow

from playwright.sync_api import Page  # noqa: E402

from tests.browser import expand, open_experiment, opened, row, served, toggle_columns  # noqa: E402

EMPTY = ("Dataset", "Source", "Models")  # columns that a sweep leaves empty
SHOWN = ("fid_test", "class_accuracy", "sampling.sampler", "sampling.guidance")


def main(store: Path, sweep: str) -> None:
    """Write the picture of a sweep's runs, evaluations under their trainings."""
    with served(store) as address, opened() as page:
        open_experiment(page, address, sweep)
        page.get_by_role("button", name="Toggle sidebar").click()  # or the columns do not all fit
        expand_all(page)
        toggle_columns(page, *EMPTY, *SHOWN)
        fit_columns(page)
        page.get_by_role("heading", name="Runs").click()  # nothing is left focused or hovered over
        page.screenshot(path=ROOT / "docs" / "images" / "mlflow.png")


def expand_all(page: Page) -> None:
    """Show the child runs of every run that has any."""
    for name in page.get_by_role("row").get_by_role("link").all_inner_texts():
        if row(page, name).get_by_role("button").count():
            expand(page, name)


def fit_columns(page: Page) -> None:
    """Make columns as wide as what is in them, as a double click on their edges does."""
    for header in page.get_by_role("columnheader").filter(has_text=re.compile(r"\w")).all():
        edge = header.locator('[class*="cell-resize"]')
        if edge.is_visible():
            edge.dblclick()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
