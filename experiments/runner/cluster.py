"""Starts a Ray on this machine, or connects to a cluster, for as long as a run lasts."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import psutil
import ray
from ray.exceptions import RayError

from edm.cores import available_cores
from experiments.errors import UserError, one_line
from experiments.loopback import LOOPBACK
from experiments.names import PACKAGES
from experiments.runner import ray_private
from experiments.runner.nodes import (
    nodes_with_other_code,
    quoted_python,
    quoted_python_of_nodes,
    require_same_code,
    require_shared_store,
)
from experiments.runner.scratch import scratch_folder
from experiments.store.store import Store

ANSWER_S = 5.0  # for a cluster's port to be opened: Ray itself would try for minutes
CLIENT = "ray://"
CLIENT_TRIES, CLIENT_PAUSE_S = 3, 0.3
START_TRIES = 3  # of a Ray on this machine
# Ray would end this process a minute after it has lost its control process; ray_watch.py notices that at once
PATIENT = {"gcs_rpc_server_reconnect_timeout_s": 3600}
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
THREAD = "edm-sweep-ray"  # which starts a Ray on this machine, and ends it


@contextmanager
def connected(store: Store, address: str | None = None) -> Generator[None]:
    """Provide Ray for as long as the block lasts, on this machine or at an address.

    Raises UserError where there is no such cluster, or where its nodes do not all see the store.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters arrives as an exception or in a trial's log.txt
    ray_private.silence_death_reports()
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if address is not None:
                _connect(address)
            else:
                _start_here(stack.enter_context(scratch_folder()))
        stack.callback(_disconnect)  # before the folder is removed
        if address is not None:
            _prepare_nodes(store, address)
        yield


class StartedRay:
    """The Ray of a run: that of a cluster is there already."""

    def wait(self) -> None:
        """Wait until Ray is there; raises what went wrong."""


class LocalRay(StartedRay):
    """A Ray on this machine, which starts while the run does something else: that takes some six seconds.

    Linux kills Ray's processes with the thread that started them, so a thread stays as long as they do.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._is_forsaken = store, False
        for leaving in [thread for thread in threading.enumerate() if thread.name == THREAD]:
            leaving.join()  # of a run that did not wait
        self._ready, self._ending = Future[None](), threading.Event()
        self._thread = threading.Thread(target=self._hold, name=THREAD, daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        try:
            with connected(self._store):
                self._ready.set_result(None)
                self._ending.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    def wait(self) -> None:
        """Wait until Ray is there; raises what went wrong."""
        self._ready.result()

    def end(self) -> None:
        """End Ray, without waiting for one that is not there yet."""
        if self._is_forsaken:
            return
        self._ending.set()
        if self._ready.done():
            self._thread.join()
        else:  # Linux ends a raylet with this process, but not what it has started
            _end_processes_of(Path(ray.__file__).parent)

    def forsake(self) -> None:
        """Leave a Ray as it is that was lost while a thread waits for it: to end it could end this process."""
        self._is_forsaken = True
        atexit.unregister(ray.shutdown)


@contextmanager
def starting(store: Store, address: str | None = None) -> Generator[StartedRay]:
    """Do as `connected` does, but let a Ray of this machine start while the block goes on.

    The block calls `wait` before it uses Ray. One that fails before Ray is there does not wait for it.
    """
    if address is not None:
        with connected(store, address):
            yield StartedRay()
        return
    here = LocalRay(store)
    try:
        yield here
    finally:
        here.end()


def _start_here(scratch: Path) -> None:
    """Start a Ray on this machine; on a busy one its processes may not answer each other in time at first."""
    # Ray authenticates its processes by a token; one of our own needs no file under HOME, which may be read-only
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    options = QUIET | {"include_dashboard": False, "_temp_dir": str(scratch)}
    options |= {"_node_ip_address": LOOPBACK, "_system_config": PATIENT, "num_cpus": available_cores()}
    options |= {"runtime_env": quoted_python(sys.executable)}
    for tries_left in reversed(range(START_TRIES)):
        try:
            with ray_private.own_process_group(), ray_private.on_loopback(), ray_private.without_helpers():
                ray.init(address="local", job_config=ray_private.same_code_job(), **options)
            return
        except Exception as error:  # Ray raises plain ones as well
            _disconnect()
            _end_processes_of(scratch)
            if not tries_left:
                raise UserError(
                    f"Ray did not start on this machine ({one_line(error)}); see what 'edm-sweep doctor' finds, "
                    "and try again when the machine is less busy"
                ) from None


def _end_processes_of(folder: Path) -> None:
    """End what a Ray that did not start has left running: processes below this one that name a folder, or Ray."""
    found: set[psutil.Process] = set()
    while new := {process for process in psutil.Process().children(recursive=True) if _is_of(process, folder)} - found:
        for process in new:
            with contextlib.suppress(psutil.Error):
                process.suspend()  # starts no more of them
        found |= new
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _is_of(process: psutil.Process, folder: Path) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    # the agents of a raylet, which outlive it, rename themselves once they have started
    return any(str(folder) in word or word.startswith("ray::") for word in command)


def _connect(address: str, runtime_env: dict[str, Any] | None = None) -> None:
    try:
        _require_open(address)
        # Ray puts the current folder before all others for its workers: on another node it may hold another version
        with (
            tempfile.TemporaryDirectory(prefix="edm-sweep-nowhere-") as nowhere,
            contextlib.chdir(nowhere),
            _own_signals(),
        ):
            _init(address=address, runtime_env=runtime_env, **QUIET)
    except (RayError, OSError, ValueError, RuntimeError) as error:
        _refuse(address, error)


def _init(tries: int = CLIENT_TRIES, pause_s: float = CLIENT_PAUSE_S, **options: Any) -> None:
    """Connect; the process that a cluster starts for each of Ray's clients may die at once, and another will do."""
    for _ in range(tries - 1):
        with contextlib.suppress(ConnectionAbortedError):
            ray.init(**options)
            return
        time.sleep(pause_s)
    ray.init(**options)


def _disconnect() -> None:
    """Disconnect from Ray, without collecting garbage meanwhile.

    Ray ends the whole process if a thread releases one of its objects while Ray shuts down, and Tune leaves some of
    them in reference cycles.
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
    """Undo Ray's handling of SIGTERM, which ends this process with a traceback."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _require_open(address: str) -> None:
    """Raise OSError or ValueError where nothing listens at an address."""
    found = address if address.startswith(CLIENT) else ray_private.bootstrap_address(address)
    if found is None:
        return
    place = urlsplit(found if found.startswith(CLIENT) else CLIENT + found)
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), ANSWER_S).close()


def _refuse(address: str, error: Exception) -> NoReturn:
    _disconnect()
    raise UserError(
        f"--address {address}: no Ray cluster answers there ({one_line(error)}); start one with 'ray start --head' "
        "(see docs/cluster.md), or leave --address out to use this machine alone"
    ) from None


def _prepare_nodes(store: Store, address: str) -> None:
    """See that all nodes can start workers, have this very code, and see the store as one and the same folder."""
    needed: dict[str, Any] = {**quoted_python_of_nodes(address)}
    has_other_code = bool(nodes_with_other_code())
    if has_other_code:
        home = Path(__file__).parents[2]
        needed["py_modules"] = [str(home / package) for package in PACKAGES]
    if needed:
        _disconnect()
        _connect(address, needed)
    if has_other_code:
        require_same_code(address)
    require_shared_store(store, address)
