"""Makes docs/cli.md from the commands themselves and from the examples below: `uv run python docs/cli.py`.

A test compares the page with what this makes, so that no command and no option is missing; another runs the examples.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script it sees its own folder alone

import typer

from experiments.cli.main import app

PAGE = Path(__file__).parent / "cli.md"

HEAD = """\
# The command line

Made by `docs/cli.py` from the commands themselves; `edm-sweep COMMAND --help` says the same.

**SWEEP** is a sweep file, or the name of a sweep that was run on the store: the store remembers it whole, so that `status`,
`report`, `export`, `sync` and `plan` need no file. **CELL** is a cell of such a sweep, called by what distinguishes it, as in
`nano/no-attention/guidance=2/heun`: by its name, by some of its parts in order (`nano/guidance=2/heun`, `heun`), by how
either begins, or by a signature or how that begins. What several cells of one training have in common (`nano/attention`) names that
training. Where two sweeps have a cell of that name, `SWEEP:CELL` says which; a file in the place of SWEEP asks of a sweep
that was never run. Patterns with `*` and `?` stand for several cells where several make sense.

Every command has `--json` for scripts, but for `ui`, which serves. What is for people goes to standard error then. Exit
codes: 0 done, 1 some work failed, was cancelled or was not started (of `doctor`: something is wrong), 2 wrong input, 130
interrupted. A mistake is one sentence on standard error, with `--json` as well.

A name stands for what was run under it last, overrides of `--set` included; what it stood for before stays in the store, and
`gc` leaves it alone unless it is given `--past`.

Shell completion of commands, options, sweeps and cells: `edm-sweep --install-completion`.
"""

EXAMPLES: dict[str, list[str]] = {
    "init": ["edm-sweep init first", "edm-sweep init second --data cifar10 --folder mine"],
    "plan": ["edm-sweep plan sweeps/digits.yaml", "edm-sweep plan digits --only nano --json"],
    "run": [
        "edm-sweep run sweeps/digits.yaml",
        "edm-sweep run sweeps/digits.yaml --only 'nano/no-attention/*/heun' --tag paper=iclr",
        "edm-sweep run digits --dry-run",
    ],
    "report": [
        "edm-sweep report digits",
        "edm-sweep report bundle.zip",
    ],
    "export": ["edm-sweep export digits bundle.zip"],
    "status": ["edm-sweep status", "edm-sweep status digits --watch", "edm-sweep status sweeps/digits.yaml --json"],
    "logs": ["edm-sweep logs nano/attention/guidance=2/heun", "edm-sweep logs nano/attention -n 5 --follow"],
    "cancel": ["edm-sweep cancel nano/attention/guidance=2/heun", "edm-sweep cancel '*/stochastic_heun'"],
    "why": [
        "edm-sweep why nano/attention/guidance=2/heun",
        "edm-sweep why sweeps/changed.yaml:nano/attention/guidance=2/heun",
    ],
    "diff": [
        "edm-sweep diff nano/attention/guidance=2/heun nano/attention/guidance=2/euler",
        "edm-sweep diff nano/attention nano/no-attention --json",
    ],
    "sample": ["edm-sweep sample nano/attention --images 16 --label 7 --guidance 2.5 --steps 6 --out grid.png"],
    "ui": ["edm-sweep ui --port 5001"],
    "sync": ["edm-sweep sync digits", "edm-sweep sync --from bundle.zip"],
    "gc": ["edm-sweep gc", "edm-sweep gc --keep best --drawings", "edm-sweep gc --past --yes"],
    "doctor": ["edm-sweep doctor", "edm-sweep doctor sweeps/digits.yaml"],
    "data list": ["edm-sweep data list"],
    "data prepare": ["edm-sweep data prepare digits"],
}

MORE = {
    "status": """\
States: `done`; `running` (where, how far, how fast, how long still); `failed` (why); `pruned`; `interrupted` (half done, and
nobody is at it: the next run goes on with it); `waiting` for its training, which has begun; `planned`. Where there are more than
40 cells they are told by training, and those that run, failed or were interrupted by themselves.
""",
    "cancel": """\
A run hears of it within two seconds. What it leaves saves its state first; a training is left once no cell wants it any more.
`cancel SWEEP` ends its runs as Ctrl-C does.
""",
    "gc": """\
It never touches what a sweep refers to that was run on the store, now or in an earlier run, unless `--keep`, `--drawings` or
`--past` says so, nor what anybody is at; and nothing that a cell that is left to do stands on.
""",
    "run": """\
The commands of `--on-finish` and `--on-failure` get one JSON object on standard input: `outcome` is `done`, `failed`,
`interrupted` or `error`; `failed`, `withheld` and `cancelled` say what and why; `cells` are the results, where the run came to
its end. No shell reads them.
""",
    "export": """\
A bundle has no weights and no features, so it is small. It is sealed: one whose names lead outside, or of which a byte was
changed, is refused.
""",
}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, command in commands(typer.main.get_command(app)):
        parts.append(section(name, command))
    return "\n".join(parts)


def commands(group: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """All commands by name, those of groups after their group's."""
    found: list[tuple[str, Any]] = []
    for name, command in group.commands.items():
        nested = getattr(command, "commands", None)
        found += commands(command, f"{prefix}{name} ") if nested else [(f"{prefix}{name}", command)]
    return found


def section(name: str, command: Any) -> str:
    """One command: what it does, how it is called, examples, and a line for each argument and option."""
    lines = [f"## {name}\n", f"{_text(command.help)}\n"]
    if name in MORE:
        lines.append(MORE[name])
    lines += [f"    {example}" for example in EXAMPLES.get(name, [])]
    rows = [row for parameter in command.params if (row := _row(parameter)) is not None]
    return "\n".join([*lines, "", "| | |", "| --- | --- |", *rows, ""])


def _row(parameter: Any) -> str | None:
    told = _text(parameter.help or "")
    if parameter.param_type_name == "argument":
        return f"| `{parameter.metavar or parameter.name.upper()}` | {told} |"
    if "--help" in parameter.opts:
        return None
    names = ", ".join(f"`{option}`" for option in sorted(parameter.opts, key=len, reverse=True))
    default = parameter.default
    if default not in (None, False, (), [], "") and not callable(default):
        told += f" By default {default}."
    if parameter.envvar:
        told += f" Or `{parameter.envvar}`."
    return f"| {names} | {told} |"


def _text(text: str) -> str:
    """Help as Markdown: its lines joined, as they were broken for a terminal."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]
    return "\n\n".join(paragraphs).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
