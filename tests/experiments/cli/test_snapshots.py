"""What every view shows, at five widths: nothing is cut or left out, with and without a terminal.

EDM_SWEEP_UPDATE_SNAPSHOTS=1 rewrites the snapshots; read what `git diff` then shows.
"""

import io
import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.experiments.cli.examples import VIEWS

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = "EDM_SWEEP_UPDATE_SNAPSHOTS" in os.environ
WIDTHS = (60, 80, 100, 120, 200)
NUMBER = re.compile(r"\d[\d,.]*")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the terminal that the tests run in, and data sets in the store alone."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "EDM_SWEEP_DATA"):
        monkeypatch.delenv(name, raising=False)


def printed(view: str, width: int, terminal: bool = True, **environment: str) -> str:
    output = io.StringIO()
    console = Console(
        file=output, width=width, height=50, force_terminal=terminal, highlight=False, _environ=environment
    )
    console.print(VIEWS[view](), crop=False)
    return output.getvalue()


def plain(view: str, width: int) -> str:
    return ANSI.sub("", printed(view, width, TERM="dumb"))


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(text))


@pytest.mark.parametrize("view", VIEWS)
def test_snapshots(view: str) -> None:
    path = SNAPSHOTS / f"{view}.txt"
    text = "\n".join(f"{f' {width} columns ':-^{width}}\n{plain(view, width)}" for width in WIDTHS)
    if UPDATE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


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
    text = printed(view, 100, **environment)
    assert ANSI.sub("", text) == plain(view, 100)
    codes = {code for codes in re.findall(r"\x1b\[([0-9;]+)m", text) for code in codes.split(";")}
    assert has_colours or not codes & {str(30 + i) for i in range(8)}
    assert has_escapes or not codes


@pytest.mark.parametrize("view", VIEWS)
def test_files_get_no_escapes_and_every_number(view: str) -> None:
    text = printed(view, 160, terminal=False, TERM="xterm-256color")
    assert "\x1b" not in text and numbers(plain(view, 300)) <= numbers(text)
