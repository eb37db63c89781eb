"""Take README.md's table and the quickstart's pictures from a finished run of sweeps/digits.yaml.

    uv run python docs/scripts/quickstart.py STORE            # write the table and docs/images/
    uv run python docs/scripts/quickstart.py STORE --check    # only compare the table with the store

The check allows for what another machine changes: a CPU that rounds differently trains slightly different networks.
"""

from __future__ import annotations

import csv
import math
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)  # tests/ is not installed; and from here mlflow.py would be imported as MLflow

README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"
EXAMPLE = ROOT / "docs" / "examples" / "digits.html"
BEGIN, END = "<!-- quickstart table -->\n", "<!-- end of quickstart table -->\n"
METRIC = "fid_test"
SHOWN = {"model.preset": "micro", "model.attention": "False"}  # one of the four networks
ROWS, COLUMNS = "sampling.guidance", "sampling.sampler"
WIDTH, MARGIN = 1300, 12  # pixels, of pictures of the page
# widths of the intervals, which are of images alone: another CPU trains another network (3.3 were seen, AMD and Intel)
TOLERANCE = 6.0

Key = tuple[str, str]  # guidance, sampler


@dataclass(frozen=True)
class Entry:
    """A score and half of its 95% interval."""

    value: float
    half: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.half:.2f}"

    def agrees_with(self, other: Entry) -> bool:
        """Whether both may be the same sweep's on different machines."""
        return abs(self.value - other.value) <= TOLERANCE * math.hypot(self.half, other.half)


def measured(results: Path) -> dict[Key, Entry]:
    """The chosen network's scores in a report's results.csv."""
    entries: dict[Key, Entry] = {}
    with results.open(newline="") as file:
        for row in csv.DictReader(file):
            if all(row[axis] == value for axis, value in SHOWN.items()):
                half = (float(row[f"{METRIC}_high"]) - float(row[f"{METRIC}_low"])) / 2
                entries[f"{float(row[ROWS]):g}", row[COLUMNS]] = Entry(float(row[METRIC]), half)
    return entries


def table(entries: dict[Key, Entry]) -> str:
    """A Markdown table of the entries: a row for each guidance scale, a column for each sampler."""
    scales, samplers = (list(dict.fromkeys(key[i] for key in entries)) for i in (0, 1))
    lines = [["guidance", *samplers], ["---", *["---:"] * len(samplers)]]
    lines += [[scale, *(str(entries[scale, sampler]) for sampler in samplers)] for scale in scales]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def printed(readme: str) -> dict[Key, Entry]:
    """The entries of README.md's table."""
    block = readme.partition(BEGIN)[2].partition(END)[0]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.strip().splitlines()]
    entries: dict[Key, Entry] = {}
    for scale, *cells in rows:
        for sampler, cell in zip(head[1:], cells, strict=True):
            value, half = re.fullmatch(r"([\d.]+) ± ([\d.]+)", cell).groups()  # pyright: ignore[reportOptionalMemberAccess]
            entries[scale, sampler] = Entry(float(value), float(half))
    return entries


def check(found: dict[Key, Entry], shown: dict[Key, Entry]) -> None:
    """Exit with 1 where README.md's table does not describe this run."""
    if found.keys() != shown.keys():
        sys.exit(f"README.md's table has the cells {sorted(shown)}, the sweep {sorted(found)}")
    wrong = [
        f"{'/'.join(key)}: {shown[key]}, found {found[key]}" for key in found if not found[key].agrees_with(shown[key])
    ]
    if wrong:
        sys.exit(f"README.md's table is out of date ({'; '.join(wrong)}); run docs/scripts/quickstart.py STORE")
    print(f"README.md's table agrees with this run: {len(found)} entries.")


def write_table(entries: dict[Key, Entry]) -> None:
    """Replace the table in README.md."""
    before, _, rest = README.read_text().partition(BEGIN)
    README.write_text(before + BEGIN + table(entries) + END + rest.partition(END)[2])


# pictures -----------------------------------------------------------------------------------------


def take_pictures(report: Path) -> None:
    """Write what the report page shows: tables, intervals, samples, steps, a phone's view."""
    from tests.browser import opened

    with opened() as page:
        page.set_viewport_size({"width": WIDTH, "height": 800})
        page.goto(report.as_uri())
        page.locator(".gallery").first.scroll_into_view_if_needed()
        page.wait_for_timeout(2000)  # pictures are loaded as they come into view
        for name, first, last in (
            ("report.png", "h1", "tbody tr:nth-child(12)"),
            ("intervals.png", "#figure-scores", "#figure-scores"),
            ("steps.png", "#denoising", "#steps-Below"),
            ("cells.png", ".gallery", ".gallery figure:nth-of-type(4)"),
        ):
            top = edges(page, first)[0] - MARGIN
            page.screenshot(
                path=IMAGES / name,
                full_page=True,
                clip={"x": 0, "y": top, "width": WIDTH, "height": edges(page, last)[1] - top},
            )
        page.set_viewport_size({"width": 390, "height": 844})
        page.evaluate("window.scrollTo(0, 0)")
        page.screenshot(path=IMAGES / "report-phone.png")


def edges(page: Page, selector: str) -> tuple[float, float]:
    """The upper and lower edge of the first element that a selector finds, from the top of the page."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None, f"the report has no {selector}"
    top = box["y"] + float(page.evaluate("window.scrollY"))
    return top, top + box["height"]


def draw_samples(store: Path) -> None:
    """Write noise becoming digits."""
    options = ["--trajectory", "--images", "3", "--guidance", "2", "--out", str(IMAGES / "samples.png")]
    subprocess.run(["edm-sweep", "sample", "micro/attention", *options, "--store", str(store)], check=True)


def main(store: Path, only_check: bool) -> None:
    """Check the table, or write it and the pictures."""
    folder = store.absolute() / "reports" / "digits"
    entries = measured(folder / "results.csv")
    if only_check:
        check(entries, printed(README.read_text()))
        return
    write_table(entries)
    take_pictures(folder / "report.html")
    EXAMPLE.parent.mkdir(exist_ok=True)
    EXAMPLE.write_text((folder / "report.html").read_text().replace(str(store.absolute()), "runs"))
    draw_samples(store)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--check" in sys.argv[2:])
