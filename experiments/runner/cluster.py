"""The Ray that work runs on, of this machine's own or at an address, and what its nodes must have."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import ray
from ray._private import services
from ray._private import worker as ray_worker
from ray.exceptions import RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from experiments.errors import UserError
from experiments.store.store import Store

PACKAGES = ("edm", "experiments", "reports")
JOINING_S, JOINING_PAUSE_S = 30.0, 0.3  # for a node that is listed to take work; between tries
ANSWER_S = 5.0  # for a cluster's port to be opened: Ray itself would try for minutes
CLIENT = "ray://"
CLIENT_TRIES = 3
THREAD = "edm-sweep-ray"  # which starts our own, and ends it


@contextmanager
def connected(store: Store, address: str | None = None) -> Generator[None]:
    """Ray for as long as the block lasts, of our own or at an address.

    Raises UserError where there is no such cluster, or where its nodes do not all see the store.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters arrives as an exception or in a trial's log.txt
    if hasattr(ray_worker, "print_to_stdstream"):  # a page on every worker or raylet that dies; we say it in a line
        ray_worker.print_to_stdstream = lambda *_, **__: None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _connect(address)
    try:
        if address is not None:
            _prepare_nodes(store, address)
        yield
    finally:
        _disconnect()


@contextmanager
def starting(store: Store, address: str | None = None) -> Generator[Callable[[], None]]:
    """As `connected`, but where Ray is our own it starts while the block goes on, which takes it some six seconds.

    The block is given what to call before it uses Ray: that waits until it is there, and raises what went wrong. A
    block that fails before Ray is there does not wait for it.
    """
    if address is not None:
        with connected(store, address):
            yield lambda: None
        return
    ready: Future[None] = Future()
    ending = threading.Event()

    def hold() -> None:
        # Linux kills Ray's processes with the thread that started them: it stays
        try:
            with connected(store):
                ready.set_result(None)
                ending.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    for leaving in [thread for thread in threading.enumerate() if thread.name == THREAD]:
        leaving.join()  # of a block that did not wait
    thread = threading.Thread(target=hold, name=THREAD, daemon=True)
    thread.start()
    try:
        yield ready.result
    finally:
        ending.set()
        if ready.done():
            thread.join()


def is_broken() -> bool:
    """Whether a process of our own Ray has died."""
    node = getattr(ray_worker, "_global_node", None)
    return node is not None and bool(node.dead_processes())


def _connect(address: str | None, runtime_env: dict[str, Any] | None = None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address is None:
        # Ray authenticates its processes by a token; one of our own needs no file under HOME, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with _apart():
            ray.init(address="local", include_dashboard=False, **quiet)
        return
    try:
        _require_open(address)
        # Ray puts the current folder before all others for its workers: on another node it may hold another version
        with (
            tempfile.TemporaryDirectory(prefix="edm-sweep-nowhere-") as nowhere,
            contextlib.chdir(nowhere),
            _own_signals(),
        ):
            _init(address=address, runtime_env=runtime_env, **quiet)
    except (RayError, OSError, ValueError, RuntimeError) as error:
        _refuse(address, error)


def _init(**options: Any) -> None:
    """Connect; the process that a cluster starts for each of Ray's clients may die at once, and another will do."""
    for _ in range(CLIENT_TRIES - 1):
        with contextlib.suppress(ConnectionAbortedError):
            ray.init(**options)
            return
        time.sleep(JOINING_PAUSE_S)
    ray.init(**options)


def _disconnect() -> None:
    """Leave Ray, with no garbage collected meanwhile.

    Ray ends the whole process where a thread lets go of one of its objects while its core is being taken down, and
    Tune leaves some of them in cycles.
    """
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _own_signals() -> Generator[None]:
    """Undo that Ray has SIGTERM end this process by a traceback."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _apart() -> Generator[None]:
    """Start Ray's processes in a group of their own: a signal to a whole job is for us, who let work be saved first."""
    popen = getattr(services, "ConsolePopen", None)
    if popen is None or sys.platform == "win32":
        yield
        return
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


def _require_open(address: str) -> None:
    """Raise OSError or ValueError where nothing listens at an address."""
    found = address if address.startswith(CLIENT) else CLIENT + services.canonicalize_bootstrap_address_or_die(address)
    place = urlsplit(found)
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), ANSWER_S).close()


