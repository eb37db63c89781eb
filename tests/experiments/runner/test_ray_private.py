"""The parts of Ray that are not public: this version has them, and without them Ray is used all the same."""

import importlib

import pytest

from experiments.runner import ray_private

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
    with ray_private.own_process_group():
        pass


def test_processes_get_a_group_of_their_own_only_within_the_block() -> None:
    services = importlib.import_module("ray._private.services")
    before = services.ConsolePopen
    with ray_private.own_process_group():
        assert services.ConsolePopen is not before
    assert services.ConsolePopen is before
