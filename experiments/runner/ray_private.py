"""Parts of Ray that are not public, one function each. Where a version of Ray lacks one, the function does without."""

from __future__ import annotations

import functools
import sys
from collections.abc import Generator
from contextlib import contextmanager

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import ray
from ray._private import services
from ray._private import worker as ray_worker

# what is used here, by module; a test asks whether this version of Ray has all of it
USED = {
    "ray._private.worker": ("print_to_stdstream", "_global_node"),
    "ray._private.services": ("ConsolePopen", "canonicalize_bootstrap_address_or_die"),
}


def silence_death_reports() -> None:
    """Keep Ray from printing a page on every worker or raylet that dies: the run says so in a line."""
    if hasattr(ray_worker, "print_to_stdstream"):
        ray_worker.print_to_stdstream = lambda *_, **__: None


def has_dead_process() -> bool:
    """Return whether a process of a Ray that this process started has died; of any other Ray, whether a node has."""
    node = getattr(ray_worker, "_global_node", None)
    if node is not None and hasattr(node, "dead_processes"):
        return bool(node.dead_processes())
    return ray.is_initialized() and not all(node["Alive"] for node in ray.nodes())


def bootstrap_address(address: str) -> str | None:
    """Return the HOST:PORT that an address such as "auto" means, None where that is unknown. Raises ValueError."""
    resolve = getattr(services, "canonicalize_bootstrap_address_or_die", None)
    return resolve(address) if resolve is not None else None


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
