"""What every view shows, at five widths: nothing is cut or left out, with and without a terminal.

EDM_SWEEP_UPDATE_SNAPSHOTS=1 rewrites the snapshots; read what `git diff` then shows.
"""

import io
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from tests.experiments.cli.examples import VIEWS, live, watched_status
from tests.snapshots import require_same

SNAPSHOTS = Path(__file__).parent / "snapshots"
WIDTHS = (60, 80, 100, 120, 200)
NUMBER = re.compile(r"\d[\d,.]*")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the terminal that the tests run in, and data sets in the store alone."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "EDM_SWEEP_DATA"):
        monkeypatch.delenv(name, raising=False)


def printed(view: str, width: int, terminal: bool = True, **environment: str) -> str:
    return rendered(VIEWS[view](), width, 50, terminal, **environment)


def rendered(view: RenderableType, width: int, height: int, terminal: bool = True, **environment: str) -> str:
    output = io.StringIO()
    console = Console(
        file=output, width=width, height=height, force_terminal=terminal, highlight=False, _environ=environment
    )
    console.print(view, crop=False)
    return output.getvalue()


def plain(view: str, width: int) -> str:
    return ANSI.sub("", printed(view, width, TERM="dumb"))


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(text))


@pytest.mark.parametrize("view", VIEWS)
def test_snapshots(view: str) -> None:
    path = SNAPSHOTS / f"{view}.txt"
    text = "\n".join(f"{f' {width} columns ':-^{width}}\n{plain(view, width)}" for width in WIDTHS)
    require_same(text, path)


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_cut_or_lost_at_any_width(view: str) -> None:
    whole = plain(view, 300)
    words = set(re.findall(r"[A-Za-z]+", whole))
    for width in range(60, 201, 5):
        text = plain(view, width)
        assert max(map(cell_len, text.splitlines())) <= width
        assert numbers(whole) <= numbers(text), width
        assert words <= set(re.findall(r"[A-Za-z]+", text)), width
        assert "…" not in text


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("environment", "has_colours", "has_escapes"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, False),
    ],
    ids=["colours", "NO_COLOR", "dumb"],
)
def test_colours_add_nothing(view: str, environment: dict[str, str], has_colours: bool, has_escapes: bool) -> None:
    text = printed(view, 100, True, **environment)
    assert ANSI.sub("", text) == plain(view, 100)
    codes = {code for codes in re.findall(r"\x1b\[([0-9;]+)m", text) for code in codes.split(";")}
    assert has_colours or not codes & {str(30 + i) for i in range(8)}
    assert has_escapes or not codes


@pytest.mark.parametrize("view", VIEWS)
def test_files_get_no_escapes_and_every_number(view: str) -> None:
    text = printed(view, 160, terminal=False, TERM="xterm-256color")
    assert "\x1b" not in text and numbers(plain(view, 300)) <= numbers(text)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [3, 8, 13, 24, 38])
def test_a_short_terminal_says_how_many_lines_it_leaves_out(width: int, height: int) -> None:
    for view in (live, watched_status):
        whole = ANSI.sub("", rendered(view(), width, 500)).splitlines()
        lines = ANSI.sub("", rendered(view(), width, height)).splitlines()
        assert len(lines) <= height
        if len(whole) <= height:
            assert lines == whole
            continue
        remark = next(i for i, line in enumerate(lines) if line.startswith("... and "))
        (left_out,) = re.findall(r"\.\.\. and (\d+) more lines", lines[remark])
        assert int(left_out) == len(whole) - remark
        order = iter(whole)
        assert all(line in order for line in lines[:remark]), "in the order that the whole table has"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_short_terminal_keeps_what_runs_and_what_failed(width: int) -> None:
    text = ANSI.sub("", rendered(watched_status(), width, 32))
    assert all(f"guidance={i}" in text for i in (36, 37))
    assert all(f"guidance={i}" in text for i in range(30, 36)) or "guidance=0" not in text
    text = ANSI.sub("", rendered(live(), width, 6))
    assert "27.657/18,750 kimg" in text and "queued" not in text and "12 of 345 done" in text
    assert "training" not in rendered(watched_status(), width, 5), "a head without a row"
