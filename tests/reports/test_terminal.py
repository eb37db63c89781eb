"""Result tables in terminals of every width.

EDM_SWEEP_UPDATE_SNAPSHOTS=1 rewrites the snapshots; read what `git diff` then shows.
"""

import io
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from reports.grid import PIECE_ENDS, BreakLevel, Grid, GridCell, GridColumn, wrap
from reports.table import ResultTable
from reports.tables import result_tables
from reports.terminal import to_rich
from tests.reports.frames import LAYOUT, SWEEPS, frame
from tests.snapshots import require_same

SNAPSHOTS = Path(__file__).parent / "snapshots"
WIDTHS = (60, 80, 100, 120, 200)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def main_table(sweep: str) -> ResultTable:
    make, layout = SWEEPS[sweep]
    return next(table for table in result_tables(make(), layout) if table.main)


def printed(table: ResultTable, width: int, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, height=50, force_terminal=terminal)
    console.print(to_rich(table, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def without_effects(text: str) -> str:
    """What is printed of a table but for what differences are taken to, and its main effects."""
    return text.partition("\n\nΔ: ")[0].partition("\n\nMain effects:")[0]


def words_of(table: ResultTable) -> Counter[str]:
    """Every word of every entry, as often as it has to be shown."""
    words = Counter(word for entry in table.entries for word in entry.text.split())
    words += Counter(
        word for row in table.baselines for e in row.entries if e.mean is not None for word in e.text.split()
    )
    return words


def shown_words(text: str) -> Counter[str]:
    """Every word of a text, without the parentheses and commas that a stacked remark has in other places."""
    return Counter(word.strip("(),") for word in text.split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_snapshots(sweep: str, width: int) -> None:
    path = SNAPSHOTS / f"{sweep}-{width}.txt"
    text = printed(main_table(sweep), width)
    require_same(text, path)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_no_number_is_cut_or_lost_at_any_width(sweep: str) -> None:
    table = main_table(sweep)
    expected = Counter({word.strip("(),"): count for word, count in words_of(table).items()})
    numbers = Counter({word: count for word, count in expected.items() if any(map(str.isdigit, word))})
    for width in range(20, 221, 4):
        text = printed(table, width)
        assert not numbers - shown_words(text), width
        assert "…" not in text and "..." not in text
        assert max(map(cell_len, text.splitlines())) <= width


@pytest.mark.parametrize("sweep", SWEEPS)
def test_axis_values_and_heads_are_whole_at_any_width(sweep: str) -> None:
    """Every piece between which a text may be broken is there."""
    table = main_table(sweep)
    texts = {*table.row_heads, *(name for names, _ in table.rows for name in names)}
    texts |= {value for head in table.heads for value in (*head.axis_values, head.metric_title)}
    texts |= {row.title for row in table.baselines}
    for width in range(40, 221, 4):
        text = printed(table, width)
        assert all(piece.strip() in text for value in texts for piece in PIECE_ENDS.split(value)), width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_interval_and_every_mark_is_shown(sweep: str, width: int) -> None:
    table = main_table(sweep)
    body = without_effects(printed(table, width)).rpartition("\n\n")[0]  # without the explanation below the table
    assert body.count("±") == sum(bool(entry.margin) for entry in table.entries)
    assert body.count("≈") == sum(entry.is_tied for entry in table.entries)
    assert body.count("*") == sum(entry.is_best for entry in table.entries)
    assert body.count("(s ") == sum(entry.std is not None for entry in table.entries)


@pytest.mark.parametrize(
    ("environment", "escapes"),
    [
        ({"TERM": "xterm-256color"}, {"1", "2", "1;32"}),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, {"1", "2"}),
        ({"TERM": "dumb"}, set()),
    ],
    ids=["colours", "NO_COLOR", "dumb"],
)
@pytest.mark.parametrize("width", WIDTHS)
def test_colours_add_nothing_to_the_text(
    width: int, environment: dict[str, str], escapes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    table = main_table("long")
    text = printed(table, width, terminal=True)
    assert ANSI.sub("", text) == printed(table, width)
    assert set(re.findall(r"\x1b\[([1-9][0-9;]*)m", text)) == escapes


def test_large_numbers_are_whole_at_every_width() -> None:
    for width in WIDTHS:
        words = " ".join(printed(main_table("wide_range"), width).split())
        assert words.count("27657.3") == 3 and words.count("± 312.4") == 3


def test_marks_are_explained_below_the_table() -> None:
    text = " ".join(without_effects(printed(main_table("long"), 80)).split())
    assert text.endswith(
        "±: half of the 95% interval. *: significantly better than every other entry of its column. "
        "≈: the best of its column, or not significantly different from the best."
    )


def test_digits_of_a_column_are_aligned() -> None:
    lines = [line for line in printed(main_table("digits"), 120).splitlines() if line.startswith(("nano", "micro"))]
    assert len(lines) == 24 and len({line.index("±") for line in lines}) == 1
    assert len({line.rindex(" %") for line in lines if "± 1." in line}) == 1


def test_columns_of_one_axis_value_stay_in_one_table() -> None:
    blocks = without_effects(printed(main_table("pivot"), 80)).split("\n\n")[1:-1]
    heads = [block.splitlines()[0].split() for block in blocks]
    assert heads == [["euler"] * 2, ["heun"] * 2, ["stochastic_heun"] * 2]


def test_a_very_narrow_terminal_shows_a_paragraph_for_each_row() -> None:
    text = printed(main_table("long"), 40)
    assert "path=/data/collections/plants,\nguidance_interval=null,\nchannels=64,128,256,512,1024,2048\n" in text
    assert "\n  FID train       1.38 ± 0.17 ≈\n" in text and "\n  class accuracy  100.0 % *\n" in text
    assert text.count("pure noise\n  FID train  32.93\n") == 1


def test_a_table_without_scores_shows_its_rows() -> None:
    (table,) = result_tables(frame().assign(kid_train=float("nan")), replace(LAYOUT, metrics=("kid_train",)))
    for width in (20, 80):
        assert len(re.findall("nano|micro", printed(table, width))) == 4


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("class accuracy", 14, ["class accuracy"]),
        ("class accuracy", 13, ["class", "accuracy"]),
        ("stochastic_heun", 11, ["stochastic_", "heun"]),
        ("a/long/path of words", 8, ["a/long/", "path of", "words"]),
        ("lr=0.0002", 6, ["lr=", "0.0002"]),
        ("guidance=-1e-05", 9, ["guidance=", "-1e-05"]),
        ("unbreakable", 5, ["unbre", "akabl", "e"]),
        ("", 5, [""]),
    ],
)
def test_texts_break_at_sensible_places(text: str, width: int, lines: list[str]) -> None:
    assert wrap(text, width) == lines


def test_spare_room_makes_the_tallest_head_lower() -> None:
    """Also where there is not enough to have all of that head in one line."""
    long = GridColumn(("distance to the nearest image of the train split",), (GridCell(("0.98",)),), is_number=True)
    short = GridColumn(("FID test",), (GridCell(("10.00",)),), is_number=True)
    grid = Grid((GridColumn(("preset",), (GridCell(("nano",)),)),), (long, short, short))
    for width, height in ((32, 6), (36, 4), (40, 3), (48, 2), (76, 1)):
        text = grid.render(width, BreakLevel.WORDS)
        assert text is not None
        lines = text.plain.splitlines()
        assert len(lines) == height + 1 and max(map(len, lines)) <= width
