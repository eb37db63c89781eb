"""What `plan --calibrate` measured: the networks' speed and memory, and what the sweep costs on other machines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from experiments.cli.views.tables import TextTable, name, numbers, values
from experiments.runner.forecast import Forecast
from experiments.wording import count, duration

NUMBERS = ("parameters", "s/kimg", "NFE", "s/1,000 images", "training GiB", "sampling GiB")
TOO_LARGE = ("—", "—", "—", "too much", "—")  # of a network that does not fit into the memory


def networks_table(networks: Iterable[dict[str, Any]]) -> TextTable:
    """Return a row for every network that was timed (networks_json): its speed and its memory."""
    table = TextTable(name("network"), *numbers(*NUMBERS))
    for row in networks:
        parameters = f"{row['parameters']:,}"
        table.add(row["name"], parameters, *(_measurements(row) if row["fits"] else TOO_LARGE))
    return table


def _measurements(row: dict[str, Any]) -> list[str]:
    nfe = row["nfe"]
    images = [_short(row["forward_s"] * n) for n in nfe]
    memory = [f"{row['training_gib']:,.2f}", f"{row['sampling_gib']:,.2f}"]
    return [_short(row["kimg_s"]), " to ".join(map(str, nfe)), " to ".join(images), *memory]


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
    yield f"{what}: about {_short(estimate.gpu_hours)} ({_short(least)} to {_short(most)})"
    yield f"Disk: about {_short(estimate.disk_gib)} GiB ({_short(low)} to {_short(high)})"


def _short(value: float) -> str:
    """A number with three significant digits, and never with an exponent: 27,700."""
    return f"{float(f'{value:.3g}'):,.12g}"
