"""What the nodes of a cluster must have: this very code, and one store folder that all of them see."""

from __future__ import annotations

import secrets
import shlex
import shutil
import time
from collections.abc import Callable
from typing import Any

from experiments.store.folders import make_inside

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import ray
from ray.exceptions import RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from experiments.errors import UserError, one_line
from experiments.names import PACKAGES
from experiments.store.store import Store

JOINING_S, JOINING_PAUSE_S = 30.0, 0.3  # how long a node that is listed may take to accept work; between tries


def quoted_python_of_nodes(address: str) -> dict[str, str]:
    """Do as `quoted_python` for the path of Python on all nodes.

    Raises UserError where it needs quotes on some nodes and others have another path.
    """

    def executable() -> str:
        import sys

        return sys.executable

    found = _on_all_nodes(executable)
    odd = {node: path for node, path in found.items() if quoted_python(path)}
    if not odd:
        return {}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{node} ({path})" for node, path in odd.items())
        raise UserError(
            f"--address {address}: Ray starts no workers where the path of Python has a space, or another character "
            f"that means something to a shell: node {listed}; give Python the same path on all nodes, or one without"
        )
    return quoted_python(next(iter(odd.values())))


def quoted_python(path: str) -> dict[str, str]:
    """Return the part of a runtime environment that quotes the path of Python, {} where it needs no quotes.

    Ray hands that path to a shell as it is.
    """
    quoted = shlex.quote(path)
    return {} if quoted == path else {"py_executable": quoted}


def nodes_with_other_code() -> list[str]:
    """Return the nodes whose version of this project is not the driver's."""
    digest = source_digest()
    own = digest()
    return [node for node, found in _on_all_nodes(digest).items() if found != own]


def require_same_code(address: str) -> None:
    """Raise UserError where nodes have another version of this project, which hides the one that was sent to them."""
    others = nodes_with_other_code()
    if others:
        raise UserError(
            f"--address {address}: node {', '.join(others)} has another version of edm-sweep installed, which is "
            "used instead of the one that this run sends; install this version on all nodes, or remove it from them"
        )


def require_shared_store(store: Store, address: str) -> None:
    """Raise UserError where the store is not one and the same folder on all nodes."""
    problems = _store_problems(store)
    if problems:
        listed = "; ".join(f"node {host} {text}" for host, text in sorted(problems.items()))
        raise UserError(
            f"{store.root}: is not one folder for all nodes of {address}: {listed}; give --store a path on a file "
            "system that every node has mounted there"
        )


def _store_problems(store: Store) -> dict[str, str]:
    """Return what is wrong with the store's folder, by node: each leaves a mark there, then looks for all marks."""
    token = secrets.token_hex(4)
    folder = store.root / "nodes" / token
    try:
        make_inside(store.root, folder)
        (folder / "driver").write_text(token)
        answers = _on_all_nodes(mark_writer(str(folder), token))
        if not any(answers.values()):
            answers = _on_all_nodes(mark_reader(str(folder), sorted(path.name for path in folder.iterdir())))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {node: text for node, text in answers.items() if text}


# what runs on nodes that may not have this package: closures, which travel whole ---------------------


def source_digest() -> Callable[[], str]:
    """Return what computes a digest of all source of this project on a node, "" where a package is missing."""
    packages = PACKAGES

    def of_source() -> str:
        import hashlib
        import importlib.util
        import pathlib

        found = hashlib.sha256()
        for package in packages:
            spec = importlib.util.find_spec(package)
            if spec is None or spec.origin is None:
                return ""
            for path in sorted(pathlib.Path(spec.origin).parent.rglob("*.py")):
                found.update(path.read_bytes())
        return found.hexdigest()

    return of_source


def mark_writer(folder: str, token: str, pause_s: float = 1.0) -> Callable[[], str]:
    """Return what leaves a file in a folder on a node; it answers what is wrong with the folder, "" if nothing."""

    def leave_mark() -> str:
        import pathlib
        import socket
        import time
        import uuid

        for _ in range(10):  # a network file system may show a new folder late
            try:
                if (pathlib.Path(folder) / "driver").read_text() != token:
                    return "sees another folder there"
                (pathlib.Path(folder) / f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}").write_text(token)
                return ""
            except FileNotFoundError:
                time.sleep(pause_s)
            except OSError as error:
                return f"cannot write there ({error.strerror})"
        return "does not see what was written there"

    return leave_mark


def mark_reader(folder: str, names: list[str], pause_s: float = 1.0) -> Callable[[], str]:
    """Return what looks for files in a folder on a node; it answers what is wrong with the folder, "" if nothing."""

    def read_marks() -> str:
        import pathlib
        import time

        wanted = set(names)
        for _ in range(30):  # a network file system may show new names late
            try:
                if wanted <= {path.name for path in pathlib.Path(folder).iterdir()}:
                    return ""
            except OSError:
                pass
            time.sleep(pause_s)
        return "does not see what other nodes write there"

    return read_marks


def _on_all_nodes(function: Callable[[], Any]) -> dict[str, Any]:
    """Return what a function returns on every node, by the node's name and a part of its Ray identity.

    A node that has just joined is listed before work can be sent to it, and one may leave while it is asked.
    """
    remote = ray.remote(num_cpus=0)(function)
    answers: dict[str, Any] = {}
    deadline = time.monotonic() + JOINING_S
    while asked := {name: node for name, node in _living_nodes().items() if name not in answers}:
        calls = {
            name: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
            for name, node in asked.items()
        }
        for name, call in calls.items():
            try:
                answers[name] = ray.get(call)
            except RayError as error:
                joining = isinstance(error, TaskUnschedulableError) and time.monotonic() < deadline
                if not joining and name in _living_nodes():
                    raise UserError(
                        f"--address: node {name} of the cluster does not run any task ({one_line(error)}); "
                        "docs/cluster.md says what nodes need"
                    ) from None
        if asked.keys() - answers.keys():
            time.sleep(JOINING_PAUSE_S)
    return answers


def _living_nodes() -> dict[str, str]:
    """Return the Ray identities of a cluster's living nodes, by the names shown to people."""
    alive = (node for node in ray.nodes() if node["Alive"])
    return {f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})": node["NodeID"] for node in alive}
