"""Progress bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from edm.data.sources import OnProgress
from experiments.cli.output import PLAIN_PERIOD_S


@contextmanager
def showing_progress(console: Console, name: str) -> Iterator[OnProgress]:
    """A bar for each step on a terminal; elsewhere a line now and then."""
    if not console.is_interactive:
        yield _plain_progress(console, name)
        return
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {"": progress.add_task(f"{name}: getting ready", total=None)}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                progress.update(tasks.get("", TaskID(-1)), visible=False)
                tasks[step] = progress.add_task(f"{name}: {step}")
            progress.update(tasks[step], completed=done, total=total)

        yield on_progress


def _plain_progress(console: Console, name: str) -> OnProgress:
    console.print(f"preparing {name}", markup=False)
    last = time.monotonic()

    def on_progress(step: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PLAIN_PERIOD_S:
            last = time.monotonic()
            console.print(f"preparing {name}: {step}, {done / max(total, 1):.0%}", markup=False)

    return on_progress


@contextmanager
def progress(console: Console, title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that tells (done, total); nothing where it cannot be redrawn."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_interactive) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