def _refuse(address: str, error: Exception) -> NoReturn:
    _disconnect()
    reason = " ".join(str(error).split())[:300]
    raise UserError(
        f"--address {address}: no Ray cluster answers there ({reason}); start one with 'ray start --head', see "
        "docs/cluster.md for what else it takes, or leave --address out to use this machine alone"
    ) from None


def _prepare_nodes(store: Store, address: str) -> None:
    """See that all nodes have this very code, and that the store is one and the same folder everywhere."""
    digest = _source_digest()
    own = digest()
    if _nodes_with_other(digest, own):
        _disconnect()
        home = Path(__file__).parents[2]
        _connect(address, {"py_modules": [str(home / package) for package in PACKAGES]})
        others = _nodes_with_other(digest, own)
        if others:
            raise UserError(
                f"--address {address}: node {', '.join(others)} has another version of edm-sweep, which hides the one "
                "sent there; install this version on all nodes, or remove it from them"
            )
    problems = _store_problems(store)
    if problems:
        told = "; ".join(f"node {host} {text}" for host, text in sorted(problems.items()))
        raise UserError(
            f"{store.root}: is not one folder for all nodes of {address}: {told}; give --store a path on a file system "
            "that every node has mounted there"
        )


def _nodes_with_other(digest: Callable[[], str], own: str) -> list[str]:
    return [node for node, found in _on_all_nodes(digest).items() if found != own]


def _store_problems(store: Store) -> dict[str, str]:
    """What is wrong with the store's folder, by node: each leaves a mark there, then each looks for all marks."""
    token = secrets.token_hex(4)
    folder = store.root / "nodes" / token
    try:
        folder.mkdir(parents=True)
        (folder / "driver").write_text(token)
        told = _on_all_nodes(_marker(str(folder), token))
        if not any(told.values()):
            told = _on_all_nodes(_reader(str(folder), sorted(path.name for path in folder.iterdir())))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {node: text for node, text in told.items() if text}


# what runs on nodes that may not have this package: closures, which travel whole ---------------------


def _source_digest() -> Callable[[], str]:
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


def _marker(folder: str, token: str) -> Callable[[], str]:
    def leave_mark() -> str:
        import pathlib
        import socket
        import uuid

        try:
            if (pathlib.Path(folder) / "driver").read_text() != token:
                return "sees another folder there"
            (pathlib.Path(folder) / f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}").write_text(token)
        except FileNotFoundError:
            return "does not see what was written there"
        except OSError as error:
            return f"cannot write there ({error.strerror})"
        return ""

    return leave_mark


def _reader(folder: str, names: list[str]) -> Callable[[], str]:
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
            time.sleep(1)
        return "does not see what other nodes write there"

    return read_marks


def _on_all_nodes(function: Callable[[], Any]) -> dict[str, Any]:
    """What a function returns on every node, by the node's name and a part of its Ray identity.

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
                    reason = " ".join(str(error).split())[:300]
                    raise UserError(
                        f"--address: node {name} of the cluster runs nothing ({reason}); what nodes need is in "
                        "docs/cluster.md"
                    ) from None
        if asked.keys() - answers.keys():
            time.sleep(JOINING_PAUSE_S)
    return answers


def _living_nodes() -> dict[str, str]:
    """The identities of a cluster's nodes, by what to call them."""
    alive = (node for node in ray.nodes() if node["Alive"])
    return {f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})": node["NodeID"] for node in alive}
