"""Runs Tune in a thread and watches Ray, so that Ctrl-C and the loss of Ray are answered, whatever Ray waits for."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from experiments.errors import RayLost, UserError
from experiments.runner import ray_private
from experiments.runner.cluster import LocalRay
from experiments.runner.dispatch import Dispatcher

ANSWER_S = 0.2  # in which a signal is noticed
LEAVE_S = 6.0  # for Tune to leave when it is told to
CONTROL = "gcs_server"  # Ray's control process: without it nothing of Ray goes on


def run_watched(dispatcher: Dispatcher, work: Callable[[], None], ray_here: LocalRay) -> None:
    """Run Tune until it has nothing left to do.

    Raises RayLost once all of Ray's processes are ended, UserError where the store has gone. Where Tune does not leave,
    because it waits inside Ray for what has ended, its thread and Ray's part of this process are left as they are: to
    end Ray here could take minutes, or end this process.
    """
    tune = _TuneThread(work)
    watch = RayWatch(dispatcher)
    try:
        while not tune.ended_within(ANSWER_S):
            if watch.is_lost():
                ray_here.forsake()
                tune.tell_to_leave()  # without waiting: it may wait for Ray, for minutes
                watch.end_processes()
                raise RayLost(dispatcher.spent_until_now_s())
    except (KeyboardInterrupt, UserError):
        tune.tell_to_leave()
        if not tune.ended_within(LEAVE_S):
            ray_here.forsake()
            watch.end_processes()
        raise
    tune.raise_error()


class _TuneThread:
    """The thread that runs Tune, and what it raised."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="edm-sweep-tune", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end; return whether it has come. Signals are handled meanwhile."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def tell_to_leave(self) -> None:
        """Raise KeyboardInterrupt in the thread, as Ctrl-C would, as soon as it is in Python."""
        identity = self._thread.ident
        if identity is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(identity), ctypes.py_object(KeyboardInterrupt))

    def raise_error(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._error is not None:
            raise self._error


class RayWatch:
    """Knows the processes of a Ray of our own, and whether the run can go on with those that are left."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher, self._timing = dispatcher, dispatcher.timing
        self._known: dict[int, psutil.Process] = {}
        self._seen, self._since, self._looked = "", time.monotonic(), -self._timing.ray_look_s

    def is_lost(self) -> bool:
        """Look, every now and then: without its raylet Ray starts no worker, although running ones continue."""
        now = time.monotonic()
        if now - self._looked < self._timing.ray_look_s:
            return False
        self._looked = now
        self._dispatcher.require_store()
        dead = ray_private.dead_processes()
        if not dead:
            self._remember()
            self._since = now
            return False
        if CONTROL in dead:
            return True
        signs = self._dispatcher.signs_of_life()
        if signs != self._seen:
            self._seen, self._since = signs, now
        return now - self._since > self._timing.ray_silence_s

    def _remember(self) -> None:
        """Note the processes there are: workers whose raylet has ended are no longer children of this process."""
        with suppress(psutil.Error):
            found = psutil.Process().children(recursive=True)
            self._known = {process.pid: process for process in found}

    def end_processes(self) -> None:
        """End whatever is left of Ray: its workers may go on without it for a while."""
        for process in self._known.values():
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(list(self._known.values()), timeout=2.0)
