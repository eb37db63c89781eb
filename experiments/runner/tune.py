"""Runs a schedule on Ray Tune, as a disposable executor: nothing depends on what Tune itself saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from experiments.errors import RayLost
from experiments.runner import ray_private
from experiments.runner.allocation import Allocation, Allocator
from experiments.runner.cluster import LocalRay
from experiments.runner.dispatch import Dispatcher
from experiments.runner.ray_run import RayRun
from experiments.runner.ray_watch import run_watched
from experiments.runner.scratch import scratch_folder
from experiments.runner.shared_machine import MachineShare
from experiments.store.failures import Failure
from experiments.store.files import modified_ns
from experiments.store.layout import LOG, PRUNE
from experiments.store.lease_watch import note_silent, silent_processes
from experiments.store.store import Store
from experiments.sweep.jobs import Job, Outcome, Task
from experiments.sweep.tasks import Training
from experiments.trials.context import TrialContext

FIRST_RUNG = 0.1  # share of a training before which asha prunes none
REDUCTION = 3  # of trainings, from one of asha's rungs to the next
LAST = 100.0  # percent
WORKER_LOST = "the worker was lost: it was killed, ran out of memory, or its node went away"
CLOCKS_S = 1.0  # by which the clock that dates files may be behind
RAY_LOST = "Ray's processes have ended. Ray is started again, and running tasks continue from what they saved."
RAY_GONE = "Ray's processes have ended, and no worker can be started; run the same command again to continue"


class DispatchedSearcher(Searcher):
    """Feeds Tune from a dispatcher: None while there is nothing to start now, FINISHED where nothing is left."""

    def __init__(self, dispatcher: Dispatcher, allocator: Allocator, share: MachineShare | None = None) -> None:
        super().__init__()
        self.dispatcher, self.allocator, self.share = dispatcher, allocator, share
        self.jobs: dict[str, Job] = {}
        self.allocations: dict[str, Allocation] = {}
        self.began: dict[str, float] = {}  # when each was handed out, by the clock that dates files
        self.allocated = Allocation(0, 0.0)  # all of these

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the next job, by its tasks' signatures, and what it gets."""
        if not self._has_room():
            return None
        job = self.dispatcher.next(trial_id, lambda task: self.allocator.of(task).gpus or 1.0)
        if job is None:
            return Searcher.FINISHED if self.dispatcher.schedule.finished else None
        allocation = self.allocator.of(job.tasks[0])
        self.jobs[trial_id], self.allocations[trial_id], self.began[trial_id] = job, allocation, time.time()
        self.allocated += allocation
        signatures = [task.signature for task in job.tasks]
        return {"signatures": signatures, "helps": job.helps, "silent": silent_processes(), **asdict(allocation)}

    def _has_room(self) -> bool:
        """Return whether another job may be handed out, as far as there is room here and other runs leave some.

        One that waits for room is enough to follow at once on what ends.
        """
        if not self.allocator.has_room(self.allocated):
            return False
        if self.share is None or self.allocated.gpus:  # beside a GPU a trial's cores are mostly idle
            return True
        return self.share.admits(self.allocated.cpus, self.allocator.cores)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand on how tasks of a trial ended."""
        for signature, outcome in result.get("outcomes", ()):
            self.dispatcher.outcome(trial_id, signature, Outcome.from_dict(outcome))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take in that a trial has ended; if it has not reported on all its tasks, it lost its worker."""
        if result is not None:
            self.on_trial_result(trial_id, result)
        job = self.jobs.pop(trial_id)
        self.allocated += -self.allocations.pop(trial_id)
        self.dispatcher.closed(trial_id, self._loss(job, self.began.pop(trial_id)))

    def _loss(self, job: Job, began: float) -> str:
        """Return why a worker may have been lost; one that has not begun its task has only Ray's log to say it in."""
        task, store = job.tasks[0], self.dispatcher.store
        log = store.folder_of(task) / LOG
        has_begun = (modified_ns(log) or 0) >= (began - CLOCKS_S) * 1e9
        words = "" if has_begun else ray_private.last_words(began)
        return f"{WORKER_LOST}; its own log ends: {words}" if words else WORKER_LOST

    def starting(self) -> set[str]:
        """Return the current tasks of the jobs that have their resources; the other jobs wait for a free worker."""
        tasks, allocated = set[str](), Allocation(0, 0.0)
        for trial_id, allocation in list(self.allocations.items()):  # which another thread may change
            allocated += allocation
            running = self.dispatcher.running.get(trial_id)
            if running is not None and self.allocator.has_room(allocated):
                tasks |= {task.signature for task in running.unreported[:1]}
        return tasks

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its searcher for a restore that is never asked for."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: every run starts a fresh Tune."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: see `save`."""


class SavingAsha(FIFOScheduler):
    """Applies Tune's ASHA to the trainings on each data set; what it stops is asked to save its state and leave.

    A training that guides others is meant to be worse than they are, and others wait for one that they begin with:
    these are never stopped.
    """

    def __init__(self, searcher: DispatchedSearcher, store: Store) -> None:
        super().__init__()
        self.searcher, self.store = searcher, store
        self.brackets: dict[str, ASHAScheduler] = {}
        self.added: set[str] = set()
        plan = searcher.dispatcher.schedule.plan
        guides = {e.guide.signature for e in plan.evaluations.values() if e.guide is not None}
        self.helpers = guides.union(*([t.signature for t in each.depends_on] for each in plan.trainings.values()))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Compare a training's loss on the val split with that of others after the same share of their images."""
        task = self.searcher.jobs[trial.trial_id].tasks[0]
        if "val_loss" not in result or not isinstance(task, Training) or task.signature in self.helpers:
            return TrialScheduler.CONTINUE
        asha = self._bracket(task)
        if trial.trial_id not in self.added:
            self.added.add(trial.trial_id)
            asha.on_trial_add(tune_controller, trial)
        if asha.on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP and result["percent"] < LAST:
            (self.store.folder_of(task) / PRUNE).touch()
        return TrialScheduler.CONTINUE

    def _bracket(self, task: Training) -> ASHAScheduler:
        return self.brackets.setdefault(
            task.data.signature,
            ASHAScheduler(
                time_attr="percent",
                metric="val_loss",
                mode="min",
                max_t=int(LAST),
                grace_period=int(LAST * FIRST_RUNG),
                reduction_factor=REDUCTION,
            ),
        )


