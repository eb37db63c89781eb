"""Make docs/cli.md from the commands themselves and from the examples below: `uv run python docs/scripts/cli.py`.

A test compares the page with what this makes, so that no command and no option is missing; another runs the examples.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)  # from here mlflow.py would be imported as MLflow

import typer  # noqa: E402

from experiments.cli.command_help import name_of  # noqa: E402
from experiments.cli.main import app  # noqa: E402

PAGE = ROOT / "docs" / "cli.md"

HEAD = """\
# Command line

Made by `docs/scripts/cli.py` from the commands in the code. `edm-sweep COMMAND --help` shows the options as well.

**SWEEP** is a sweep file, or the name of a sweep that was run with this store: the store remembers every sweep that was run.
`--set`, `--gpus` and `--cpus-per-trial` need the file.

**CELL** is a cell of such a sweep. Its name consists of the values that distinguish it, as in
`nano/no-attention/guidance=2/heun`. You may give:

- the whole name,
- some of its parts, in order (`nano/guidance=2/heun`, `heun`), if only one cell has them,
- the beginning of the name or of a part,
- a signature, or the beginning of one,
- what the names of all cells of a training have in common (`nano/attention`); this selects the training,
- a pattern, if the command takes several cells; `*` and `?` are wildcards,
- `SWEEP:CELL`, if several sweeps have a cell of that name. SWEEP may be a file, even of a sweep that was never run.

Every command but `ui` and `demo`, which serve a page, takes `--json`. It then prints JSON on standard output and everything
else on standard error.

Exit codes: 0 done; 1 some work failed, was cancelled or was not started (`doctor`: problems found); 2 wrong input, or
something outside the tasks that you must fix first (such as a full disk); 130 interrupted. A mistake is reported in one sentence
on standard error.

A name refers to the sweep file as it was last run. A run with `--set`, or of only some cells, has
[a name of its own](running.md#variants-other-values-or-only-some-cells). Results of earlier versions of a file stay in the
store, and `gc` keeps them unless you give `--past`.

`edm-sweep --install-completion` makes the shell complete commands, options, sweeps and cells. `edm-sweep --version` shows the
version.

These environment variables change what commands do; an option that is given takes precedence:

| variable | what it sets |
| --- | --- |
| `EDM_SWEEP_STORE` | the store, as `--store` does |
| `MLFLOW_TRACKING_URI` | the MLflow server, as `--tracking-uri` does |
| `EDM_SWEEP_DATA` | the folder where [downloaded data sets](datasets.md#where-files-are-looked-for) are looked for and kept, by default `sources/` in the store |
| `EDM_SWEEP_WEIGHTS` | a file with the [weights of Inception or DINOv2](evaluation.md#feature-spaces-and-published-references), or a folder that has it |
| `EDM_KERNELS` | `torch`: leave out [the kernels of edm-sweep's own](running.md#gpus-and-cores) on a GPU |
| `CUDA_VISIBLE_DEVICES` | the GPUs that [a run may use](running.md#gpus-and-cores) |
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
        "edm-sweep report digits --format tex,csv --out paper --figures paper",
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
    "publish": ["edm-sweep publish nano/attention/guidance=2/heun --to published"],
    "accept": ["edm-sweep accept digits", "edm-sweep accept nano/attention/guidance=2/heun"],
    "sample": [
        "edm-sweep sample nano/attention --images 16 --label 7 --guidance 2.5 --steps 6 --out grid.png",
        "edm-sweep sample nano/attention --trajectory --gif --out steps.gif",
    ],
    "demo": ["edm-sweep demo", "edm-sweep demo nano/attention --port 7861"],
    "ui": ["edm-sweep ui --port 5001"],
    "sync": ["edm-sweep sync digits", "edm-sweep sync --from bundle.zip"],
    "gc": ["edm-sweep gc", "edm-sweep gc --keep best --drawings", "edm-sweep gc --past --yes"],
    "doctor": ["edm-sweep doctor", "edm-sweep doctor sweeps/digits.yaml"],
    "data list": ["edm-sweep data list"],
    "data prepare": ["edm-sweep data prepare digits"],
}

MORE = {
    "status": """\
States: `done`; `running` (with place, progress, speed and time left); `failed` (with the reason); `pruned`; `interrupted` (partly
done, but no run is active: the next run continues it); `waiting` (for its training, or for something else that it depends on, which has begun); `planned`. With more than 40
cells, there is one line per training, and one for each cell that is running, failed or interrupted.
""",
    "cancel": """\
Active runs notice the request within two seconds, and save the state of what they stop. A training stops only if no other cell
needs it. `cancel SWEEP` ends the sweep's runs, as Ctrl-C does.
""",
    "gc": """\
If a sweep that was run with this store refers to something, now or in an earlier version, it is deleted only if `--keep`,
`--drawings`, `--past` or `--forget` says so. What an active run uses, or an unfinished cell depends on, is never deleted.
""",
    "run": """\
The commands of `--on-finish` and `--on-failure` are not run by a shell, and are stopped after a minute. They get one JSON
object on standard input. `run --json` prints the same object without its first four fields:

| field | what it is |
| --- | --- |
| `sweep`, `store` | the name of the sweep, the path of the store |
| `outcome` | `done`; `failed`: a task failed, was cancelled or was not started; `interrupted`; `error`: the run itself ended with an error |
| `error` | the message of that error, or null |
| `started`, `done` | how many tasks there were to do, and how many are done |
| `failed` | the tasks that failed, each with its `name`, `message`, `log` (a path) and `kind` of failure |
| `blocked` | names of tasks that were not started, because a task that they depend on failed |
| `withheld` | the reason by name for other tasks that were not started, as with `--budget` |
| `cancelled`, `pruned` | names of tasks that were cancelled, and of trainings that `--scheduler asha` stopped |
| `interrupted` | whether Ctrl-C or SIGTERM ended the run |
| `worked_s` | the sum of the seconds of all tasks |
| `mlflow_problem` | why MLflow is not up to date, or null |
| `report`, `cells` | the path of the report's page, which stays an earlier one if that has more results and this run added none, and the results of every cell; absent if the run did not reach its end |
""",
    "export": """\
A bundle that was changed, or that would write outside its folder, is refused.
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
    text = _text(parameter.help or "")
    if parameter.param_type_name == "argument":
        return f"| `{name_of(parameter)}` | {text} |"
    if "--help" in parameter.opts:
        return None
    names = ", ".join(f"`{option}`" for option in sorted(parameter.opts, key=len, reverse=True))
    names += "".join(f" / `{option}`" for option in parameter.secondary_opts)
    default = parameter.opts[0] if parameter.secondary_opts else parameter.default
    choices = _choices(parameter.type_descriptor.annotation)
    if not all(choice in text for choice in choices):
        text += f" One of {', '.join(choices)}."
    if default not in (None, False, (), [], "") and not callable(default):
        text += f" By default {default}."
    if parameter.envvar:
        text += f" Or `{parameter.envvar}`."
    return f"| {names} | {text} |"


def _choices(kind: Any) -> list[str]:
    """The values of an option that takes one of several words."""
    inner = [choice for arg in get_args(kind) if get_origin(arg) is Literal for choice in get_args(arg)]
    return list(get_args(kind)) if get_origin(kind) is Literal else inner


def _text(text: str) -> str:
    """Help as Markdown: its lines joined, as they were broken for a terminal."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]
    return "\n\n".join(paragraphs).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
