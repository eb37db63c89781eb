"""Finds which networks of a plan have been measured, and which have not."""

from __future__ import annotations

from collections.abc import Iterator

from experiments import hardware
from experiments.store.results import ProbeResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.probes import Probe, probes_by_training, probes_of


def probes_left(plan: Plan, store: Store) -> dict[str, tuple[Probe, tuple[str, ...]]]:
    """Return the probes that the store does not hold, by signature, each with the trainings that wait for it."""
    waiting: dict[str, tuple[Probe, tuple[str, ...]]] = {}
    known: dict[str, bool] = {}
    for name, probe in probes_by_training(plan, _device(plan)).items():
        if probe.signature not in known:
            known[probe.signature] = store.result(ProbeResult, probe.signature) is not None
        if not known[probe.signature]:
            _, trainings = waiting.get(probe.signature, (probe, ()))
            waiting[probe.signature] = (probe, (*trainings, name))
    return waiting


def measurements(plan: Plan, store: Store) -> Iterator[tuple[Probe, ProbeResult]]:
    """Yield every probe of a plan that has been run, and its result."""
    for name, probe in probes_of(plan, _device(plan)).items():
        result = store.result(ProbeResult, name)
        if result is not None:
            yield probe, result


def _device(plan: Plan) -> str:
    return hardware.device_of(plan.sweep.resources.gpus)