def run_here(run: RayRun) -> float:
    """Run all that is left of a schedule on the cluster that this process is a driver of.

    Returns the seconds that workers spent in the tasks themselves.
    """
    schedule, options = run.schedule, run.options
    dispatcher = Dispatcher(schedule, run.store, run.on_change, run.notify, run.context.run_id, options)

    def work() -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]] if options.address is not None else []
        allocator = Allocator(schedule.plan, schedule.plan.sweep.resources, ray.cluster_resources(), run.store, nodes)
        schedule.slots = allocator.slots("evaluation")
        _execute(run, dispatcher, allocator)

    if run.ray is None:
        work()
    else:
        _run_here(work, dispatcher, run.ray, options.restartable)
    return dispatcher.worked_s


def _run_here(work: Callable[[], None], dispatcher: Dispatcher, ray_here: LocalRay, restartable: bool) -> None:
    """Run everything on a Ray of our own. Raises RayLost where that was lost and the caller can start it again."""
    try:
        run_watched(dispatcher, work, ray_here)
    except RayLost:
        if restartable and not dispatcher.schedule.stopping:
            dispatcher.notify(RAY_LOST)
            raise
        dispatcher.schedule.abandoned = not dispatcher.schedule.stopping
        dispatcher.abandon(RAY_GONE)


def perform_job(store: Store, job: Job, context: TrialContext) -> Iterator[tuple[str, Outcome]]:
    """Do a trial's tasks; the driver, which does none, is spared from loading torch."""
    if not store.root.is_dir():  # to begin a task would make it anew; the driver is about to stop the run
        yield from ((task.signature, Outcome("elsewhere", f"{store.root} was moved or removed")) for task in job.tasks)
        return
    from experiments.trials import perform  # heavy

    yield from perform.perform_job(store, job, context)


class WorkerDamaged(RuntimeError):
    """This process met an error of its GPU: it must not be used again."""


def _execute(run: RayRun, dispatcher: Dispatcher, allocator: Allocator) -> None:
    """Run everything that the dispatcher has to start; returns when nothing runs any more."""
    searcher, asha = DispatchedSearcher(dispatcher, allocator, run.share), run.options.asha
    run.schedule.starting = searcher.starting
    with scratch_folder() as scratch:
        tuner = tune.Tuner(
            tune.with_resources(_trainable(run.schedule.tasks, run.store.root, run.context, asha), _resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=SavingAsha(searcher, run.store) if asha else None,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(scratch), name="run", verbose=0),
        )
        tuner.fit()


def _trainable(
    tasks: Mapping[str, Task], root: Path, context: TrialContext, asha: bool
) -> Callable[[dict[str, Any]], None]:
    """Return what Tune runs on a worker: a job's tasks, each reported as it ends."""

    def trial(config: dict[str, Any]) -> None:
        note_silent(config["silent"])  # the worker need not watch their leases for a minute itself
        job = Job(tuple(tasks[signature] for signature in config["signatures"]), config["helps"])
        on_validated = _reporter(job) if asha else None
        own = replace(context, threads=max(config["cpus"], 1), gpus=config["gpus"], on_validated=on_validated)
        outcomes: list[tuple[str, dict[str, Any]]] = []  # a list, as Tune flattens mappings within a report
        failure: Failure | None = None
        for signature, outcome in perform_job(Store(root), job, own):
            outcomes.append((signature, outcome.as_dict()))
            failure = outcome.failure
            tune.report({"outcomes": outcomes})
        if failure is not None and failure.kind == "device":
            raise WorkerDamaged  # Tune uses a worker again, unless its trial failed

    return trial


def _resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return what Ray reserves for a job: next to nothing, a byte of memory, where it computes nothing."""
    allocated = {"CPU": config["cpus"], "GPU": config["gpus"]}
    return tune.PlacementGroupFactory([allocated if any(allocated.values()) else {"memory": 1}])


def _reporter(job: Job) -> Callable[[float, float], None] | None:
    """What reports a training's loss on the val split to the driver along the way."""
    training = job.tasks[0]
    if not isinstance(training, Training):
        return None
    total = training.config.total_kimg
    return lambda kimg, loss: tune.report({"val_loss": loss, "percent": LAST * kimg / total, "kimg": kimg})
