"""A live table while a sweep runs; lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.cli.output import console_for
from experiments.cli.views.progress import progress, showing_progress
from experiments.runner.listener import OnCount, OnStep, RunListener, TaskChange
from experiments.runner.progress import QUEUED, RunningTask, RunProgress
from experiments.runner.states import State
from experiments.store.progress import TaskProgress
from experiments.store.results import EvaluationResult, Result, TrainingResult
from experiments.sweep.metrics import headline
from experiments.wording import duration

VERBS = {"probe": "measure", "training": "train", "evaluation": "evaluate"}
TITLES = {"waiting": "trying again", "elsewhere": "another run works on"}
REMARKS = {
    "interrupted": "the next run continues it",
    "elsewhere": "this run waits for it, and helps if it can",
    "cancelled": "the next run continues it",
}
PLAIN_PERIOD_S = 15.0  # between progress lines where there is no terminal
PHASES_IN_LOGS = ("starting Ray",)  # that are worth a line where there is no terminal
COUNTED: tuple[State, ...] = ("failed", "pruned", "elsewhere", "withheld", "cancelled")  # states in the summary line


class TerminalListener(RunListener):
    """Shows a run: a live table on a terminal, plain lines anywhere else."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.run: RunProgress | None = None  # while tasks run
        self.last_plain = time.monotonic()

    def phase(self, title: str) -> AbstractContextManager[Any]:
        """Show a spinner on a terminal."""
        if self.console.is_terminal:
            return self.console.status(title)
        if title in PHASES_IN_LOGS:
            self.notice(title)
        return nullcontext()

    def preparing(self, data_set: str) -> AbstractContextManager[OnStep]:
        """Show a bar for each step."""
        return showing_progress(self.console, data_set)

    def counting(self, title: str, unit: str) -> AbstractContextManager[OnCount]:
        """Show a bar."""
        return progress(self.console, title, unit)

    @contextmanager
    def live(self, progress: RunProgress) -> Iterator[None]:
        """Show the live table on a terminal."""
        self.run = progress
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=2, transient=True):
            yield

    def ended(self, change: TaskChange) -> None:
        """Print a line that stays."""
        self.notice(self._line(change))

    def notice(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(Text(text), soft_wrap=True)

    def tick(self) -> None:
        """Print, without a terminal and every now and then, a line on all that runs."""
        if self.run is None or self.console.is_terminal or time.monotonic() - self.last_plain < PLAIN_PERIOD_S:
            return
        self.last_plain = time.monotonic()
        for own in self.run.running():
            if own.phase and own.phase != QUEUED:
                self.notice(f"  {VERBS[own.task.kind]} {own.name}: {own.phase}")
            elif own.progress:
                done = f"{own.progress.done:,.6g}/{own.progress.total:,.6g} {own.progress.unit}"
                parts = [done, *_numbers(own.progress), _left(own)]
                self.notice(f"  {VERBS[own.task.kind]} {own.name}: {', '.join(filter(None, parts))}")
        self.notice(f"  {self._summary(self.run)}")

    def render(self) -> RenderableType:
        """Return the live table."""
        assert self.run is not None
        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("running", "", "progress", "loss", "speed", "left"):
            table.add_column(header, no_wrap=header != "running")
        for own in self.run.running():
            title = f"{VERBS[own.task.kind]} {own.name}"
            if own.progress is None or own.phase:
                table.add_row(title, "", own.phase, "", "", "")
                continue
            bar = ProgressBar(total=own.progress.total, completed=own.progress.done, width=20)
            loss, speed = _numbers(own.progress)
            done = f"{own.progress.done:,.5g}/{own.progress.total:,.5g} {own.progress.unit}"
            table.add_row(title, bar, done, loss.removeprefix("loss "), speed, _left(own))
        return Group(table, Text(self._summary(self.run), style="dim"))

    def _line(self, change: TaskChange) -> str:
        assert self.run is not None
        task, state = change.task, change.state
        title = f"{VERBS[task.kind]} {change.name}"
        clock = f"[{duration(self.run.elapsed_s)}]"
        if state != "done":
            why = change.failure.message if change.failure else change.reason or REMARKS.get(state, "")
            return f"{clock} {TITLES.get(state, state)} {title}: {why}"
        result = self.run.store.result(task.result_type, task.signature)
        ending = "done"
        if isinstance(result, EvaluationResult) and result.stopped_at:
            ending = f"stopped at {result.stopped_at:,} images"
        seconds = result.seconds if result is not None else 0.0
        return f"{clock} {ending} {title}: {_numbers_of(result)} ({duration(seconds)})"

    @staticmethod
    def _summary(run: RunProgress) -> str:
        others = [f"{run.counts[state]} {state}" for state in COUNTED if run.counts[state]]
        return ", ".join(filter(None, [f"{run.done} of {run.total} done", *others, run.time_left()]))


def standard_listener() -> TerminalListener:
    """Return a listener that shows a run on standard output."""
    return TerminalListener(console_for(as_json=False))


def _numbers_of(result: Result | None) -> str:
    """The few numbers of a finished task that fit into a line."""
    if isinstance(result, EvaluationResult):
        return headline(result.metrics)
    if isinstance(result, TrainingResult):
        losses = {"loss": result.loss, "val_loss": result.val_loss}
        return ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items() if loss is not None)
    return ""


def _numbers(progress: TaskProgress) -> tuple[str, str]:
    loss = progress.loss
    rate = progress.rate * (1000 if progress.unit == "kimg" else 1)
    return (f"loss {loss:.4f}" if loss is not None and loss == loss else "", f"{rate:,.0f} images/s" if rate else "")


def _left(own: RunningTask) -> str:
    return f"{duration(own.left_s)} left" if own.left_s is not None else ""
