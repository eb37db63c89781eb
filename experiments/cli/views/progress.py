"""Progress bars."""

from __future__ import annotations

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

from edm.data.progress import CountedStep, OnProgress, StepMeter
from experiments.cli.views.plain import PlainLines
from experiments.wording import size


@contextmanager
def showing_progress(console: Console, name: str, doing: str = "preparing") -> Iterator[OnProgress]:
    """A bar for each step on a terminal; elsewhere a line for each, and one a minute."""
    if not console.is_interactive:
        yield _plain_progress(console, f"{doing} {name}")
        return
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    meter = StepMeter()
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {"": progress.add_task(f"{name}: getting ready", total=None)}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                progress.update(tasks.get("", TaskID(-1)), visible=False)
                tasks[step] = progress.add_task(f"{name}: {step}")
            counted = _speed(step, meter.rate(step, done)) if total else _so_far(done)
            progress.update(tasks[step], description=f"{name}: {step}{counted}", completed=done, total=total or None)

        yield on_progress
        for step in progress.tasks:  # of which some have told no number to count to
            progress.update(step.id, total=step.total or 1, completed=step.total or 1)


def _plain_progress(console: Console, title: str) -> OnProgress:
    lines, begun, meter = PlainLines(console), set[str](), StepMeter()
    lines.say(title)

    def on_progress(step: str, done: int, total: int) -> None:
        if step not in begun:
            begun.add(step)
            lines.say(f"{title}: {step}")
        speed = _speed(step, meter.rate(step, done))
        lines.sum_up(lambda: f"{title}: {step}{f', {done / total:.0%}{speed}' if total else _so_far(done)}")

    return on_progress


def _speed(step: str, rate: float) -> str:
    """How fast a step is; "" while that is not known."""
    if not rate or not isinstance(step, CountedStep):
        return ""
    return f", {size(rate)}/s" if step.unit == "bytes" else f", {rate:,.0f} {step.unit}/s"


def _so_far(done: int) -> str:
    """How much is done where nobody knows how much there is."""
    return f", {done:,} so far" if done else ""


@contextmanager
def progress(console: Console, title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal for work that tells (done, total); elsewhere a line once a minute."""
    if not console.is_interactive:
        lines = PlainLines(console)
        yield lambda done, total: lines.sum_up(lambda: f"{title}: {done:,} of {total:,} {unit}")
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
