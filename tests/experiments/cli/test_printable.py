"""Whatever text a store, a bundle or a log has: it does not control the terminal that shows it."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from experiments.cli.output import console_for, say, show
from experiments.cli.views.printable import PrintableText
from experiments.store.layout import LOG
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.commandline import invoke

HOSTILE = "\x1b]0;title\x07\x1b[2Jred\r\u202eabc"


def printed(shown: object, terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=60, highlight=False)
    console.push_render_hook(PrintableText())
    show(console, shown)  # pyright: ignore[reportArgumentType]
    say(console, str(HOSTILE), style="bold red")
    return output.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_text_is_written_out_and_colours_stay(terminal: bool) -> None:
    table = Table("name")
    table.add_row(HOSTILE)
    text = printed(table, terminal)
    assert "\\x1b]0;title" in text and "\x1b]" not in text and "\x1b[2J" not in text and "\u202e" not in text
    assert ("\x1b[1;31m" in text) is terminal


def test_every_console_of_the_command_does_so() -> None:
    assert any(isinstance(hook, PrintableText) for hook in console_for(as_json=False)._render_hooks)


def test_a_log_of_a_store_does_not_control_the_terminal(done: tuple[Plan, Store]) -> None:
    plan, store = done
    signature = plan.cells[0].evaluation.signature
    (store.folder("evaluations", signature) / LOG).write_text(f"{HOSTILE}\nsecond line\n", newline="")
    answer = invoke("logs", signature, "--store", store.root)
    assert answer.returncode == 0 and "second line" in answer.stdout
    assert "\x1b" not in answer.stdout and "\u202e" not in answer.stdout
