"""One `run`: plan, subtract what the store holds, hand the rest to Ray, mirror into MLflow as results come."""

from __future__ import annotations

import _thread
import re
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from rich.console import Console

from edm.config import Features
from experiments.calibration import probes_left
from experiments.datasets import prepare_data
from experiments.dispatch import is_done, tell_damage
from experiments.display import Monitor, progress
from experiments.errors import UserError
from experiments.mirroring import MirrorThread
from experiments.names import matching
from experiments.planning import Evaluation, Piece, Plan
from experiments.provenance import Told
from experiments.pruning import Pruning
from experiments.register import remember
from experiments.schedule import Costs, Outcome, Schedule, State, Work
from experiments.sessions import announced
from experiments.sharing import require_even_batches, require_possible
from experiments.speeds import Speeds
from experiments.store import KIND_OF_PIECE, LOG, Store

GRACE_S: dict[int, float] = {
    signal.SIGINT: 10.0,
    signal.SIGTERM: 25.0,
}  # from a request to stop to taking the workers away
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
class Options:
    """How to run what is left.

    retries: of work that failed. budget_s: of devices, at most. only: what stands for the cells to do (names.matching),
    all of them by default. tags: a person's own, recorded with every result.
    """

    retries: int = 1
    budget_s: float | None = None
    asha: bool = False
    address: str | None = None
    only: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """How a run ended: names of pieces, by what became of them."""

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


TAG = re.compile(r"[\w][\w ./-]{0,249}")  # as MLflow has it
RESERVED = ("mlflow.", "edm.")


def parse_tags(texts: tuple[str, ...]) -> dict[str, str]:
    """A person's own tags, each given as KEY=VALUE; raises UserError."""
    tags: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not TAG.fullmatch(key) or key.startswith(RESERVED):
            raise UserError(
                f"--tag {text}: expected KEY=VALUE, the key of letters, digits, '_', '.', '/', '-' and not beginning "
                f"with {' or '.join(RESERVED)}"
            )
        if key in tags:
            raise UserError(f"--tag {text}: {key} is given twice; drop one")
        tags[key] = value
    return tags


def open_schedule(plan: Plan, store: Store, options: Options = Options(), costs: Costs | None = None) -> Schedule:
    """What is left to do of a plan; files that changed since they were written are set aside, and count as absent."""
    require_even_batches(plan.trainings.values(), plan.sweep.resources.gpus)
    _, known = store.damages_since(0)
    pieces: list[Piece] = [*plan.trainings.values(), *plan.evaluations.values()]
    present = {p.signature for p in pieces if store.sound(KIND_OF_PIECE[p.kind], p.signature) and is_done(store, p)}
    pruned = {name: Pruning.of(store.folder("trainings", name)) for name in plan.trainings} if options.asha else {}
    lost = frozenset(name for name in plan.trainings if name not in present and store.was_damaged("trainings", name))
    probes = probes_left(plan, store) if plan.sweep.resources.gpus == "auto" else {}
    skipped = frozenset(skipped_by(options.only, plan))
    schedule = Schedule(plan, frozenset(present), costs or Speeds(store, plan), probes, options.retries, lost, skipped)
    schedule.notices += map(tell_damage, store.damages_since(known)[0])
    for name, pruning in pruned.items():
        if pruning is not None:
            schedule.ended(name, Outcome("pruned", pruning.text))
    return schedule


def skipped_by(only: tuple[str, ...], plan: Plan) -> set[str]:
    """The evaluations that a run of some cells leaves out; raises UserError where a text stands for no cell."""
    if not only:
        return set()
    names = {plan.cell_name(planned): planned.evaluation.signature for planned in plan.cells}
    wanted: set[str] = set()
    for text in only:
        found = matching(text, names)
        if not found:
            some = ", ".join(list(names)[:6]) + (", ..." if len(names) > 6 else "")
            raise UserError(f"--only {text}: stands for no cell of {plan.sweep.name} ({some})")
        wanted |= {names[name] for name in found}
    return set(names.values()) - wanted


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
            from experiments import cluster  # heavy
        with cluster.starting(store, options.address) as wait_for_ray:
            _get_ready(schedule, store, console)
            with console.status("starting Ray") if console.is_terminal else _saying(console, "starting Ray"):
                from experiments import tuning  # heavy, and not for nothing
                from experiments.trial import Setting

                setting = Setting(
                    session,
                    sampling_batch=resources.sampling_batch,
                    checkpoint_s=resources.checkpoint_s,
                    compile=resources.compile,
                    told=Told.of_this_process(store, options.tags),
                )
                mirror.start()
                wait_for_ray()
            monitor = Monitor(console, schedule, store, session)
            run = tuning.run_there if (options.address or "").startswith(cluster.CLIENT) else tuning.run_here
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
    left = [piece for piece in schedule.of("waiting") if isinstance(piece, Evaluation)]
    fetched: set[Features] = {space.name for evaluation in left for space, _ in evaluation.spaces}
    fetched.discard("classifier")  # which is trained here
    published = {
        (e.statistics, e.features.dimension): e.config.statistics for e in left if e.config.statistics and e.statistics
    }
    if not fetched and not published:
        return
    with console.status("loading torch"):
        from experiments.ingredients import ensure_published, ensure_weights  # heavy
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
    failures = [_failure(piece, schedule, store) for piece in schedule.of("failed")]

    def names(state: State) -> list[str]:
        return [schedule.name(piece) for piece in schedule.of(state)]

    return Summary(
        started=started,
        done=done,
        failures=failures,
        blocked=names("blocked"),
        pruned=names("pruned"),
        cancelled=names("cancelled"),
        withheld={
            schedule.name(piece): schedule.messages.get(piece.signature, "") for piece in schedule.of("withheld")
        },
    )


def _failure(piece: Work, schedule: Schedule, store: Store) -> Failure:
    path = store.folder(KIND_OF_PIECE[piece.kind], piece.signature) / LOG
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    name, message = f"{piece.kind} {schedule.name(piece)}", schedule.messages.get(piece.signature, "")
    tail = [line for line in lines[-LOG_TAIL_LINES:] if not message or message not in line]  # which is said before it
    return Failure(name, message, path, tail)
