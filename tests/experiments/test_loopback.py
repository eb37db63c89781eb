"""A machine without a loopback interface: what would wait for minutes says at once what is missing."""

from pathlib import Path

import pytest

from experiments import loopback
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.commandline import invoke


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has not the address it would call itself by: this one is reserved for examples."""
    monkeypatch.setattr(loopback, "LOOPBACK", "192.0.2.1")


def test_this_machine_reaches_itself() -> None:
    assert loopback.loopback_problem() is None


def test_a_run_says_what_ray_lacks_before_it_starts_it(cut_off: None, tiny_file: Path, store: Store) -> None:
    refused = invoke("run", tiny_file, "--store", store.root)
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1
    assert "cannot connect to itself" in refused.stderr and "which Ray needs" in refused.stderr
    assert not (store.root / "trainings").exists()


def test_the_ui_says_what_its_server_lacks(cut_off: None, done: tuple[Plan, Store]) -> None:
    (done[1].root / "mlflow.db").touch()
    refused = invoke("ui", "--store", done[1].root)
    assert refused.returncode == 2 and "which MLflow's server needs" in refused.stderr
