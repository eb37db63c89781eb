"""Puts the outcome of the cases into docs/faults.md: `python -m tests.faults.table OUTCOMES`.

OUTCOMES is what `EDM_FAULTS_OUTCOMES=OUTCOMES pytest -m faults` wrote; of a case that is there twice the last counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults.cases import CASES, IN_DRIVER, PHASES, PROCESSES
from tests.faults.machines import MACHINES

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- outcomes -->\n", "<!-- end of outcomes -->\n"
TITLES = {
    "asked": ("Requests to stop, during a training", "signal"),
    "full": ("A full disk, just before this is written", "what"),
    "truncate": ("A file cut off in the middle", "what"),
    "flip": ("One flipped bit in the middle of a file", "what"),
    "clock": ("A clock that jumps while images are drawn", "jump"),
    "home": ("HOME", "it is"),
    "stopped": ("Suspended by SIGSTOP in a training, while another run shares the store", "who, and when it goes on"),
    "ray": ("Ray's processes end in a training", "what"),
    "store": ("The store", "it is"),
    "around": ("Surroundings", "there is"),
}
NOT_RUN = "not run"


def rows(cells: Iterable[Iterable[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    for row in cells:
        yield f"| {' | '.join(row)} |\n"


def matrix(ended: dict[str, str]) -> Iterator[str]:
    """Processes by phases."""
    yield "\n### Killed with SIGKILL\n\n"
    yield from rows([["", *PROCESSES], ["---"] * (1 + len(PROCESSES))])
    for phase in PHASES:
        yield from rows([[phase, *(_cell(process, phase, ended) for process in PROCESSES)]])
    yield f"\nThe driver, killed in one phase after the other on one store: {ended.get('driver-everywhere', NOT_RUN)}. "
    yield f"The driver, while MLflow creates the tables of its database: {ended.get('driver-first record', NOT_RUN)}.\n"
    yield f"The raylet, before it has started any worker: {ended.get('raylet-start', NOT_RUN)}.\n"


def _cell(process: str, phase: str, ended: dict[str, str]) -> str:
    if process in ("trial", "raylet") and phase in IN_DRIVER:
        return "no such process"
    return ended.get(f"{process}-{phase}", NOT_RUN)


def lists(ended: dict[str, str]) -> Iterator[str]:
    """The cases beside the matrix."""
    for kind, (title, first) in TITLES.items():
        names = [case.name for case in (*CASES, *MACHINES) if case.name.startswith(f"{kind}-")]
        yield f"\n### {title}\n\n"
        yield from rows([[first, "what the run did"], ["---", "---"]])
        yield from rows([name.removeprefix(f"{kind}-"), ended.get(name, NOT_RUN)] for name in names)


def main(outcomes: Path) -> None:
    """Write the page anew."""
    lines = [json.loads(line) for line in outcomes.read_text().splitlines()]
    ended = {line["case"]: line["ending"] for line in lines}
    before, _, rest = PAGE.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + "".join([*matrix(ended), *lists(ended), "\n"]) + END + after)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
