"""One `run`: plan, subtract what the store holds, hand the rest to Ray, mirror into MLflow as results come."""

from __future__ import annotations

import _thread
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from rich.console import Console

from edm.config import Features
from experiments.cli.views.live import Monitor
from experiments.cli.views.progress import progress
from experiments.inspection.recall import remember
from experiments.runner import remote
from experiments.runner.allocation import require_possible
from experiments.runner.options import Options
from experiments.runner.schedule import Schedule, State
from experiments.store.active_runs import announced
from experiments.store.layout import LOG
from experiments.store.provenance import RunInfo
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.tasks import Evaluation
from experiments.tracking.background import MirrorThread
from experiments.trials.datasets import prepare_data

GRACE_S: dict[int, float] = {
    signal.SIGINT: 10.0,
    signal.SIGTERM: 25.0,
}  # from a request to stop to taking the workers away
MIRROR_S = 60.0  # how long to wait for MLflow at the end
LOG_TAIL_LINES = 12


@dataclass(frozen=True)
class Failure:
    """A task that failed."""

    name: str
    message: str
    log: Path
    tail: list[str]


@dataclass(frozen=True)
class Summary:
    """How a run ended: names of tasks, by what became of them."""

    started: int
    done: int
    failures: list[Failure] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    withheld: dict[str, str] = field(default_factory=dict)  # and why
    cancelled: list[str] = field(default_factory=list)
    interrupted: bool = False
    worked_s: float = 0.0  # of workers, in the work itself
    mirror_problem: str | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether some of what was asked for was not done, but for what was pruned."""
        return bool(self.failures or self.withheld or self.cancelled)


def run_sweep(
    schedule: Schedule, store: Store, tracking_uri: str | None, console: Console, options: Options = Options()
) -> Summary:
    """Do all that is left, then bring MLflow up to date; without anything left only the latter."""
    remember(schedule.plan, store)
    left, before = schedule.counts["waiting"], schedule.counts["done"]
    mirror = MirrorThread(store, schedule.plan, tracking_uri)
    interrupted, worked_s = False, 0.0
    try:
        if left:
            interrupted, worked_s = _execute(schedule, store, console, options, mirror)
        else:
            mirror.start()
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        mirror.finish(timeout_s=3.0)
        raise
    if interrupted:
        problem = mirror.finish(timeout_s=3.0)
    else:
        with console.status("bringing MLflow up to date"):
            problem = mirror.finish(MIRROR_S)
    summary = _summary(schedule, store, left, schedule.counts["done"] - before)
    return replace(summary, interrupted=interrupted, worked_s=worked_s, mirror_problem=problem)


def _execute(
    schedule: Schedule, store: Store, console: Console, options: Options, mirror: MirrorThread
) -> tuple[bool, float]:
    """Run what is left on Ray; returns whether it was interrupted, and the seconds of work done."""
    resources, session = schedule.plan.sweep.resources, secrets.token_hex(8)
    if options.address is None:
        require_possible(resources)
    with announced(store, session, schedule.plan.sweep.name):
        with console.status("loading Ray"):
            from experiments.runner import cluster  # heavy
        with cluster.starting(store, options.address) as wait_for_ray:
            _get_ready(schedule, store, console)
            with console.status("starting Ray") if console.is_terminal else _saying(console, "starting Ray"):
                from experiments.runner import tune as tuning  # heavy, and not for nothing
                from experiments.trials.context import TrialContext

                setting = TrialContext(
                    session,
                    sampling_batch=resources.sampling_batch,
                    checkpoint_s=resources.checkpoint_s,
                    compile=resources.compile,
                    told=RunInfo.of_this_process(store, options.tags),
                )
                mirror.start()
                wait_for_ray()
            monitor = Monitor(console, schedule, store, session)
            run = remote.run_there if (options.address or "").startswith(cluster.CLIENT) else tuning.run_here
            with (
                _interruptible(schedule, store, session, console) as interrupted,
                monitor.showing(),
                _ticking(monitor.tick),
            ):
                worked_s = run(schedule, store, setting, options, monitor.changed, monitor.say)
                return not schedule.abandoned and (interrupted.is_set() or store.stop_requested(session)), worked_s


def _get_ready(schedule: Schedule, store: Store, console: Console) -> None:
    """Data, weights and statistics that the work needs in the end: what is wrong with them is said before it starts."""
    for source in schedule.plan.sources.values():
        prepare_data(store, source, console)  # with a bar of its own: there is room for one live display at a time
    left = [task for task in schedule.of("waiting") if isinstance(task, Evaluation)]
    fetched: set[Features] = {space.name for evaluation in left for space, _ in evaluation.spaces}
    fetched.discard("classifier")  # which is trained here
    published = {
        (e.statistics, e.features.dimension): e.config.statistics for e in left if e.config.statistics and e.statistics
    }
    if not fetched and not published:
        return
    with console.status("loading torch"):
        from experiments.trials.assets import (
            ensure_published,  # heavy
            ensure_weights,  # heavy
        )
    for name in sorted(fetched):
        with progress(console, f"fetching the weights of {name}", "MB") as on_progress:
            ensure_weights(name, lambda done, total: on_progress(done // 2**20, total // 2**20))
    for (digest, dimension), path in published.items():
        ensure_published(store, Path(path), digest, dimension)


@contextmanager
def _saying(console: Console, text: str) -> Iterator[None]:
    console.print(text)
    yield


@contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    ending = threading.Event()

    def loop() -> None:
        while not ending.wait(1.0):
            tick()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


@contextmanager
def _interruptible(schedule: Schedule, store: Store, session: str, console: Console) -> Iterator[threading.Event]:
    """While the block lasts, Ctrl-C or SIGTERM asks all trials to save and leave.

    A second one, or a trial that does not leave in time, ends the block by KeyboardInterrupt; all that is lost
    then is the time since a checkpoint.
    """
    asked = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        schedule.stop()
        with suppress(OSError):  # of a full disk; the timer ends the run all the same
            store.request_stop(session)
        timer = threading.Timer(GRACE_S[number], _thread.interrupt_main)
        timer.daemon = True
        timer.start()
        timers.append(timer)
        console.print("Stopping: the running work saves its state (Ctrl-C again to leave at once).")

    timers: list[threading.Timer] = []
    before = {number: signal.signal(number, on_signal) for number in GRACE_S}
    try:
        yield asked
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(schedule: Schedule, store: Store, started: int, done: int) -> Summary:
    failures = [_failure(task, schedule, store) for task in schedule.of("failed")]

    def names(state: State) -> list[str]:
        return [schedule.name(task) for task in schedule.of(state)]

    return Summary(
        started=started,
        done=done,
        failures=failures,
        blocked=names("blocked"),
        pruned=names("pruned"),
        cancelled=names("cancelled"),
        withheld={schedule.name(task): schedule.messages.get(task.signature, "") for task in schedule.of("withheld")},
    )


def _failure(task: Task, schedule: Schedule, store: Store) -> Failure:
    path = store.folder(task.store_kind, task.signature) / LOG
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    name, message = f"{task.kind} {schedule.name(task)}", schedule.messages.get(task.signature, "")
    tail = [line for line in lines[-LOG_TAIL_LINES:] if not message or message not in line]  # which is said before it
    return Failure(name, message, path, tail)
