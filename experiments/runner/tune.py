"""Ray Tune as a disposable executor. With cluster.py the only file that imports ray."""

from __future__ import annotations

import _thread
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from experiments.runner import cluster
from experiments.runner.allocation import Allocation, Allocator
from experiments.runner.budget import Budget
from experiments.runner.dispatch import Dispatcher
from experiments.runner.options import Options
from experiments.runner.schedule import Schedule
from experiments.store.layout import PRUNE
from experiments.store.store import Store
from experiments.sweep.jobs import Job, Outcome, Task
from experiments.sweep.tasks import Training
from experiments.trials.context import TrialContext

FIRST_RUNG = 0.1  # share of a training before which asha prunes none
REDUCTION = 3  # of trainings, from one of asha's rungs to the next
LAST = 100.0  # percent
WATCH_S, SILENCE_S = 2.0, 20.0  # between looks at our own Ray; without any sign of life before we give up on it


class DispatchedSearcher(Searcher):
    """Feeds Tune from a dispatcher: nothing to start now is None, nothing left is FINISHED."""

    def __init__(self, dispatcher: Dispatcher, sharing: Allocator) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.sharing = sharing
        self.jobs: dict[str, Job] = {}
        self.shares: dict[str, Allocation] = {}
        self.given = Allocation(0, 0.0)  # all of these

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next job, by its tasks' signatures, and what it gets."""
        if not self.sharing.has_room(self.given):
            return None  # one that waits is enough to follow at once on what ends
        job = self.dispatcher.next(trial_id, lambda task: self.sharing.of(task).gpus or 1.0)
        if job is None:
            return Searcher.FINISHED if self.dispatcher.schedule.finished else None
        share = self.sharing.of(job.tasks[0])
        self.jobs[trial_id], self.shares[trial_id] = job, share
        self.given += share
        names = [task.signature for task in job.tasks]
        return {"signatures": names, "helps": job.helps, **asdict(share)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand on what a trial told of one of its tasks."""
        for name, outcome in result.get("outcomes", ()):
            self.dispatcher.outcome(trial_id, name, Outcome(**outcome))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended; without having told of all its tasks it lost its worker."""
        if result is not None:
            self.on_trial_result(trial_id, result)
        del self.jobs[trial_id]
        self.given += -self.shares.pop(trial_id)
        self.dispatcher.closed(trial_id, "the worker was lost: killed, out of memory, or its node went away")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that we never ask for."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: every run starts a fresh Tune."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


class SavingAsha(FIFOScheduler):
    """Tune's ASHA among trainings on one data set; what it stops is asked to save its state and leave.

    A training that guides others is meant to be worse than they are, and never stopped.
    """

    def __init__(self, searcher: DispatchedSearcher, store: Store) -> None:
        super().__init__()
        self.searcher, self.store = searcher, store
        self.brackets: dict[str, ASHAScheduler] = {}
        self.known: set[str] = set()
        plan = searcher.dispatcher.schedule.plan
        self.guides = {e.guide.signature for e in plan.evaluations.values() if e.guide is not None}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Compare a training's loss on the val split with others' after as great a share of their images."""
        task = self.searcher.jobs[trial.trial_id].tasks[0]
        if "val_loss" not in result or not isinstance(task, Training) or task.signature in self.guides:
            return TrialScheduler.CONTINUE
        asha = self._bracket(task)
        if trial.trial_id not in self.known:
            self.known.add(trial.trial_id)
            asha.on_trial_add(tune_controller, trial)
        if asha.on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP and result["percent"] < LAST:
            (self.store.folder("trainings", task.signature) / PRUNE).touch()
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


def run_here(
    schedule: Schedule,
    store: Store,
    setting: TrialContext,
    options: Options,
    on_change: Callable[[Task], None],
    notify: Callable[[str], None],
) -> float:
    """Run all that is left of a schedule on the cluster that this process is a driver of.

    Returns the seconds that workers spent in the work itself.
    """
    resources = schedule.plan.sweep.resources
    budget = Budget(options.budget_s) if options.budget_s is not None else None
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sharing = Allocator(schedule.plan, resources, ray.cluster_resources(), store, nodes)
    schedule.slots = sharing.slots("evaluation")
    dispatcher = Dispatcher(schedule, store, on_change, notify, budget, setting.session, options.asha)
    with _watched(dispatcher) if options.address is None else nullcontext():
        execute(dispatcher, store, setting, sharing, options.asha)
    return dispatcher.worked_s


@contextmanager
def _watched(dispatcher: Dispatcher) -> Generator[None]:
    """End what would wait for ever: without its raylet Ray starts no worker, though those that run go on."""
    ending = threading.Event()

    def watch() -> None:
        seen, since = "", time.monotonic()
        while not ending.wait(WATCH_S):
            now = dispatcher.signs_of_life()
            if now != seen or not cluster.is_broken():
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > SILENCE_S:
                dispatcher.schedule.abandoned = True
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if not dispatcher.schedule.abandoned:
            raise
        dispatcher.abandon("Ray's raylet on this machine is gone, and no worker can be started; run again to go on")
    finally:
        ending.set()
        thread.join()


def perform_job(store: Store, job: Job, setting: TrialContext) -> Iterator[tuple[str, Outcome]]:
    """Do a trial's tasks; the driver, which does none, is spared from loading torch."""
    from experiments.trials import perform as work  # heavy

    yield from work.perform_job(store, job, setting)


class WorkerDamaged(RuntimeError):
    """This process met a fault of its GPU: it must not be used again."""


def execute(
    dispatcher: Dispatcher, store: Store, setting: TrialContext, sharing: Allocator, asha: bool = False
) -> None:
    """Run everything that the dispatcher has to start; returns when nothing runs any more."""
    tasks, root = dispatcher.schedule.tasks, store.root

    def trial(config: dict[str, Any]) -> None:
        job = Job(tuple(tasks[name] for name in config["signatures"]), config["helps"])
        own = replace(
            setting, threads=config["cpus"], gpus=config["gpus"], on_validated=_reporter(job) if asha else None
        )
        outcomes: list[tuple[str, dict[str, Any]]] = []  # a list, as Tune flattens mappings within a report
        fault = ""
        for name, outcome in perform_job(Store(root), job, own):
            outcomes.append((name, asdict(outcome)))
            fault = outcome.fault
            tune.report({"outcomes": outcomes})
        if fault == "device":
            raise WorkerDamaged  # Tune uses a worker again, unless its trial failed

    def request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": config["cpus"], "GPU": config["gpus"]}])

    searcher = DispatchedSearcher(dispatcher, sharing)
    with tempfile.TemporaryDirectory(prefix="edm-sweep-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trial, request),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=SavingAsha(searcher, store) if asha else None,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(Path(scratch)), name="run", verbose=0),
        )
        tuner.fit()


def _reporter(job: Job) -> Callable[[float, float], None] | None:
    """What tells the driver how a training does along the way."""
    training = job.tasks[0]
    if not isinstance(training, Training):
        return None
    total = training.config.num_steps * training.config.batch_size / 1000
    return lambda kimg, loss: tune.report({"val_loss": loss, "percent": LAST * kimg / total, "kimg": kimg})
