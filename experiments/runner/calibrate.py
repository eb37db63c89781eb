"""Measures the networks of a plan in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.runner.measurements import probes_left
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.probes import Probe
from experiments.sweep.tasks import DataSource

if TYPE_CHECKING:
    from rich.console import Console


def calibrate(plan: Plan, store: Store, console: Console) -> None:
    """Measure, in this process and on this machine, every network of a plan that the store does not know."""
    left = [probe for probe, _ in probes_left(plan, store).values()]
    if not left:
        return
    for source in {probe.data.signature: probe.data for probe in left}.values():
        _prepare(store, source, console)
    for number, probe in enumerate(left, 1):
        _measure_here(plan, store, probe, console, f"measuring network {number} of {len(left)}")


def _prepare(store: Store, source: DataSource, console: Console) -> None:
    from experiments.trials.datasets import prepare_data

    prepare_data(store, source, console)


def _measure_here(plan: Plan, store: Store, probe: Probe, console: Console, title: str) -> None:
    from experiments.cli.views.progress import progress
    from experiments.runner.allocation import Allocator, local_resources

    with console.status("loading torch"):
        import torch

        from experiments.trials.context import TrialContext
        from experiments.trials.probe import run_probe
    resources = plan.sweep.resources
    share = Allocator(plan, resources, local_resources(resources), store).of(probe)
    torch.set_num_threads(share.cpus)
    setting = TrialContext("calibration", threads=share.cpus, gpus=share.gpus, sampling_batch=resources.sampling_batch)
    with progress(console, title, "steps") as on_progress, store.lock("probes", probe.signature):
        run_probe(store, probe, setting, on_progress)
