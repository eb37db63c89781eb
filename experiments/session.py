"""One `run`: plan, subtract what the store holds, hand the rest to Ray, mirror into MLflow as results come."""

from __future__ import annotations

import _thread
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.console import Console

from edm.config import Features
from experiments.datasets import prepare_data
from experiments.display import Monitor, progress
from experiments.names import remember
from experiments.plan import Evaluation, Piece, Plan
from experiments.schedule import Schedule
from experiments.sharing import require_possible
from experiments.store import KIND_OF_PIECE, LOG, Store

GRACE_S = 6.0  # between a request to stop and taking the workers away
MIRROR_S = 60.0  # how long to wait for MLflow at the end
LOG_TAIL_LINES = 12


@dataclass(frozen=True)
class Failure:
    """A piece of work that failed."""

    name: str
    message: str
    log: Path
    tail: list[str]


@dataclass(frozen=True)
class Summary:
    """How a run ended."""

    started: int
    done: int
    failures: list[Failure] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    interrupted: bool = False
    mirror_problem: str | None = None


def open_schedule(plan: Plan, store: Store) -> Schedule:
    """What is left to do of a plan; an evaluation counts as done once it has all scores that are asked for."""
    present = {name for name in plan.trainings if store.result("trainings", name) is not None}
    for name, evaluation in plan.evaluations.items():
        result = store.result("evaluations", name)
        if result is not None and evaluation.is_covered_by(result):
            present.add(name)
    return Schedule(plan, frozenset(present))


def run_sweep(schedule: Schedule, store: Store, tracking_uri: str | None, console: Console) -> Summary:
    """Do all that is left, then bring MLflow up to date; without anything left only the latter."""
    from experiments.tracking import MirrorThread, embedded_uri  # heavy

    remember(schedule.plan, store)
    left = len(schedule.of("waiting"))
    mirror = MirrorThread(store, schedule.plan, tracking_uri or embedded_uri(store))
    interrupted = False
    try:
        if left:
            interrupted = _execute(schedule, store, console)
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        problem = mirror.finish(timeout_s=3.0)
    else:
        with console.status("bringing MLflow up to date"):
            problem = mirror.finish(MIRROR_S)
    return _summary(schedule, store, left, interrupted, problem)


def _execute(schedule: Schedule, store: Store, console: Console) -> bool:
    """Run what is left on Ray; returns whether it was interrupted."""
    resources = schedule.plan.sweep.resources
    require_possible(schedule.plan, resources)
    for source in schedule.plan.sources.values():
        prepare_data(store, source, console)  # with a bar of its own: there is room for one live display at a time
    _fetch_prerequisites(schedule, store, console)
    with console.status("starting Ray") if console.is_terminal else _saying(console, "starting Ray"):
        from experiments import tuning  # heavy, and not for nothing
        from experiments.trial import Setting
    setting = Setting(
        secrets.token_hex(8),
        sampling_batch=resources.sampling_batch,
        checkpoint_s=resources.checkpoint_s,
        compile=resources.compile,
    )
    monitor = Monitor(console, schedule, store)
    # our signal handlers go inside: Ray sets some of its own when it starts
    with (
        tuning.cluster() as total,
        _interruptible(schedule, store, setting.session, console) as interrupted,
        monitor.showing(),
        _ticking(monitor.tick),
    ):
        tuning.execute(schedule, store, setting, resources, total, monitor.changed)
    return interrupted.is_set()


def _fetch_prerequisites(schedule: Schedule, store: Store, console: Console) -> None:
    """Weights and statistics files that the work needs in the end: what is wrong with them is said before it starts."""
    left = [piece for piece in schedule.of("waiting") if isinstance(piece, Evaluation)]
    with console.status("loading torch"):
        from experiments.ingredients import ensure_data, ensure_published, ensure_weights  # heavy
    for source in schedule.plan.sources.values():
        ensure_data(store, source)
    names: dict[Features, None] = dict.fromkeys(space.name for evaluation in left for space, _ in evaluation.spaces)
    for name in names:
        with progress(console, f"fetching the weights of {name}", "MB") as on_progress:
            ensure_weights(name, lambda done, total: on_progress(done // 2**20, total // 2**20))
    for evaluation in left:
        if evaluation.config.statistics and evaluation.statistics:
            path = Path(evaluation.config.statistics)
            ensure_published(store, path, evaluation.statistics, evaluation.features.dimension)


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

    A second one, or a trial that does not leave within GRACE_S, ends the block by KeyboardInterrupt; all that is lost
    then is the time since a checkpoint.
    """
    asked = threading.Event()
    timer = threading.Timer(GRACE_S, _thread.interrupt_main)
    timer.daemon = True

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        schedule.stop()
        store.request_stop(session)
        timer.start()
        console.print("Stopping: the running work saves its state (Ctrl-C again to leave at once).")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
        store.end_session(session)


def _summary(schedule: Schedule, store: Store, left: int, interrupted: bool, problem: str | None) -> Summary:
    names = schedule.plan.names
    failures = [_failure(piece, schedule, store) for piece in schedule.of("failed")]
    unfinished = schedule.of("waiting", "running", "stopped", "failed", "blocked")
    return Summary(
        started=left,
        done=left - len(unfinished),
        failures=failures,
        blocked=[names[piece.signature] for piece in schedule.of("blocked")],
        interrupted=interrupted,
        mirror_problem=problem,
    )


def _failure(piece: Piece, schedule: Schedule, store: Store) -> Failure:
    path = store.folder(KIND_OF_PIECE[piece.kind], piece.signature) / LOG
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    name = f"{piece.kind} {schedule.plan.names[piece.signature]}"
    return Failure(name, schedule.messages.get(piece.signature, ""), path, lines[-LOG_TAIL_LINES:])
