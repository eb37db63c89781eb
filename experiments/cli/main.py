"""The command line: which commands there are, and how they end."""

from __future__ import annotations

import errno
import inspect
import os
import sys
import threading
from collections.abc import Callable
from gc import freeze
from typing import Annotated, NoReturn

import typer

from experiments.cli import (
    accept,
    cancel,
    demo,
    doctor,
    gc,
    init,
    logs,
    plan,
    publish,
    report,
    run,
    sample,
    status,
    sync,
    why,
)
from experiments.cli import data as datasets
from experiments.cli.completion import complete_in_bash
from experiments.cli.grouped_commands import GroupedCommands
from experiments.cli.output import DONE, INTERRUPTED, WRONG_INPUT
from experiments.cli.quick_values import QuickCommand
from experiments.cli.restart import start_again
from experiments.cli.signals import interrupted_by_signals
from experiments.cli.streams import make_lenient
from experiments.errors import RayLost, UserError

ALLOW, MAKE_ROOM = "give this account access to it", "make room there"
REMEDIES = {  # of a file that is refused, by the number of the error
    errno.EACCES: ALLOW,
    errno.EPERM: ALLOW,
    errno.EROFS: "choose a place that can be written",
    errno.ENOSPC: MAKE_ROOM,
    errno.EDQUOT: MAKE_ROOM,
}
COMPLETING = "_EDM_SWEEP_COMPLETE"  # set by the shell that asks for completions
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
HELP = """\
Fill ablation tables of EDM diffusion models: train, sample and score whatever a sweep still needs.

Exit codes: 0 done; 1 a task failed or a problem was found; 2 wrong input, or something that you must fix first, such
as a full disk; 130 interrupted with Ctrl-C or SIGTERM.
"""

app = typer.Typer(
    name="edm-sweep",
    cls=GroupedCommands,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)
data = typer.Typer(
    cls=GroupedCommands,
    no_args_is_help=True,
    help="Prepare and list data sets.",
    rich_markup_mode=None,
    context_settings=SETTINGS,
)

STORE_PANEL = "The store and this machine"
PANELS = {
    "A sweep": (init.init, plan.plan, run.run, report.report, report.export),
    "During a run, and afterwards": (
        status.status,
        logs.logs,
        cancel.cancel,
        why.why,
        why.diff,
        accept.accept,
        sample.sample,
        publish.publish,
        demo.demo,
    ),
    "MLflow": (sync.ui, sync.sync),
    STORE_PANEL: (gc.gc, doctor.doctor),
}


def help_of(command: Callable[..., None]) -> str:
    """Return a command's docstring with each paragraph in one line, to be broken where the terminal ends."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # heavy

        print(f"edm-sweep {version('edm-sweep')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")]


@app.callback(help=HELP)
def _of_all_commands(version: Version = False) -> None:
    """Take the options that belong to no command."""


for panel, commands in PANELS.items():
    for command in commands:
        app.command(cls=QuickCommand, help=help_of(command), rich_help_panel=panel)(command)
data.command("prepare", cls=QuickCommand, help=help_of(datasets.prepare))(datasets.prepare)
data.command("list", cls=QuickCommand, help=help_of(datasets.list_data_sets))(datasets.list_data_sets)
app.add_typer(data, name="data", rich_help_panel=STORE_PANEL)


def main() -> None:
    """Run the command line. A UserError, or a file that is refused, is one line on standard error and exit code 2."""
    make_lenient()
    try:
        if os.environ.get(COMPLETING) == "complete_bash":
            complete_in_bash(app)
        with interrupted_by_signals():
            app()
    except SystemExit as end:
        _leave(end.code if isinstance(end.code, int) else DONE)
    except RayLost as lost:
        start_again(lost.spent_s)
    except UserError as error:
        print(error, file=sys.stderr)
        _leave(WRONG_INPUT)
    except OSError as error:
        if error.errno not in REMEDIES or error.filename is None:
            raise
        print(f"{error.filename}: {error.strerror}; {REMEDIES[error.errno]}", file=sys.stderr)
        _leave(WRONG_INPUT)
    except KeyboardInterrupt as interrupt:
        from experiments.cli.interruption import tell_of  # of which commands that nobody interrupts have no need

        tell_of(interrupt)
        _leave(INTERRUPTED)


def _leave(code: int) -> NoReturn:
    """Exit, at once if a library's thread still runs, because a normal exit with a running thread may crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "torch" not in sys.modules:  # with which comes triton, which takes frozen objects for leaks
        freeze()  # or leaving looks through all objects for cycles: 0.08 s with a plan of 10,000 cells
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
