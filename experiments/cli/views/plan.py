"""What a person sees of a sweep: the plan, a live table while it runs, one line for whatever ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from edm.cost import num_parameters
from experiments import hardware
from experiments.cli.views.text import VERBS, count, duration
from experiments.runner.forecast import Forecast, Span
from experiments.runner.measurements import measurements
from experiments.runner.schedule import Schedule
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.probes import probes_by_training

MAX_ROWS = 40


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
        standing = [e for e in plan.evaluations.values() if training in e.depends_on]
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
        kind: sum(p.kind == kind and p.signature in schedule.present for p in schedule.tasks.values()) for kind in VERBS
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
    yield f"{count(len(left), 'task')} left, about {duration(estimate.wall_s)} ({basis})"
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
        "flops": sum(task.flops for task in schedule.tasks.values()),
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
    by_training = probes_by_training(plan, hardware.device_of(plan.sweep.resources.gpus))
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
