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
from experiments.wording import duration

ANSWER_S = 0.2  # in which a signal is noticed
LEAVE_S = 6.0  # for Tune to leave when it is told to
RAYLET, WORKER = "raylet", "default_worker.py"  # the process that starts workers, and their program
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
        if identity is not None and self._thread.is_alive():  # else the next thread to start may have its number
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
        self._workers = FirstWorkers(dispatcher)
        self._seen, self._since, self._looked = "", time.monotonic(), -self._timing.ray_look_s

    def is_lost(self) -> bool:
        """Look, every now and then: without its raylet Ray starts no worker, although running ones continue."""
        now = time.monotonic()
        if now - self._looked < self._timing.ray_look_s:
            return False
        self._looked = now
        self._dispatcher.require_store()
        self._workers.look()
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


class FirstWorkers:
    """Sees whether any worker starts: Ray itself would try again and again for minutes, and say nothing."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher, self._timing = dispatcher, dispatcher.timing
        self._have_started = self._is_told = False
        self._wanted: float | None = None  # since when there are jobs for workers
        self._ended: float | None = None  # since when all that were started have ended

    def look(self) -> None:
        """Say that the first worker takes long to start; raises UserError with the reason where none can start."""
        if self._have_started or not self._dispatcher.running:
            return
        self._have_started = ray_private.has_started_workers()
        if self._have_started:
            return
        now = time.monotonic()
        self._wanted = now if self._wanted is None else self._wanted
        words = ray_private.stillborn_words()
        if not words or _are_workers_starting():
            self._ended = None
        elif self._ended is None:
            self._ended = now
        elif now - self._ended >= self._timing.stillborn_s:
            raise UserError(
                f"Ray's workers end as soon as they start: {words}; see what 'edm-sweep doctor' finds, and give the "
                "same command again"
            )
        if not self._is_told and now - self._wanted >= self._timing.slow_worker_s:
            self._is_told = True
            waited = duration(now - self._wanted)
            self._dispatcher.notify(f"Waiting for Ray's first worker, which has not started within {waited}.")


def _are_workers_starting() -> bool:
    """Return whether a process of a worker runs; a raylet names their program, too."""
    with suppress(psutil.Error):
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.name() != RAYLET and any(WORKER in word for word in process.cmdline()):
                    return True
    return False
