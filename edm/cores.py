"""How many CPU cores there are for this process: in a container or a job of a cluster, not all of the machine's."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")  # one line for each hierarchy: its number, its controllers, the group's path


def available_cores(control_groups: Path = CONTROL_GROUPS, own_groups: Path = OWN_GROUPS) -> int:
    """Return the number of cores that this process may use, at least 1.

    It is bound to some (taskset, a job of Slurm), or Linux gives its control group a share of their time (a container
    with a limit), of which a part of a core counts as one.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [math.ceil(share) for group in _groups(control_groups, own_groups) for share in _shares(group)]
    return max(1, min(bound, *shares)) if shares else bound


def _groups(control_groups: Path, own_groups: Path) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, each of which may limit it."""
    lines = own_groups.read_text().splitlines() if own_groups.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = control_groups / controllers  # version 2 has no controllers here, and no folder for each of them
        own = root / path.strip("/")
        # inside a container, the path may be that of the machine, and the container's group is the root
        yield from (group for group in (own, *own.parents) if group.is_relative_to(root) and group.is_dir())


def _shares(group: Path) -> Iterator[float]:
    """Yield how many cores' time a group gets; nothing where it is not limited."""
    with suppress(OSError, ValueError):  # "max" is no number
        quota, period = (group / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with suppress(OSError, ValueError):  # version 1
        quota = int((group / "cpu.cfs_quota_us").read_text())
        if quota > 0:
            yield quota / int((group / "cpu.cfs_period_us").read_text())
