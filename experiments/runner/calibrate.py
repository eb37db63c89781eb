"""Measures the networks of a plan in this process."""

from __future__ import annotations

from experiments.runner.listener import RunListener
from experiments.runner.measurements import probes_left
from experiments.runner.prepare import prepare_data_set
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.probes import Probe


def calibrate(plan: Plan, store: Store, listener: RunListener) -> None:
    """Measure, in this process and on this machine, every network of a plan that the store does not know."""
    left = [probe for probe, _ in probes_left(plan, store).values()]
    for source in {probe.data.signature: probe.data for probe in left}.values():
        prepare_data_set(store, source, listener)
    for number, probe in enumerate(left, 1):
        _measure_here(plan, store, probe, listener, f"measuring network {number} of {len(left)}")


def _measure_here(plan: Plan, store: Store, probe: Probe, listener: RunListener, title: str) -> None:
    from experiments.runner.allocation import Allocator, local_resources

    with listener.phase("loading torch"):
        from experiments.trials.context import TrialContext
        from experiments.trials.probe import run_probe
    resources = plan.sweep.resources
    allocation = Allocator(plan, resources, local_resources(resources), store).of(probe)
    context = TrialContext(
        "calibration", threads=allocation.cpus, gpus=allocation.gpus, sampling_batch=resources.sampling_batch
    )
    context.limit_threads()
    with listener.counting(title, "steps") as on_count, store.lock("probes", probe.signature):
        run_probe(store, probe, context, on_count)
