"""Parts of Ray that are not public, one function each. Where a version of Ray lacks one, the function does without."""

from __future__ import annotations

import functools
import re
import site
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
from ray._private import node as ray_node
from ray._private import services
from ray._private import worker as ray_worker
from ray.job_config import JobConfig

from experiments.wording import on_one_line

LAST_LINES = 5  # of a worker's log, to be shown where it died as it started

RAYLET_LINE = re.compile(r"\[\d{4}-\d\d-\d\d ")  # how the raylet begins its own lines

# what is used here, by module; a test asks whether this version of Ray has all of it
USED = {
    "ray._private.worker": ("print_to_stdstream", "_global_node"),
    "ray._private.services": (
        "ConsolePopen",
        "canonicalize_bootstrap_address_or_die",
        "resolve_ip_for_localhost",
        "start_api_server",
    ),
    "ray._private.node": ("Node",),
}


def silence_death_reports() -> None:
    """Keep Ray from printing a page on every worker or raylet that dies: the run says so in a line."""
    if hasattr(ray_worker, "print_to_stdstream"):
        ray_worker.print_to_stdstream = lambda *_, **__: None


def dead_processes() -> list[str]:
    """Return which processes of a Ray that this process started have died, such as gcs_server and raylet."""
    node = getattr(ray_worker, "_global_node", None)
    if node is not None and hasattr(node, "dead_processes"):
        return [kind for kind, _ in node.dead_processes()]
    return []


def last_words(since: float) -> str:
    """Return the last lines of the newest log that a worker on this machine has written to since then, "" if none."""
    folder = _logs_folder()
    if folder is None:
        return ""
    logs = [(path.stat(), path) for path in folder.glob("worker-*.*")]
    written = [(status.st_mtime, path) for status, path in logs if status.st_size and status.st_mtime >= since]
    if not written:
        return ""
    return _last_lines(max(written)[1].read_text(errors="replace").splitlines())


def has_started_workers() -> bool:
    """Return whether a worker on this machine has come so far as to have a log of its own, or where that is unknown."""
    logs = _logs_folder()
    return logs is None or any(logs.glob("worker-*.*"))


def stillborn_words() -> str:
    """Return the last lines of what workers wrote that ended before they had a log of their own, "" if nothing."""
    logs = _logs_folder()
    path = logs / "raylet.err" if logs is not None else None
    if path is None or not path.exists():
        return ""
    lines = path.read_text(errors="replace").splitlines()
    return _last_lines([line for line in lines if not RAYLET_LINE.match(line)])


def _logs_folder() -> Path | None:
    node = getattr(ray_worker, "_global_node", None)
    return None if node is None or not hasattr(node, "get_logs_dir_path") else Path(node.get_logs_dir_path())


def _last_lines(lines: list[str]) -> str:
    return on_one_line(" | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip()))


def bootstrap_address(address: str) -> str | None:
    """Return the HOST:PORT that an address such as "auto" means, None where that is unknown. Raises ValueError."""
    resolve = getattr(services, "canonicalize_bootstrap_address_or_die", None)
    return resolve(address) if resolve is not None else None


class _Closed(list[str]):
    """Folders to which Ray can add none."""

    def extend(self, iterable: Iterable[str]) -> None:
        del iterable


def same_code_job() -> JobConfig:
    """Return the settings of a job whose workers import the code that runs here, whatever the current folder holds.

    Ray has its workers look first in the folders of the script and of the command, where there may be other packages
    of our names. What Python itself finds, such as an installed package, needs no folder.
    """
    config, home = JobConfig(), str(Path(__file__).parents[2])
    if hasattr(config, "_py_driver_sys_path"):
        installed = home in (*site.getsitepackages(), site.getusersitepackages())
        config._py_driver_sys_path = _Closed([] if installed else [home])
    return config


@contextmanager
def on_loopback() -> Generator[None]:
    """Let a Ray that is started listen on this machine alone: it would take 127.0.0.1 for a mistake."""
    resolve = getattr(services, "resolve_ip_for_localhost", None)
    if resolve is None:
        yield
        return
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        services.resolve_ip_for_localhost = resolve


@contextmanager
def without_helpers() -> Generator[None]:
    """Start a Ray without processes that nobody asks anything: its dashboard, its autoscaler, the one that sends logs.

    `ray.init` would wait for the dashboard, of which it starts a part even where it is told not to.
    """
    node = getattr(ray_node, "Node", None)
    nothing: dict[tuple[Any, str], Callable[..., Any]] = {
        (services, "start_api_server"): lambda *_, **__: ("", None),  # no address, no process
        (node, "start_monitor"): lambda _: None,
        (node, "start_log_monitor"): lambda _: None,
    }
    with ExitStack() as stack:
        for (owner, name), replacement in nothing.items():
            if hasattr(owner, name):
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, replacement)
        yield


@contextmanager
def own_process_group() -> Generator[None]:
    """Start Ray's processes in a group of their own: a signal to a whole job is for us, who let trials save first."""
    popen = getattr(services, "ConsolePopen", None)
    if popen is None or sys.platform == "win32":
        yield
        return
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen
