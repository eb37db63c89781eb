"""One `run`: plan, subtract what the store holds, hand the rest to Ray, mirror into MLflow as results come."""

from __future__ import annotations

import _thread
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import TYPE_CHECKING

from experiments.loopback import require_loopback
from experiments.runner.allocation import require_possible
from experiments.runner.encodings import require_encodable
from experiments.runner.listener import RunListener, TaskChange
from experiments.runner.options import Options
from experiments.runner.prepare import prepare_inputs
from experiments.runner.progress import RunProgress
from experiments.runner.ray_run import RayRun
from experiments.runner.recompute import make_room
from experiments.runner.schedule import Schedule
from experiments.runner.shared_machine import MachineShare, sharing_machine
from experiments.runner.states import State
from experiments.runner.timing import Timing
from experiments.store.active_runs import announced, publish_progress
from experiments.store.failures import Failure
from experiments.store.progress import RunProgressRecord
from experiments.store.provenance import RunInfo, working_for
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.plan import Plan
from experiments.sweep.spec import ResourcesConfig
from experiments.tracking.background import MirrorThread
from experiments.tracking.records import record_request
from experiments.tracking.settled import SettledRecord
from experiments.trials.extensions import keep_extensions

if TYPE_CHECKING:
    from experiments.trials.context import TrialContext

BRIEF_S = 3.0  # for MLflow, where a person waits for the run to end
STOPPING = "Stopping: running tasks save their state (Ctrl-C again to leave at once)."


@dataclass(frozen=True)
class Summary:
    """How a run ended.

    started: tasks that were left to do. failures: why tasks failed, by kind and name. blocked, pruned, cancelled: names
    of tasks. withheld: why tasks were not started, by name. worked_s: seconds that workers spent in tasks.
    mirror_problem: why MLflow is not up to date. experiment: the number of the sweep's experiment in MLflow, if known.
    """

    started: int
    done: int
    failures: dict[str, Failure] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    withheld: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    interrupted: bool = False
    worked_s: float = 0.0
    mirror_problem: str | None = None
    experiment: str | None = None

    @property
    def is_incomplete(self) -> bool:
        """Whether some of what was asked for was not done, apart from what was pruned."""
        return bool(self.failures or self.withheld or self.cancelled)


def run_sweep(
    schedule: Schedule,
    store: Store,
    tracking_uri: str | None,
    listener: RunListener,
    options: Options = Options(),
    on_done: Callable[[dict[str, str]], None] | None = None,
) -> Summary:
    """Do all that is left, then bring MLflow up to date; without anything left only the latter.

    on_done: called in between, unless the run was interrupted: what it writes into the store reaches MLflow, too. It
    is given the address of every task's run, by signature, if MLflow is a server.
    """
    if schedule.counts["waiting"]:
        require_encodable(store)
    if options.check and schedule.counts["waiting"]:
        _check_extensions(schedule.plan, store, listener)
    keep_extensions(schedule.plan, store)
    record_request(schedule.plan, schedule.asked, store)
    if options.recompute:
        make_room(schedule, store)
    left, before = schedule.counts["waiting"], schedule.counts["done"]
    mirror = MirrorThread(store, schedule.asked, tracking_uri)
    interrupted, worked_s = False, 0.0
    try:
        if left:
            interrupted, worked_s = _execute(schedule, store, listener, options, mirror)
        if not interrupted and on_done is not None:
            on_done(_run_links(mirror, listener, options.timing.mirror_s))
        if not left and (tracking_uri is not None or not SettledRecord(store, schedule.asked).holds()):
            mirror.start()
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        mirror.finish(BRIEF_S)
        raise
    problem = _finish(mirror, listener, None if interrupted else options.timing.mirror_s)
    summary = _summary(schedule, left, schedule.counts["done"] - before)
    known = replace(summary, mirror_problem=problem, experiment=mirror.experiment)
    return replace(known, interrupted=interrupted, worked_s=worked_s)


def _run_links(mirror: MirrorThread, listener: RunListener, timeout_s: float) -> dict[str, str]:
    """Bring a tracking server up to date and return the addresses of its runs; none of the database in the store."""
    if not mirror.is_server:
        return {}
    mirror.start()
    with listener.phase("bringing MLflow up to date"):
        return mirror.run_links(timeout_s)


def _finish(mirror: MirrorThread, listener: RunListener, timeout_s: float | None) -> str | None:
    """Bring MLflow up to date, or, without a time limit, as far as it comes in a moment; return what is in the way."""
    if timeout_s is None:
        return mirror.finish(BRIEF_S)
    with listener.phase("bringing MLflow up to date"):
        return mirror.finish(timeout_s)


def _check_extensions(plan: Plan, store: Store, listener: RunListener) -> None:
    """Try the extensions of a plan on random input; raises UserError."""
    if plan.extensions:
        with listener.phase("loading torch"):
            from experiments.trials.checking import check_plan  # heavy
        check_plan(plan, store, listener.phase)


def _require_this_machine(resources: ResourcesConfig) -> None:
    """Raise UserError where this machine lacks what trials ask for, or what Ray needs."""
    require_possible(resources)
    require_loopback("Ray")


