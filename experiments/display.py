"""What a person sees of a sweep: the plan, a live table while it runs, one line for whatever ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from edm.cost import num_parameters
from experiments.forecast import Forecast, Speeds, forecast
from experiments.plan import Piece, Plan
from experiments.schedule import Schedule
from experiments.scores import headlines
from experiments.store import KIND_OF_PIECE, PROGRESS, Store, read_json

VERBS = {"training": "train", "evaluation": "evaluate"}
PLAIN_PERIOD_S = 15.0  # between progress lines where there is no terminal
MAX_ROWS = 40


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 20 s, 5 h 12 min, 2 d 4 h."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    (big, name), (small, rest_name) = next(pair for pair in itertools.pairwise(units) if seconds >= pair[0][0])
    whole, rest = seconds // big, seconds % big // small
    return f"{whole} {name} {rest} {rest_name}" if rest else f"{whole} {name}"


def count(number: int, noun: str) -> str:
    """3 trainings, 1 training."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plan_table(plan: Plan, schedule: Schedule) -> Table:
    """Every training with its size and what stands on it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header, justify in (
        ("training", "left"),
        ("parameters", "right"),
        ("kimg", "right"),
        ("evaluations", "right"),
        ("NFE", "right"),
        ("", "left"),
    ):
        table.add_column(header, justify=justify)  # pyright: ignore[reportArgumentType]
    for name, training in list(plan.trainings.items())[:MAX_ROWS]:
        standing = [e for e in plan.evaluations.values() if training in e.stands_on]
        nfe = sorted({e.sampling.nfe for e in standing})
        table.add_row(
            Text(plan.names[name]),
            f"{num_parameters(training.network):,}",
            f"{training.config.kimg:g}",
            str(len(standing)),
            f"{nfe[0]}-{nfe[-1]}" if len(nfe) > 1 else str(nfe[0]),
            "in the store" if name in schedule.present else "",
        )
    if len(plan.trainings) > MAX_ROWS:
        table.add_row(f"... and {len(plan.trainings) - MAX_ROWS} more")
    return table


def cells_table(plan: Plan) -> Table:
    """Every cell with its network, its training and what drawing its images takes."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("cell")
    for header in ("parameters", "kimg", "images", "NFE"):
        table.add_column(header, justify="right")
    for planned in plan.cells[:MAX_ROWS]:
        training, evaluation = planned.training, planned.evaluation
        table.add_row(
            Text(plan.cell_name(planned)),
            f"{num_parameters(training.network):,}",
            f"{training.config.kimg:g}",
            f"{evaluation.config.images:,}",
            str(evaluation.sampling.nfe),
        )
    if len(plan.cells) > MAX_ROWS:
        table.add_row(f"... and {len(plan.cells) - MAX_ROWS} more (--json has all)")
    return table


def plan_lines(plan: Plan, schedule: Schedule, estimate: Forecast) -> Iterator[str]:
    """The plan in sentences."""
    have = {
        kind: sum(p.kind == kind and p.signature in schedule.present for p in schedule.pieces.values())
        for kind in VERBS
    }
    yield (
        f"{plan.sweep.name}: {count(len(plan.cells), 'cell')} from {count(len(plan.trainings), 'training')} "
        f"({have['training']} in the store) and {count(len(plan.evaluations), 'evaluation')} "
        f"({have['evaluation']} in the store)"
    )
    left = schedule.of("waiting")
    if not left:
        yield "Nothing is left to do."
        return
    basis = (
        "by the speed that the store has measured"
        if estimate.measured
        else "a rough guess: nothing has been measured here yet"
    )
    yield f"{count(len(left), 'piece')} of work left, about {duration(estimate.wall_s)} ({basis})"
    for warning in plan.warnings:
        yield f"Warning: {warning}"


def plan_json(plan: Plan, schedule: Schedule, estimate: Forecast) -> dict[str, Any]:
    """The plan for a script."""
    return {
        "sweep": plan.sweep.name,
        "cells": len(plan.cells),
        "flops": sum(piece.flops for piece in schedule.pieces.values()),
        "trainings": [
            {
                "name": plan.names[name],
                "signature": name,
                "parameters": num_parameters(training.network),
                "kimg": training.config.kimg,
                "done": name in schedule.present,
            }
            for name, training in plan.trainings.items()
        ],
        "evaluations": [
            {
                "name": plan.names[name],
                "signature": name,
                "training": evaluation.training.signature,
                "guide": evaluation.guide.signature if evaluation.guide else None,
                "parameters": num_parameters(evaluation.training.network),
                "kimg": evaluation.training.config.kimg,
                "images": evaluation.config.images,
                "nfe": evaluation.sampling.nfe,
                "done": name in schedule.present,
            }
            for name, evaluation in plan.evaluations.items()
        ],
        "left": len(schedule.of("waiting")),
        "estimate_s": round(estimate.wall_s, 1),
        "estimate_measured": estimate.measured,
        "warnings": plan.warnings,
    }


