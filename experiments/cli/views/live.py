"""A live table while a sweep runs; lines where there is no terminal, or one that cannot redraw (TERM=dumb)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from experiments.cli.late import called_after
from experiments.cli.output import PLAIN_PERIOD_S, console_for
from experiments.cli.views.page import Page
from experiments.cli.views.plain import PlainLines
from experiments.cli.views.progress import progress, showing_progress
from experiments.cli.views.tables import TextTable, decorations, name, numbers, values
from experiments.cli.views.task_progress import done_text, left_text, loss_text, speed_text, speed_words
from experiments.runner.listener import OnCount, OnStep, RunListener, TaskChange
from experiments.runner.progress import QUEUED, RunningTask, RunProgress
from experiments.runner.states import State
from experiments.store.progress import TaskProgress
from experiments.store.results import (
    ClassifierRecord,
    DatasetRecord,
    EvaluationResult,
    MeasuredReferences,
    Result,
    TrainingResult,
    WeightsRecord,
)
from experiments.sweep.jobs import Task
from experiments.sweep.metrics import headline
from experiments.sweep.tasks import Evaluation, Training
from experiments.trials.data_records import noticed
from experiments.wording import duration, size

VERBS = {
    "data": "prepare",
    "probe": "measure",
    "classifier": "train",
    "references": "compute",
    "download": "download",
    "solution": "draw",
    "training": "train",
    "evaluation": "evaluate",
}
READ = "read"  # instead of "train", of a network that somebody else trained
TITLES = {"waiting": "trying again"}
REMARKS = {
    "interrupted": "the next run continues it",
    "cancelled": "the next run continues it",
}
PHASES_IN_LOGS = ("starting Ray",)  # that are worth a line where nothing can be redrawn, as are those that take long:
LONG_S = 10.0
MOST_IN_A_LINE = 6  # running tasks
BAR_WIDTH = 20
COUNTED: dict[State, str] = {  # states in the summary line, and how it calls them
    "failed": "failed",
    "pruned": "pruned",
    "elsewhere": "in another run",
    "withheld": "not started",
    "cancelled": "cancelled",
}


class TerminalListener(RunListener):
    """Shows a run: a live table on a terminal, plain lines anywhere else.

    plain_period_s: between summaries where nothing can be redrawn.
    """

    def __init__(self, console: Console, plain_period_s: float = PLAIN_PERIOD_S) -> None:
        self.console, self.lines = console, PlainLines(console, plain_period_s)
        self.run: RunProgress | None = None  # while tasks run

    def phase(self, title: str) -> AbstractContextManager[Any]:
        """Show a spinner on a terminal; elsewhere a line, if it takes long."""
        if self.console.is_interactive:
            return self.console.status(title)
        if title in PHASES_IN_LOGS:
            self.notice(title)
            return nullcontext()
        return called_after(LONG_S, partial(self.notice, title))

    def preparing(self, data_set: str) -> AbstractContextManager[OnStep]:
        """Show a bar for each step."""
        return showing_progress(self.console, data_set)

    def counting(self, title: str, unit: str) -> AbstractContextManager[OnCount]:
        """Show a bar."""
        return progress(self.console, title, unit)

    @contextmanager
    def live(self, progress: RunProgress) -> Iterator[None]:
        """Show the live table on a terminal that can redraw it."""
        self.run = progress
        if not self.console.is_interactive:
            yield
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=2, transient=True):
            yield

    def ended(self, change: TaskChange) -> None:
        """Print a line that stays."""
        self.notice(self._line(change))

    def notice(self, text: str) -> None:
        """Print a line that stays."""
        self.lines.say(text)

    def tick(self) -> None:
        """Sum up in one line what is done and what runs, once a minute, where nothing can be redrawn."""
        run = self.run
        if run is not None and not self.console.is_interactive:
            self.lines.sum_up(lambda: plain_summary(run.running(), self._summary(run)))

    def render(self) -> Page:
        """Return the live table."""
        assert self.run is not None
        return live_view(self.run.running(), self._summary(self.run))

    def _line(self, change: TaskChange) -> str:
        assert self.run is not None
        task, state = change.task, change.state
        title = _title(task, change.name)
        clock = f"[{duration(self.run.elapsed_s)}]"
        if state == "elsewhere":
            helps = ", and helps if it can" if isinstance(task, Evaluation) else ""
            whose = f" ({change.reason})" if change.reason else ""
            return f"{clock} another run works on {change.name}{whose}: this run waits for it{helps}"
        if state != "done":
            why = change.failure.message if change.failure else change.reason or REMARKS.get(state, "")
            return f"{clock} {TITLES.get(state, state)} {title}: {why}"
        result = self.run.store.result(task.result_type, task.signature)
        ending = "done"
        if isinstance(result, EvaluationResult) and result.stopped_at:
            ending = f"stopped at {result.stopped_at:,} images"
        told = ": ".join(filter(None, [f"{ending} {title}", _numbers_of(result)]))
        if isinstance(result, DatasetRecord):
            return "; ".join([f"{clock} {told} ({duration(result.preparing_s)})", *noticed(result)])
        shared = (
            ", including the training that it continues"
            if isinstance(result, TrainingResult) and result.continues
            else ""
        )
        return f"{clock} {told} ({duration(result.seconds if result is not None else 0.0)}{shared})"

    @staticmethod
    def _summary(run: RunProgress) -> str:
        others = [f"{run.counts[state]} {COUNTED[state]}" for state in COUNTED if run.counts[state]]
        return ", ".join(filter(None, [f"{run.done} of {run.total} done", *others, run.time_left()]))


def standard_listener() -> TerminalListener:
    """Return a listener that shows a run on standard output."""
    return TerminalListener(console_for(as_json=False))


def _title(task: Task, name: str) -> str:
    """What a task does, and its name."""
    is_read = isinstance(task, Training) and task.pretrained is not None
    return f"{READ if is_read else VERBS[task.kind]} {name}"


def _numbers_of(result: Result | None) -> str:
    """The few numbers of a finished task that fit into a line."""
    if isinstance(result, EvaluationResult):
        return headline(result.metrics)
    if isinstance(result, TrainingResult):
        losses = {"loss": result.loss, "val_loss": result.val_loss}
        return ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items() if loss is not None)
    if isinstance(result, ClassifierRecord):
        return f"accuracy {result.accuracy['test']:.1%} on test, trained on {result.images or 0:,} images"
    if isinstance(result, WeightsRecord):
        return size(result.bytes)
    return f"{result.images:,} images" if isinstance(result, MeasuredReferences | DatasetRecord) else ""


def live_view(tasks: Iterable[RunningTask], summary: str) -> Page:
    """Return the tasks that run, a row each, above a summary; tasks that wait for a worker give way first."""
    columns = (*decorations(""), *values("progress"), *numbers("loss", "images/s", "left"))
    table = TextTable(name("running"), *columns)
    for task in tasks:
        progress, title = task.progress, _title(task.task, task.name)
        if progress is None or not progress.total:
            table.add(title, "", task.phase, "", "", "", rank=1 if task.phase != QUEUED else 2)
            continue
        measured = loss_text(progress), speed_text(progress), left_text(progress)
        table.add(title, _bar(progress.share), _done(task, progress), *measured)
    parts = [table] if table.rows else []
    return Page(*parts, Text(summary, "dim"), fits_screen=True)


def _done(task: RunningTask, progress: TaskProgress) -> str:
    """What a task does, where it counts several things one after the other, and how much of that is done."""
    return ", ".join(filter(None, [task.phase, done_text(progress)]))


def _bar(share: float) -> Text:
    full = min(round(share * BAR_WIDTH), BAR_WIDTH)
    return Text.assemble(("━" * full, "cyan"), ("─" * (BAR_WIDTH - full), "dim"))


def plain_summary(tasks: Iterable[RunningTask], summary: str) -> str:
    """Return what is done, and what the first tasks that run do now, as one line of a log."""
    lines = list(filter(None, map(_plain_line, tasks)))
    more = f"and {len(lines) - MOST_IN_A_LINE} more" if len(lines) > MOST_IN_A_LINE else ""
    return "; ".join(filter(None, [f"  {summary}", *lines[:MOST_IN_A_LINE], more]))


def _plain_line(task: RunningTask) -> str:
    """What a task does now; "" while it waits for a worker."""
    title = f"{_title(task.task, task.name)}: "
    if task.progress is None or not task.progress.total:
        return title + task.phase if task.phase not in ("", QUEUED) else ""
    measured = {
        "loss {}": loss_text(task.progress),
        "{}": speed_words(task.progress),
        "{} left": left_text(task.progress),
    }
    return title + ", ".join(
        [_done(task, task.progress), *(form.format(text) for form, text in measured.items() if text)]
    )
