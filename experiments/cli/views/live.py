"""A live table while a sweep runs; lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.cli.views.text import VERBS, duration
from experiments.runner.durations import DurationModel
from experiments.runner.forecast import forecast
from experiments.runner.schedule import Schedule, State
from experiments.store.active_runs import publish_progress
from experiments.store.files import read_json
from experiments.store.layout import PROGRESS
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.metrics import headlines

TITLES = {"waiting": "trying again", "elsewhere": "another run is at"}
REMARKS = {
    "stopped": "the next run goes on with it",
    "elsewhere": "this one waits for it, and helps where it can",
    "cancelled": "the next run goes on with it",
}
PLAIN_PERIOD_S = 15.0  # between progress lines where there is no terminal
PUBLISH_S = 2.0
ESTIMATE_S, ESTIMATE_SHARE = 5.0, 0.05  # between estimates of what is left; of the time that may go into them
TOLD: tuple[State, ...] = ("failed", "pruned", "elsewhere", "withheld", "cancelled")  # states that a summary counts


class Monitor:
    """Shows a schedule while it is worked off: a live table on a terminal, plain lines anywhere else."""

    def __init__(self, console: Console, schedule: Schedule, store: Store, session: str = "") -> None:
        self.console, self.schedule, self.store, self.session = console, schedule, store, session
        self.began = time.monotonic()
        self.total, self.done_before = schedule.counts["waiting"], schedule.counts["done"]
        self.estimate: tuple[float, float] = (0.0, 0.0)  # when it was made, seconds left then
        self.estimate_until = 0.0
        self.last_plain = time.monotonic()
        self.published = -PUBLISH_S

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show it for as long as the block lasts."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=2, transient=True):
            yield

    def changed(self, task: Task) -> None:
        """A task was started or has ended: say so in a line that stays."""
        name = task.signature
        state = self.schedule.states[name]
        if state == "running":  # which for Tune may still mean queued: the progress lines tell what really runs
            return
        self.say(self._line(task, state))

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(text), soft_wrap=True)

    def _line(self, task: Task, state: str) -> str:
        name = task.signature
        title = f"{VERBS[task.kind]} {self.schedule.name(task)}"
        clock = f"[{duration(time.monotonic() - self.began)}]"
        if state != "done":
            message = self.schedule.messages.get(name) or REMARKS.get(state, "")
            return f"{clock} {TITLES.get(state, state)} {title}: {message}"
        result = self.store.result(task.store_kind, name) or {}
        scores = headlines(result["metrics"]) if "metrics" in result else _losses(result)
        shown = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
        state = f"stopped at {result['stopped_at']:,} images" if result.get("stopped_at") else "done"
        return f"{clock} {state} {title}: {shown} ({duration(result.get('seconds', 0.0))})"

    def tick(self) -> None:
        """Tell others how far it is; without a terminal, every now and then, a line on all that runs."""
        self._publish()
        if self.console.is_terminal or time.monotonic() - self.last_plain < PLAIN_PERIOD_S:
            return
        self.last_plain = time.monotonic()
        for task in self.schedule.of("running"):
            progress = self._progress(task)
            if progress:
                parts = [
                    f"{progress['done']:,.6g}/{progress['total']:,.6g} {progress['unit']}",
                    *_numbers(progress),
                    _left(progress),
                ]
                name = self.schedule.name(task)
                self.console.print(
                    Text(f"  {VERBS[task.kind]} {name}: {', '.join(filter(None, parts))}"), soft_wrap=True
                )
        self.console.print(Text(f"  {self._summary()}"), soft_wrap=True)

    def _publish(self) -> None:
        now = time.monotonic()
        if not self.session or now - self.published < PUBLISH_S:
            return
        self.published = now
        told = {"total": self.total, "done": self.schedule.counts["done"] - self.done_before, "left": self._time_left()}
        publish_progress(self.store, self.session, {**told, "counts": dict(self.schedule.counts)})

    def _progress(self, task: Task) -> dict[str, Any] | None:
        return read_json(self.store.folder(task.store_kind, task.signature) / PROGRESS)

    def _summary(self) -> str:
        counts = self.schedule.counts
        done = counts["done"] - self.done_before
        told = [f"{counts[state]} {state}" for state in TOLD if counts[state]]
        parts = [f"{done} of {self.total} done", *told, self._time_left()]
        return ", ".join(filter(None, parts))

    def _time_left(self) -> str:
        if self.schedule.stopping:
            return "stopping"
        if self.schedule.paused:
            return "waiting for room on the disk"
        now = time.monotonic()
        if now > self.estimate_until:
            seconds = self._seconds_left()
            self.estimate = (now, seconds)
            # of a large plan it takes a while, in which the driver can do nothing else
            self.estimate_until = now + max(ESTIMATE_S, (time.monotonic() - now) / ESTIMATE_SHARE)
        made, seconds = self.estimate
        return f"about {duration(max(seconds - (now - made), 1))} left"

    def _seconds_left(self) -> float:
        """What is left, by what is known by now; of running tasks how far they are."""
        costs = self.schedule.costs
        tasks = self.schedule.of("waiting", "running", "elsewhere")
        whole = forecast(self.schedule.plan, tasks, self.store, costs if isinstance(costs, DurationModel) else None)
        already = sum(
            (progress["done"] / progress["total"]) * costs.seconds(p)
            for p in self.schedule.of("running")
            if (progress := self._progress(p))
        )
        share = max(1 - already / whole.work_s, 0.0) if whole.work_s else 0.0
        return whole.wall_s * share

    def render(self) -> RenderableType:
        """The live table."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for header in ("running", "", "progress", "loss", "speed", "left"):
            table.add_column(header, no_wrap=header != "running")
        for task in self.schedule.of("running"):
            progress = self._progress(task)
            title = f"{VERBS[task.kind]} {self.schedule.name(task)}"
            if progress is None:
                table.add_row(title, "", "queued", "", "", "")
                continue
            bar = ProgressBar(total=progress["total"], completed=progress["done"], width=20)
            loss, speed = _numbers(progress)
            done = f"{progress['done']:,.5g}/{progress['total']:,.5g} {progress['unit']}"
            table.add_row(title, bar, done, loss.removeprefix("loss "), speed, _left(progress))
        return Group(table, Text(self._summary(), style="dim"))


def _losses(result: dict[str, Any]) -> dict[str, float]:
    return {key: result[key] for key in ("loss", "val_loss") if result.get(key) is not None}


def _numbers(progress: dict[str, Any]) -> tuple[str, str]:
    loss = progress.get("loss")
    rate = progress["rate"] * (1000 if progress["unit"] == "kimg" else 1)
    return (f"loss {loss:.4f}" if loss is not None and loss == loss else "", f"{rate:,.0f} images/s" if rate else "")


def _left(progress: dict[str, Any]) -> str:
    return duration((progress["total"] - progress["done"]) / progress["rate"]) + " left" if progress["rate"] else ""
