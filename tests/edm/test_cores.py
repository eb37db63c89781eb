"""Cores that a process may use: those it is bound to, and its control groups' shares, as Linux writes them."""

import os
from pathlib import Path

import pytest

from edm.cores import available_cores

V2, V1 = "0::/system.slice/job.scope\n", "4:cpu,cpuacct:/docker/4f2\n1:name=systemd:/docker/4f2\n"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def cores(folder: Path, own: str, files: dict[str, str]) -> int:
    """What is found where this process is in such groups, which have these files."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return available_cores(folder / "cgroup", folder / "own")


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 8),
        (V2, {"cpu.max": "max 100000"}, 8),
        (V2, {"cpu.max": "200000 100000"}, 2),
        (V2, {"cpu.max": "150000 100000"}, 2),
        (V2, {"cpu.max": "1000 100000"}, 1),
        (V2, {"cpu.max": "1600000 100000"}, 8),
        (V2, {"system.slice/cpu.max": "300000 100000", "system.slice/job.scope/cpu.max": "max 100000"}, 3),
        (V2, {"system.slice/cpu.max": "max 100000", "system.slice/job.scope/cpu.max": "500000 100000"}, 5),
        (V2, {"cpu.max": "unreadable"}, 8),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 8),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "400000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 4),
        (
            V1,
            {
                "cpu,cpuacct/docker/4f2/cpu.cfs_quota_us": "600000",
                "cpu,cpuacct/docker/4f2/cpu.cfs_period_us": "100000",
            },
            6,
        ),
    ],
)
def test_a_share_of_the_time_is_as_many_cores(own: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert cores(tmp_path, own, files) == expected


def test_without_control_groups_it_is_what_the_process_is_bound_to(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "none", tmp_path / "none either") == 8


def test_the_machines_own_groups_can_be_read() -> None:
    assert 1 <= available_cores() <= 8
