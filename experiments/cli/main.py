"""The command line: which commands there are, and how they end."""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn

import typer

from experiments.cli import cancel, doctor, init, logs, plan, report, sync, why
from experiments.cli import data as datasets
from experiments.cli import gc as keeping
from experiments.cli import run as running
from experiments.cli import sample as pictures
from experiments.cli import status as looking
from experiments.cli.completion import complete_in_bash
from experiments.cli.output import DONE, INTERRUPTED, WRONG_INPUT
from experiments.errors import UserError

COMPLETING = "_EDM_SWEEP_COMPLETE"  # set by the shell that asks for completions
SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="edm-sweep",
    help="A build system for ablation tables of EDM diffusion models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)
data = typer.Typer(no_args_is_help=True, help="Prepare data sets, and list them.", context_settings=SETTINGS)

PANELS = {
    "A sweep": (init.init, plan.plan, running.run, report.report, report.export),
    "While it runs, and after": (
        looking.status,
        logs.logs,
        cancel.cancel,
        why.why,
        why.diff,
        pictures.sample,
    ),
    "The record in MLflow": (sync.ui, sync.sync),
    "The store and the machine": (keeping.gc, doctor.doctor),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
data.command("prepare")(datasets.prepare)
data.command("list")(datasets.show)
app.add_typer(data, name="data", rich_help_panel="The store and the machine")


def main() -> None:
    """The entry point: errors for people become one line and exit code 2."""
    try:
        if os.environ.get(COMPLETING) == "complete_bash":
            complete_in_bash(app)
        app()
    except SystemExit as end:
        _leave(end.code if isinstance(end.code, int) else DONE)
    except UserError as error:
        print(error, file=sys.stderr)
        _leave(WRONG_INPUT)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        _leave(INTERRUPTED)


def _leave(code: int) -> NoReturn:
    """Exit, at once where a library's thread still runs: taking the interpreter down around it could abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
