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
from experiments.calibration import measurements, probes_by_training
from experiments.forecast import Forecast, Span, Speeds, forecast
from experiments.planning import Plan
from experiments.schedule import Schedule, State, Work
from experiments.scores import headlines
from experiments.sessions import publish
from experiments.store import KIND_OF_PIECE, PROGRESS, Store, read_json

VERBS = {"probe": "measure", "training": "train", "evaluation": "evaluate"}
TITLES = {"waiting": "trying again", "elsewhere": "another run is at"}
REMARKS = {
    "stopped": "the next run goes on with it",
    "elsewhere": "this one waits for it, and helps where it can",
    "cancelled": "the next run goes on with it",
}
PLAIN_PERIOD_S = 15.0  # between progress lines where there is no terminal
PUBLISH_S = 2.0
MAX_ROWS = 40
ESTIMATE_S, ESTIMATE_SHARE = 5.0, 0.05  # between estimates of what is left; of the time that may go into them
TOLD: tuple[State, ...] = ("failed", "pruned", "elsewhere", "withheld", "cancelled")  # states that a summary counts


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
    basis = "by what was measured here" if estimate.measured else "a rough guess: nothing has been measured here yet"
    yield f"{count(len(left), 'piece')} of work left, about {duration(estimate.wall_s)} ({basis})"
    for warning in plan.warnings:
        yield f"Warning: {warning}"


def plan_json(
    plan: Plan, schedule: Schedule, estimates: dict[int | None, Forecast], calibrated: Store | None
) -> dict[str, Any]:
    """The plan for a script; of a store where networks were measured also these, and costs on other machines."""
    estimate = estimates[None]
    measured: dict[str, Any] = {}
    if calibrated is not None:
        measured["networks"] = networks_json(plan, calibrated)
        measured["estimates"] = {number: estimate_json(made) for number, made in estimates.items() if number}
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
        "estimate": estimate_json(estimate),
        "warnings": plan.warnings,
        **measured,
    }


def estimate_json(estimate: Forecast) -> dict[str, Any]:
    """A forecast for a script: each value with the least and the most that it may well be."""
    return {
        "wall_s": _ranged(estimate.wall_s, estimate.wall_span_s),
        "work_s": _ranged(estimate.work_s, estimate.work_span_s),
        "gpu_hours" if estimate.on_gpus else "trial_hours": _ranged(estimate.gpu_hours, estimate.gpu_hours_span),
        "disk_gib": _ranged(estimate.disk_gib, estimate.disk_span_gib),
    }


def _ranged(value: float, span: Span) -> dict[str, float]:
    return {"about": value, "low": span.low, "high": span.high}


def cost_lines(estimate: Forecast) -> Iterator[str]:
    """What is left of a plan costs, each with its range."""
    what = "GPU-hours" if estimate.on_gpus else "Hours of trials"
    (least, most), (low, high) = estimate.gpu_hours_span, estimate.disk_span_gib
    yield f"{what}: about {estimate.gpu_hours:,.3g} ({least:,.3g} to {most:,.3g})"
    yield f"Disk: about {estimate.disk_gib:,.3g} GiB ({low:,.3g} to {high:,.3g})"


def machines_table(estimates: dict[int | None, Forecast]) -> Table:
    """Wall clock here (under None) and on other numbers of GPUs, or of machines like this one."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header, justify in (("on", "left"), ("wall clock", "right"), ("range", "right")):
        table.add_column(header, justify=justify)  # pyright: ignore[reportArgumentType]
    for machines, estimate in estimates.items():
        noun = "GPU" if estimate.on_gpus else "such machine"
        place = "this machine" if machines is None else count(machines, noun)
        low, high = estimate.wall_span_s
        table.add_row(place, duration(estimate.wall_s), f"{duration(low)} to {duration(high)}")
    return table


def networks_table(plan: Plan, store: Store) -> Table:
    """Every network that was measured: its speed and its memory."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("network")
    for header in ("parameters", "s/kimg", "NFE", "s/1,000 images", "training GiB", "sampling GiB"):
        table.add_column(header, justify="right")
    for row in networks_json(plan, store):
        table.add_row(Text(row["name"]), f"{row['parameters']:,}", *_network_cells(row))
    return table