def _execute(
    schedule: Schedule, store: Store, listener: RunListener, options: Options, mirror: MirrorThread
) -> tuple[bool, float]:
    """Run what is left on Ray; returns whether it was interrupted, and the seconds of work done."""
    run_id = secrets.token_hex(8)
    if options.address is None:
        _require_this_machine(schedule.plan.sweep.resources)
    with (
        announced(store, run_id, schedule.asked.sweep.name),
        _sharing(schedule, store, listener, options, run_id) as share,
    ):
        with listener.phase("loading Ray"):
            from experiments.runner import cluster  # heavy
        with cluster.starting(store, options.address) as started_ray:
            run_info = RunInfo.of_this_process(store, options.tags)
            with working_for(run_info):
                prepare_inputs(schedule, store, listener, run_id)
            with listener.phase("starting Ray"):
                from experiments.runner import remote, tune  # heavy, and not for nothing

                context = _trial_context(run_id, schedule.plan, run_info)
                started_ray.wait()
            own = started_ray if isinstance(started_ray, cluster.LocalRay) else None
            on_change = _change_reporter(schedule, listener)
            ray_run = RayRun(schedule, store, context, options, on_change, listener.notice, own, share)
            run = remote.run_there if (options.address or "").startswith(cluster.CLIENT) else tune.run_here
            with (
                _interruptible(schedule, store, run_id, listener.notice, options.timing) as interrupted,
                _showing(RunProgress(schedule, store, run_id), listener, mirror),
            ):
                worked_s = run(ray_run)
                stopped = not schedule.abandoned and (interrupted.is_set() or store.stop_requested(run_id))
            mirror.start()  # unless it was
            return stopped, worked_s


def _trial_context(run_id: str, plan: Plan, run_info: RunInfo) -> TrialContext:
    """Return what every trial of a run is told."""
    from experiments.trials.context import TrialContext  # heavy

    resources = plan.sweep.resources
    return TrialContext(
        run_id,
        sampling_batch=resources.sampling_batch,
        checkpoint_s=resources.checkpoint_s,
        compile=resources.compile,
        cuda_graphs=resources.cuda_graphs,
        shorter=plan.shorter,
        run_info=run_info,
    )


@contextmanager
def _sharing(
    schedule: Schedule, store: Store, listener: RunListener, options: Options, run_id: str
) -> Iterator[MachineShare | None]:
    """Share this machine with other runs on it; a cluster shares itself out.

    Raises KeyboardInterrupt where the run is asked to stop while it waits.
    """
    if options.address is not None:
        yield None
        return
    waiting = RunProgressRecord(schedule.counts["waiting"], 0, "waiting for a GPU", {**schedule.counts})

    def on_wait() -> None:
        publish_progress(store, run_id, waiting)
        if store.stop_requested(run_id):
            raise KeyboardInterrupt

    with sharing_machine(schedule.plan.sweep.resources, listener.notice, on_wait) as share:
        yield share


def _change_reporter(schedule: Schedule, listener: RunListener) -> Callable[[Task], None]:
    """Return a callback that tells the listener of each task that started or ended."""

    def changed(task: Task) -> None:
        signature, state = task.signature, schedule.states[task.signature]
        reason, failure = schedule.reasons.get(signature, ""), schedule.failures.get(signature)
        change = TaskChange(task, schedule.name(task), state, reason, failure)
        (listener.started if state == "running" else listener.ended)(change)

    return changed


@contextmanager
def _showing(progress: RunProgress, listener: RunListener, mirror: MirrorThread) -> Iterator[None]:
    """While the block lasts, publish how far the run is and let the listener show it, once a second.

    The mirror starts once a worker has loaded torch, which loading MLflow at the same time would slow down.
    """

    def tick() -> None:
        if not mirror.is_started and progress.has_loaded_torch:
            mirror.start()
        progress.publish()
        listener.tick()

    with listener.live(progress), _ticking(tick):
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
def _interruptible(
    schedule: Schedule, store: Store, run_id: str, notify: Callable[[str], None], timing: Timing
) -> Iterator[threading.Event]:
    """While the block lasts, let Ctrl-C, SIGTERM or SIGHUP ask all trials to save their state and leave.

    A second one, or a trial that does not leave in time, ends the block by KeyboardInterrupt; all that is lost then is
    the time since a checkpoint. SIGHUP does nothing under nohup.
    """
    asked = threading.Event()
    grace_s = {
        signal.SIGINT: timing.interrupt_grace_s,
        signal.SIGTERM: timing.terminate_grace_s,
        signal.SIGHUP: timing.terminate_grace_s,  # the terminal is gone
    }

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        schedule.stop()
        with suppress(OSError):  # of a full disk; the timer ends the run all the same
            store.request_stop(run_id)
        timer = threading.Timer(grace_s[signal.Signals(number)], _thread.interrupt_main)
        timer.daemon = True
        timer.start()
        timers.append(timer)
        # from another thread: what this one was printing when the signal came has to come to its end first
        threading.Thread(target=notify, args=(STOPPING,), daemon=True).start()

    timers: list[threading.Timer] = []
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del grace_s[signal.SIGHUP]
    before = {number: signal.signal(number, on_signal) for number in grace_s}
    try:
        yield asked
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(schedule: Schedule, started: int, done: int) -> Summary:
    def names(state: State) -> list[str]:
        return [schedule.name(task) for task in schedule.of(state)]

    return Summary(
        started=started,
        done=done,
        failures={
            f"{task.kind} {schedule.name(task)}": schedule.failures[task.signature] for task in schedule.of("failed")
        },
        blocked=names("blocked"),
        pruned=names("pruned"),
        cancelled=names("cancelled"),
        withheld={schedule.name(task): schedule.reasons.get(task.signature, "") for task in schedule.of("withheld")},
    )