@contextmanager
def progress(console: Console, title: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that tells (done, total); nothing where there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Monitor:
    """Shows a schedule while it is worked off: a live table on a terminal, plain lines anywhere else."""

    def __init__(self, console: Console, schedule: Schedule, store: Store) -> None:
        self.console, self.schedule, self.store = console, schedule, store
        self.began = time.monotonic()
        self.total = len(schedule.of("waiting"))
        self.estimate: tuple[float, float] = (0.0, 0.0)  # when it was made, seconds left then
        self.last_plain = time.monotonic()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show it for as long as the block lasts."""
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=self.render, console=self.console, refresh_per_second=2, transient=True):
            yield

    def changed(self, piece: Piece) -> None:
        """A piece was started or has ended: say so in a line that stays."""
        name = piece.signature
        state = self.schedule.states[name]
        if state == "running":  # which for Tune may still mean queued: the progress lines tell what really runs
            return
        self.estimate = (0.0, 0.0)
        self.console.print(Text(self._line(piece, state)), soft_wrap=True)

    def _line(self, piece: Piece, state: str) -> str:
        name = piece.signature
        title = f"{VERBS[piece.kind]} {self.schedule.plan.names[name]}"
        clock = f"[{duration(time.monotonic() - self.began)}]"
        if state != "done":
            return f"{clock} {state} {title}: {self.schedule.messages.get(name, 'the next run goes on with it')}"
        result = self.store.result(KIND_OF_PIECE[piece.kind], name) or {}
        scores = headlines(result["metrics"]) if "metrics" in result else _losses(result)
        shown = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
        state = f"stopped at {result['stopped_at']:,} images" if result.get("stopped_at") else "done"
        return f"{clock} {state} {title}: {shown} ({duration(result.get('seconds', 0.0))})"

    def tick(self) -> None:
        """Without a terminal: a line on all that runs, every now and then."""
        if self.console.is_terminal or time.monotonic() - self.last_plain < PLAIN_PERIOD_S:
            return
        self.last_plain = time.monotonic()
        for piece in self.schedule.of("running"):
            progress = self._progress(piece)
            if progress:
                parts = [
                    f"{progress['done']:,.6g}/{progress['total']:,.6g} {progress['unit']}",
                    *_numbers(progress),
                    _left(progress),
                ]
                name = self.schedule.plan.names[piece.signature]
                self.console.print(
                    Text(f"  {VERBS[piece.kind]} {name}: {', '.join(filter(None, parts))}"), soft_wrap=True
                )
        self.console.print(Text(f"  {self._summary()}"), soft_wrap=True)

    def _progress(self, piece: Piece) -> dict[str, Any] | None:
        return read_json(self.store.folder(KIND_OF_PIECE[piece.kind], piece.signature) / PROGRESS)

    def _summary(self) -> str:
        waiting, running = len(self.schedule.of("waiting")), len(self.schedule.of("running"))
        failed = len(self.schedule.of("failed"))
        done = self.total - waiting - running - failed - len(self.schedule.of("stopped", "blocked"))
        parts = [f"{done} of {self.total} done", f"{failed} failed" if failed else "", self._time_left()]
        return ", ".join(filter(None, parts))

    def _time_left(self) -> str:
        now = time.monotonic()
        if self.schedule.stopping:
            return "stopping"
        if not self.estimate[0] or now - self.estimate[0] > 10:
            self.estimate = (now, self._seconds_left())
        made, seconds = self.estimate
        return f"about {duration(max(seconds - (now - made), 1))} left"

    def _seconds_left(self) -> float:
        """What is left by measured speeds, running pieces by how far they are."""
        speeds = Speeds(self.store)
        pieces = [*self.schedule.of("waiting"), *self.schedule.of("running")]
        whole = forecast(self.schedule.plan, pieces, self.store)
        already = sum(
            (progress["done"] / progress["total"]) * speeds.seconds(p)
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
        for piece in self.schedule.of("running"):
            progress = self._progress(piece)
            title = f"{VERBS[piece.kind]} {self.schedule.plan.names[piece.signature]}"
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