def _network_cells(row: dict[str, Any]) -> list[str]:
    if not row["fits"]:
        return ["does not fit into the memory"]
    nfe = row["nfe"]
    images = [f"{row['forward_s'] * n:,.3g}" for n in nfe]
    memory = [f"{row['training_gib']:,.2f}", f"{row['sampling_gib']:,.2f}"]
    return [f"{row['kimg_s']:,.3g}", "-".join(map(str, nfe)), "-".join(images), *memory]


def networks_json(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """The same for a script. forward_s: of one evaluation of the network on 1,000 images. nfe: the least and most."""
    by_training = probes_by_training(plan)
    nfe: dict[str, set[int]] = {}
    for evaluation in plan.evaluations.values():
        nfe.setdefault(by_training[evaluation.training.signature].signature, set()).add(evaluation.sampling.nfe)
    first = {probe.signature: plan.names[name] for name, probe in reversed(by_training.items())}
    told = ("fits", "device", "kimg_s", "forward_s", "training_gib", "sampling_gib", "micro_batch", "sampling_batch")
    return [
        {
            "name": first[probe.signature],
            "signature": probe.signature,
            "parameters": num_parameters(probe.network),
            "nfe": sorted({min(counts), max(counts)}) if (counts := nfe.get(probe.signature)) else [],
            **{name: result.get(name) for name in told},
        }
        for probe, result in measurements(plan, store)
    ]


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

    def changed(self, piece: Work) -> None:
        """A piece was started or has ended: say so in a line that stays."""
        name = piece.signature
        state = self.schedule.states[name]
        if state == "running":  # which for Tune may still mean queued: the progress lines tell what really runs
            return
        self.say(self._line(piece, state))

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(text), soft_wrap=True)

    def _line(self, piece: Work, state: str) -> str:
        name = piece.signature
        title = f"{VERBS[piece.kind]} {self.schedule.name(piece)}"
        clock = f"[{duration(time.monotonic() - self.began)}]"
        if state != "done":
            message = self.schedule.messages.get(name) or REMARKS.get(state, "")
            return f"{clock} {TITLES.get(state, state)} {title}: {message}"
        result = self.store.result(KIND_OF_PIECE[piece.kind], name) or {}
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
        for piece in self.schedule.of("running"):
            progress = self._progress(piece)
            if progress:
                parts = [
                    f"{progress['done']:,.6g}/{progress['total']:,.6g} {progress['unit']}",
                    *_numbers(progress),
                    _left(progress),
                ]
                name = self.schedule.name(piece)
                self.console.print(
                    Text(f"  {VERBS[piece.kind]} {name}: {', '.join(filter(None, parts))}"), soft_wrap=True
                )
        self.console.print(Text(f"  {self._summary()}"), soft_wrap=True)

    def _publish(self) -> None:
        now = time.monotonic()
        if not self.session or now - self.published < PUBLISH_S:
            return
        self.published = now
        told = {"total": self.total, "done": self.schedule.counts["done"] - self.done_before, "left": self._time_left()}
        publish(self.store, self.session, {**told, "counts": dict(self.schedule.counts)})

    def _progress(self, piece: Work) -> dict[str, Any] | None:
        return read_json(self.store.folder(KIND_OF_PIECE[piece.kind], piece.signature) / PROGRESS)

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
        """What is left, by what is known by now; of running pieces how far they are."""
        costs = self.schedule.costs
        pieces = self.schedule.of("waiting", "running", "elsewhere")
        whole = forecast(self.schedule.plan, pieces, self.store, costs if isinstance(costs, Speeds) else None)
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
        for piece in self.schedule.of("running"):
            progress = self._progress(piece)
            title = f"{VERBS[piece.kind]} {self.schedule.name(piece)}"
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
