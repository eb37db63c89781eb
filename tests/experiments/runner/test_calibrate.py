"""Probes: which networks are measured, and what that finds out."""

import pickle
from pathlib import Path

import pytest
import torch

from experiments import hardware
from experiments.runner.calibrate import calibrate
from experiments.runner.listener import RunListener
from experiments.runner.measurements import measurements, probes_left
from experiments.runner.schedule import Schedule
from experiments.store.results import ProbeResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.trials import probe as probing
from experiments.trials.perform import perform
from experiments.trials.probe import run_probe
from tests.inprocess import CONTEXT
from tests.planning import load_sweep, plan_sweep, probes_by_training, probes_of


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without one."""
    monkeypatch.setattr(hardware, "gpu_names", lambda: ())


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes of a few steps."""
    monkeypatch.setattr(probing, "MOST_STEPS", 3)
    monkeypatch.setattr(probing, "WARM_UP_STEPS", 1)


def plan_with(file: Path, *changes: str) -> Plan:
    return plan_sweep(load_sweep(file, changes))


def signatures(plan: Plan) -> set[str]:
    return set(probes_of(plan))


def test_every_distinct_network_is_measured_once(tiny_file: Path) -> None:
    plan = plan_with(tiny_file)
    by_training = probes_by_training(plan)
    assert set(by_training) == set(plan.trainings) and len(probes_of(plan)) == 2
    assert len(probes_of(plan_with(tiny_file, "seeds=[0, 1, 2]"))) == 2


@pytest.mark.parametrize("change", ["seeds=[3]", "training.kimg=9", "training.lr=0.1", "evaluation.images=80"])
def test_what_changes_neither_speed_nor_memory_changes_no_probe(tiny_file: Path, change: str) -> None:
    assert signatures(plan_with(tiny_file, change)) == signatures(plan_with(tiny_file))


@pytest.mark.parametrize(
    "change",
    [
        "training.batch_size=16",
        "training.micro_batch=16",
        "training.precision=bf16",
        "model.channels=16",
        "data.name=fashion_mnist",
        "resources.compile=true",
        "resources.sampling_batch=10",
        "sampling.guidance=2",
        "sampling.precision=bf16",
    ],
)
def test_what_does_makes_another_probe(tiny_file: Path, change: str) -> None:
    assert not signatures(plan_with(tiny_file, change)) & signatures(plan_with(tiny_file))


def test_a_gpu_is_measured_apart_from_a_cpu(tiny_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = signatures(plan_with(tiny_file))
    monkeypatch.setattr(hardware, "gpu_names", lambda: ("NVIDIA H200",))
    assert not here & signatures(plan_with(tiny_file))
    assert signatures(plan_with(tiny_file, "resources.gpus=0")) == here


def test_a_probe_travels(tiny_plan: Plan) -> None:
    probe = next(iter(probes_of(tiny_plan).values()))
    assert pickle.loads(pickle.dumps(probe)) == probe and probe.kind == "probe"


def test_a_probe_measures_time_memory_and_size_and_is_kept(tiny_plan: Plan, store: Store, brief: None) -> None:
    probe = next(iter(probes_of(tiny_plan).values()))
    assert perform(store, probe, CONTEXT).state == "done"
    result = store.result(ProbeResult, probe.signature)
    assert result is not None and result.training is not None and result.drawing is not None
    assert result.fits and result.device == "cpu" and result.device_gib is None
    training, drawing = result.training, result.drawing
    assert training.kimg_s > 0 and drawing.forward_s > 0 and training.spread >= 1 and training.steps == 3
    assert training.model_bytes * 3 < training.checkpoint_bytes < training.model_bytes * 5
    assert run_probe(store, probe, CONTEXT) == result  # and not measured again


def test_trainings_wait_for_the_probes_that_are_not_there_yet(tiny_plan: Plan, store: Store, brief: None) -> None:
    left = probes_left(tiny_plan, store)
    assert {name for _, waiting in left.values() for name in waiting} == set(tiny_plan.trainings)
    assert set(Schedule(tiny_plan, frozenset(), probes=left).tasks) >= set(left)
    (first, (probe, _)), *_ = left.items()
    perform(store, probe, CONTEXT)
    assert set(probes_left(tiny_plan, store)) == set(left) - {first}


def test_calibrate_measures_all_networks_here(tiny_plan: Plan, store: Store, brief: None) -> None:
    seen: list[int] = []
    threads = torch.get_num_threads()
    try:
        calibrate(tiny_plan, store, RunListener())
    finally:
        torch.set_num_threads(threads)
    seen += [result.threads for _, result in measurements(tiny_plan, store)]
    assert len(seen) == 2 and not probes_left(tiny_plan, store)


def test_a_network_that_does_not_fit_is_cut_into_parts(
    tiny_plan: Plan, store: Store, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = probing.train

    def scarce(state, examples):
        if state.computing.micro_batch is None or state.computing.micro_batch > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(state, examples)

    monkeypatch.setattr(probing, "train", scarce)
    probe = next(iter(probes_of(tiny_plan).values()))
    store.folder("probes", probe.signature).mkdir(parents=True)
    result = run_probe(store, probe, CONTEXT)
    assert result.fits and result.training is not None and result.training.micro_batch == 8


def test_a_network_that_never_fits_is_said_not_to(
    tiny_plan: Plan, store: Store, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(probing, "draw", full)
    probe = next(iter(probes_of(tiny_plan).values()))
    store.folder("probes", probe.signature).mkdir(parents=True)
    result = run_probe(store, probe, CONTEXT)
    assert result.training is not None and result.drawing is None and not result.fits
