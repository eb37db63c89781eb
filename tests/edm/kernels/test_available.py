"""When kernels of our own are used: on GPUs where one has run, unless somebody rules them out."""

import dataclasses
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edm.kernels import available
from edm.kernels.available import SWITCH, have_kernels, torch_only, try_kernels
from edm.networks import compiling

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Probe:
    """Stands in for the kernel that is tried, which needs a GPU."""

    def __init__(self) -> None:
        self.tried = 0
        self.error: Exception | None = None

    def run(self, _device: torch.device) -> None:
        self.tried += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    found: Any = Probe()
    monkeypatch.setitem(sys.modules, "edm.kernels.probe", found)
    monkeypatch.setattr("edm.kernels.probe", found, raising=False)
    monkeypatch.setattr(available, "_state", available._State())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    monkeypatch.delenv(SWITCH, raising=False)
    return found


def test_kernels_are_used_where_one_has_run(probe: Probe) -> None:
    assert have_kernels(GPU) and have_kernels(GPU)
    assert probe.tried == 1
    assert not have_kernels(CPU)
    with torch_only(), torch_only(False):
        assert not have_kernels(GPU)
    with torch_only(False):
        assert have_kernels(GPU)
    assert have_kernels(GPU)


def test_where_kernels_fail_a_warning_says_why_once(probe: Probe) -> None:
    probe.error = RuntimeError("Failed to find C compiler.\nmore lines")
    with pytest.warns(RuntimeWarning, match=r"Triton's fail here \(RuntimeError: Failed to find C compiler\.\)$"):
        assert not have_kernels(GPU)
    assert not have_kernels(GPU) and probe.tried == 1


def test_an_environment_variable_rules_kernels_out(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "torch")
    assert not have_kernels(GPU) and not probe.tried


@pytest.mark.parametrize("changed", [{"hip": "7.0"}, {"capability": (7, 5)}])
def test_older_and_other_gpus_keep_torchs_functions(
    probe: Probe, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(torch.version, "hip", changed.get("hip"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: changed.get("capability", (9, 0)))
    assert not have_kernels(GPU) and not probe.tried


def test_kernels_are_tried_before_a_network_is_compiled(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not have_kernels(GPU) and not probe.tried  # too late to find out
    network: Any = torch.nn.Linear(1, 1)
    network.parameters, network.compile = lambda: iter([SimpleNamespace(device=GPU)]), lambda dynamic: None
    compiling.compile_network(network)
    assert probe.tried == 1 and have_kernels(GPU)


def test_a_cpu_is_never_tried(probe: Probe) -> None:
    try_kernels(CPU)
    assert not probe.tried and dataclasses.asdict(available._state) == {"work": None, "wanted": True}
