"""The parts of Ray that are not public: this version has them, and without them Ray is used all the same."""

import importlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.runner import ray_private
from experiments.runner.tune import WORKER_LOST
from experiments.store.layout import LOG
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.experiments.runner.test_tune import searcher_of

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own deprecations

PARTS = [(module, name) for module, names in ray_private.USED.items() for name in names]


@pytest.mark.parametrize(("module", "name"), PARTS)
def test_this_version_of_ray_has_what_is_used(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name), f"{module}.{name} is gone: see runner/ray_private.py"


def test_without_them_ray_is_used_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in PARTS:
        monkeypatch.delattr(f"{module}.{name}")
    ray_private.silence_death_reports()
    assert ray_private.bootstrap_address("auto") is None
    assert not ray_private.dead_processes()  # Ray is not running here
    assert ray_private.last_words(0.0) == ""
    with ray_private.own_process_group(), ray_private.on_loopback(), ray_private.without_helpers():
        pass


def test_processes_get_a_group_of_their_own_only_within_the_block() -> None:
    services = importlib.import_module("ray._private.services")
    before = services.ConsolePopen
    with ray_private.own_process_group():
        assert services.ConsolePopen is not before
    assert services.ConsolePopen is before


def test_ray_starts_no_helpers_only_within_the_block() -> None:
    services, node = importlib.import_module("ray._private.services"), importlib.import_module("ray._private.node")
    before = services.start_api_server, node.Node.start_monitor, node.Node.start_log_monitor
    with ray_private.without_helpers():
        assert services.start_api_server(False, False) == ("", None)
        assert node.Node.start_monitor(None) is node.Node.start_log_monitor(None) is None
    assert (services.start_api_server, node.Node.start_monitor, node.Node.start_log_monitor) == before


def test_ray_listens_on_loopback_only_within_the_block() -> None:
    services = importlib.import_module("ray._private.services")
    before = services.resolve_ip_for_localhost
    with ray_private.on_loopback():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    assert services.resolve_ip_for_localhost is before


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Ray's logs."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "worker-a-01.err").write_text("of a worker before\n")
    os.utime(folder / "worker-a-01.err", (1.0, 1.0))
    (folder / "worker-b-02.out").touch()
    monkeypatch.setattr(ray_private.ray_worker, "_global_node", SimpleNamespace(get_logs_dir_path=lambda: str(folder)))
    return folder


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_worker_that_died_as_it_started_is_heard(
    has_begun: bool, logs: Path, tiny_plan: Plan, tmp_path: Path
) -> None:
    searcher = searcher_of(tiny_plan, Store(tmp_path / "store"))
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    (signature,) = config["signatures"]
    if has_begun:
        folder = searcher.dispatcher.store.folder("trainings", signature)
        folder.mkdir(parents=True)
        (folder / LOG).touch()
    (logs / "worker-c-03.err").write_text("Traceback:\n  somewhere\nModuleNotFoundError: No module named 'trials'\n")
    searcher.on_trial_complete("a", error=True)
    words = "; its own log ends: Traceback: | somewhere | ModuleNotFoundError: No module named 'trials'"
    message = searcher.dispatcher.schedule.failures[signature].message
    assert message == (WORKER_LOST if has_begun else WORKER_LOST + words)
