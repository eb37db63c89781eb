"""The tables of fixed frames in every format, and what holds of any numbers.

EDM_SWEEP_UPDATE_SNAPSHOTS=1 rewrites the files; read what `git diff` then shows.
"""

import io
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from reports.entries import TableEntry, round_column
from reports.folder import write_report
from reports.formats import FORMATS
from reports.metrics import MAX_DECIMALS
from reports.report import Report
from reports.significance import Sample, ScoreColumn, marks
from reports.tables import result_tables
from tests.reports.frames import (
    DIGITS,
    HOSTILE,
    LAYOUT,
    NO_CURVES,
    PIVOT,
    PUBLISHED,
    digits,
    frame,
    full,
    published,
    unfinished,
    with_errors,
)
from tests.snapshots import require_same

GOLDEN = Path(__file__).parent / "golden"
STATES = {"nano/False/1": "running", "micro/False/0": "failed"}
NAMES = ("digits", "unfinished", "empty", "hostile", "published")
COMPARED = replace(
    PIVOT, metrics=("fid_test",), baseline={"model.attention": True}, costs=("parameters", "nfe"), name="Attention"
)


def reports() -> dict[str, Report]:
    costs = {"parameters": 376_625, "nfe": 18, "training_s": 25.5, "gpu_hours": None}
    hostile = with_errors(full(frame(**{"model.preset": HOSTILE, "notes": HOSTILE[0]})))
    frames = {
        "digits": (digits().assign(**costs), (DIGITS, COMPARED), {}),
        "unfinished": (unfinished().assign(status=_statuses), (LAYOUT,), STATES),
        "empty": (_without_scores(frame()), (LAYOUT,), STATES),
        "hostile": (hostile, (replace(LAYOUT, name=HOSTILE[2], caption=HOSTILE[1]),), {}),
        "published": (published(), (PUBLISHED,), {}),
    }
    return {
        name: Report(layouts, made, NO_CURVES, {}, {"host": "a"}, states=states)
        for name, (made, layouts, states) in frames.items()
    }


def _without_scores(made: pd.DataFrame) -> pd.DataFrame:
    return made.assign(status="missing", fid_test=math.nan, class_accuracy=math.nan)


def _statuses(made: pd.DataFrame) -> list[str]:
    ended = made["stopped_at"].notna() | made["pruned_at"].notna()
    states = zip(ended, made["fid_test"].isna(), strict=True)
    return ["stopped" if early else "missing" if empty else "done" for early, empty in states]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a report in every format, written once."""

    @cache
    def folder_of(name: str) -> Path:
        return write_report(reports()[name], tmp_path_factory.mktemp(name), FORMATS).parent

    return folder_of


@pytest.mark.parametrize("file", ["report.md", "report.tex", "report.html", "tables.csv", "columns.csv"])
@pytest.mark.parametrize("name", NAMES)
def test_golden_files(name: str, file: str, written: Callable[[str], Path]) -> None:
    made, path = (written(name) / file).read_text(), GOLDEN / f"{name}-{file}"
    made = tables_of(made) if file.endswith(".html") else made
    require_same(made, path)


def tables_of(page: str) -> str:
    """What a page begins with: what is asked and found, the filters, the tables and how to read them."""
    found = re.search(r"<header>.*?</header>.*?(?=</section>)", page, re.DOTALL)
    assert found is not None
    return found[0] + "</section>\n"


@pytest.mark.parametrize("name", NAMES)
def test_csv_and_parquet_hold_the_same(name: str, tmp_path: Path) -> None:
    write_report(reports()[name], tmp_path, ("csv", "parquet"))
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".parquet"}
    for table in ("results", "tables"):
        text, typed = pd.read_csv(tmp_path / f"{table}.csv"), pd.read_parquet(tmp_path / f"{table}.parquet")
        assert list(text) == list(typed) and len(text) == len(typed)
        for column in typed.select_dtypes("number"):
            assert text[column].to_list() == pytest.approx(typed[column].to_list(), nan_ok=True)


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    write_report(reports()["hostile"], tmp_path, ("csv",))
    for path in tmp_path.iterdir():
        made = pd.read_csv(io.StringIO(path.read_text()), dtype=str, keep_default_na=False)
        texts = [text for column in made for text in made[column]]
        assert not any(text.startswith(("=", "+", "@")) for text in texts)
    assert "'=cmd('calc')" in (tmp_path / "results.csv").read_text()


# what holds of any numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_a_rounded_column_shows_its_errors_and_keeps_its_order(seed: int) -> None:
    rng = random.Random(seed)
    scale = 10 ** rng.uniform(-4, 4)
    errors = [scale * rng.uniform(0.01, 0.1) for _ in range(8)]
    means = [scale * rng.uniform(0.5, 5) for _ in errors]
    column = round_column([TableEntry(mean, margin=error) for mean, error in zip(means, errors, strict=True)])
    assert len({entry.decimals for entry in column}) == 1
    shown = [float(entry.value) for entry in column]
    order = sorted(range(8), key=means.__getitem__)
    assert [shown[i] for i in order] == sorted(shown)
    for entry, value in zip(column, shown, strict=True):
        assert abs(value - entry.mean) <= 0.5 * 10**-entry.decimals * (1 + 1e-9)
    median = sorted(errors)[3]
    if 0 < column[0].decimals < MAX_DECIMALS:  # two digits of the usual error, no more and no less
        assert round(median * 10 ** column[0].decimals, 6) * 1.6 >= 10 and median * 10 ** column[0].decimals < 200


@pytest.mark.parametrize("seed", range(50))
def test_marks_do_not_depend_on_order_or_scale(seed: int) -> None:
    rng = random.Random(seed)
    samples = [Sample((0,), (f"c{i}",), (rng.uniform(1, 2),), (rng.uniform(0.01, 0.2),)) for i in range(7)]
    (found,) = marks([ScoreColumn(tuple(samples))])
    order = rng.sample(range(7), 7)
    (shuffled,) = marks([ScoreColumn(tuple(samples[i] for i in order))])
    assert [found[i] for i in order] == shuffled
    tenfold = [replace(s, values=(10 * s.values[0],), errors=(10 * s.errors[0],)) for s in samples]
    assert marks([ScoreColumn(tuple(tenfold))]) == [found]
    negated = [replace(s, values=(-s.values[0],)) for s in samples]
    assert marks([ScoreColumn(tuple(negated), lower_is_better=False)]) == [found]
    best = min(range(7), key=lambda i: samples[i].values[0])
    assert found[best] in ("best", "tied") and found.count("best") <= 1
    assert ("best" in found) != ("tied" in found)


def test_numbers_that_are_not_finite_are_shown_and_never_best() -> None:
    made = with_errors(frame(fid_test=[math.inf, 11.0, 20.0, 21.0]))
    (table,) = result_tables(made, LAYOUT)
    entries = [entries[0] for _, entries in table.rows]
    assert entries[0].text.startswith("inf") and not entries[0].mark and entries[1].mark == "best"
