"""GPUs that a process may use: what NVIDIA's tool lists, and what CUDA_VISIBLE_DEVICES leaves of it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments import hardware

LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-a1)
  MIG 1g.5gb      Device  0: (UUID: MIG-c7384736-1)
  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590-2)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-15b4e5ee-b2)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-77b4e5ee-c3)
"""
A100, H100 = "NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3"
Install = Callable[[str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts an nvidia-smi into PATH that does what a Python statement does."""
    functions = (hardware.gpu_names, hardware.all_gpus, hardware.gpu_driver)

    def install(statement: str) -> None:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!{sys.executable}\n{statement}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(hardware.VISIBLE, raising=False)
    for function in functions:
        function.cache_clear()
    yield install
    for function in functions:
        function.cache_clear()


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, [A100, H100, H100]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1", [H100]),
        ("2, 0", [H100, A100]),
        ("0,7,1", [A100]),
        ("GPU-15b4", [H100]),
        ("GPU-77b4e5ee-c3,GPU-5d5b", [H100, A100]),
        ("MIG-a28ad590-2", [f"{A100} MIG 3g.20gb"]),
        ("1,,2", [H100]),
    ],
)
def test_only_gpus_that_cuda_shows_count(
    chosen: str | None, names: list[str], tool: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(f"print({LISTED!r}, end='')")
    if chosen is not None:
        monkeypatch.setenv(hardware.VISIBLE, chosen)
    assert list(hardware.gpu_names()) == names
    assert hardware.device_of(None) == (names[0] if names else "cpu") and hardware.device_of(0) == "cpu"
    assert not hardware.is_driver_silent()


@pytest.mark.parametrize(
    "statement",
    [
        "raise SystemExit('NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.')",
        "print('No devices were found')",
        "import time; time.sleep(60)",
    ],
)
def test_a_driver_that_fails_or_hangs_is_no_gpu(statement: str, tool: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "ANSWER_S", 1.0)
    tool(statement)
    assert hardware.gpu_names() == () and hardware.is_driver_silent()


def test_a_machine_without_the_tool_has_no_silent_driver(tool: Install) -> None:
    assert hardware.gpu_names() == () and hardware.gpu_driver() is None and not hardware.is_driver_silent()
