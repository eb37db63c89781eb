"""Sweeps, plans and probes as tests make them: with the files that a sweep names and the devices of this machine."""

from pathlib import Path

from edm.config import DataConfig
from experiments import hardware
from experiments.inputs import InputFiles
from experiments.sweep import plan, probes, reader
from experiments.sweep.plan import Plan
from experiments.sweep.probes import Probe
from experiments.sweep.spec import Sweep
from experiments.sweep.tasks import DataSource


def load_sweep(path: str | Path, overrides: tuple[str, ...] = ()) -> Sweep:
    return reader.load_sweep(path, overrides, InputFiles())


def plan_sweep(sweep: Sweep) -> Plan:
    return plan.plan_sweep(sweep, InputFiles())


def source_of(config: DataConfig) -> DataSource:
    return DataSource.of(config, InputFiles())


def probes_by_training(made: Plan) -> dict[str, Probe]:
    return probes.probes_by_training(made, hardware.device_of(made.sweep.resources.gpus))


def probes_of(made: Plan) -> dict[str, Probe]:
    return probes.probes_of(made, hardware.device_of(made.sweep.resources.gpus))
