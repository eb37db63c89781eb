"""What `plan --calibrate` measured: the networks' speed and memory, and what the sweep costs on other machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.cli.views.plan_json import networks_json
from experiments.cli.views.tables import TextTable, name, numbers, sentences, values
from experiments.cli.views.text import count, duration
from experiments.runner.forecast import Forecast
from experiments.store.store import Store
from experiments.sweep.plan import Plan

NUMBERS = ("parameters", "s/kimg", "NFE", "s/1,000 images", "training GiB", "sampling GiB")


def networks_table(plan: Plan, store: Store) -> TextTable:
    """Return a row for every network that was timed: its speed and its memory."""
    table = TextTable(name("network"), *numbers(*NUMBERS), *sentences(""))
    for row in networks_json(plan, store):
        parameters = f"{row['parameters']:,}"
        if row["fits"]:
            table.add(row["name"], parameters, *_measurements(row), "")
        else:
            table.add(row["name"], parameters, *[""] * (len(NUMBERS) - 1), "does not fit into the memory")
    return table


def _measurements(row: dict[str, Any]) -> list[str]:
    nfe = row["nfe"]
    images = [f"{row['forward_s'] * n:,.3g}" for n in nfe]
    memory = [f"{row['training_gib']:,.2f}", f"{row['sampling_gib']:,.2f}"]
    return [f"{row['kimg_s']:,.3g}", " to ".join(map(str, nfe)), " to ".join(images), *memory]


def machines_table(estimates: dict[int | None, Forecast]) -> TextTable:
    """Return the time that a run takes here (under None) and on other numbers of GPUs, or of machines like this one."""
    table = TextTable(*values("on"), *numbers("time", "range"))
    for machines, estimate in estimates.items():
        noun = "GPU" if estimate.on_gpus else "such machine"
        place = "this machine" if machines is None else count(machines, noun)
        low, high = estimate.wall_span_s
        table.add(place, duration(estimate.wall_s), f"{duration(low)} to {duration(high)}")
    return table


def cost_lines(estimate: Forecast) -> Iterator[str]:
    """Return what the rest of a plan costs, each number with its range."""
    what = "GPU-hours" if estimate.on_gpus else "Hours of trials"
    (least, most), (low, high) = estimate.gpu_hours_span, estimate.disk_span_gib
    yield f"{what}: about {estimate.gpu_hours:,.3g} ({least:,.3g} to {most:,.3g})"
    yield f"Disk: about {estimate.disk_gib:,.3g} GiB ({low:,.3g} to {high:,.3g})"
