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

from experiments import cluster  # isort: skip  (before Ray: it sets what Ray reads as it is imported)
import ray
from ray import tune
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from experiments.dispatch import Dispatcher
from experiments.errors import UserError
from experiments.forecast import Budget
from experiments.planning import Training, plan_sweep
from experiments.schedule import Job, Outcome, Schedule, State, Work
from experiments.session import Options, open_schedule
from experiments.sharing import Share, Sharing
from experiments.spec import Sweep
from experiments.store import PRUNE, Store
from experiments.trial import Setting

FIRST_RUNG = 0.1  # share of a training before which asha prunes none
REDUCTION = 3  # of trainings, from one of asha's rungs to the next
LAST = 100.0  # percent
WATCH_S, SILENCE_S = 2.0, 20.0  # between looks at our own Ray; without any sign of life before we give up on it
HEAD = {"node:__internal_head__": 0.001}  # a cluster's head, the node that is least likely to be taken away


# feeding Tune ---------------------------------------------------------------------------------------


class DispatchedSearcher(Searcher):
    """Feeds Tune from a dispatcher: nothing to start now is None, nothing left is FINISHED."""

    def __init__(self, dispatcher: Dispatcher, sharing: Sharing) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.sharing = sharing
        self.jobs: dict[str, Job] = {}
        self.shares: dict[str, Share] = {}
        self.given = Share(0, 0.0)  # all of these

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next job, by its pieces' signatures, and what it gets."""
        if not self.sharing.has_room(self.given):
            return None  # one that waits is enough to follow at once on what ends
        job = self.dispatcher.next(trial_id, lambda piece: self.sharing.of(piece).gpus or 1.0)
        if job is None:
            return Searcher.FINISHED if self.dispatcher.schedule.finished else None
        share = self.sharing.of(job.pieces[0])
        self.jobs[trial_id], self.shares[trial_id] = job, share
        self.given += share
        names = [piece.signature for piece in job.pieces]
        return {"signatures": names, "helps": job.helps, **asdict(share)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand on what a trial told of one of its pieces."""
        for name, outcome in result.get("outcomes", ()):
            self.dispatcher.outcome(trial_id, name, Outcome(**outcome))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended; without having told of all its pieces it lost its worker."""
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


class GentleAsha(FIFOScheduler):
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
        piece = self.searcher.jobs[trial.trial_id].pieces[0]
        if "val_loss" not in result or not isinstance(piece, Training) or piece.signature in self.guides:
            return TrialScheduler.CONTINUE
        asha = self._bracket(piece)
        if trial.trial_id not in self.known:
            self.known.add(trial.trial_id)
            asha.on_trial_add(tune_controller, trial)
        if asha.on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP and result["percent"] < LAST:
            (self.store.folder("trainings", piece.signature) / PRUNE).touch()
        return TrialScheduler.CONTINUE

    def _bracket(self, piece: Training) -> ASHAScheduler:
        return self.brackets.setdefault(
            piece.data.signature,
            ASHAScheduler(
                time_attr="percent",
                metric="val_loss",
                mode="min",
                max_t=int(LAST),
                grace_period=int(LAST * FIRST_RUNG),
                reduction_factor=REDUCTION,
            ),
        )


News = tuple[str, State, str] | tuple[None, None, str]  # a piece, its state and message; or a sentence alone


class RemoteDriver:
    """The driver's part of a run inside a cluster that is reached by Ray's client, which cannot run Tune itself."""

    def __init__(self, sweep: Sweep, store: Store, setting: Setting, options: Options) -> None:
        self.store, self.setting, self.options = store, setting, options
        self.schedule = open_schedule(plan_sweep(sweep), store, options)
        self.news: list[News] = []

    def run(self) -> tuple[float, dict[str, State], dict[str, str]]:
        """Run everything that is left; the seconds of work, and the states and messages of all pieces in the end."""
        worked_s = run_here(self.schedule, self.store, self.setting, self.options, self._changed, self._said)
        return worked_s, self.schedule.states, self.schedule.messages

    def since(self, number: int) -> list[News]:
        """What has happened, but for the first so many of it."""
        return self.news[number:]

    def _changed(self, piece: Work) -> None:
        name = piece.signature
        self.news.append((name, self.schedule.states[name], self.schedule.messages.get(name, "")))

    def _said(self, text: str) -> None:
        self.news.append((None, None, text))


def run_there(
    schedule: Schedule,
    store: Store,
    setting: Setting,
    options: Options,
    on_change: Callable[[Work], None],
    notify: Callable[[str], None],
) -> float:
    """The same as `run_here`, inside the cluster that Ray's client is connected to; `schedule` follows from here."""
    kind = ray.remote(RemoteDriver).options(num_cpus=0, max_concurrency=2, resources=HEAD)
    driver: Any = kind.remote(schedule.plan.sweep, store, setting, options)
    with _plain_errors(options.address):
        ending, seen, ended = driver.run.remote(), 0, []
        while not ended:
            ended, _ = ray.wait([ending], timeout=1.0)
            news: list[News] = ray.get(driver.since.remote(seen))
            seen += len(news)
            for name, state, message in news:
                if name is None or state is None:
                    notify(message)
                else:
                    schedule.follow(name, state, message)
                    on_change(schedule.pieces[name])
        worked_s, states, messages = ray.get(ending)
    for name, state in states.items():  # of some nothing was told: they stand on what failed, or were withheld
        schedule.follow(name, state, messages.get(name, ""))
    return worked_s


@contextmanager
def _plain_errors(address: str | None) -> Generator[None]:
    """Raise what was raised inside a cluster as if it had been here, and UserError where the cluster has gone away."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except (ConnectionError, RayActorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--address {address}: the cluster has gone away ({reason}); what was saved is not lost, "
            "start it and give the same command again"
        ) from None


def run_here(
    schedule: Schedule,
    store: Store,
    setting: Setting,
    options: Options,
    on_change: Callable[[Work], None],
    notify: Callable[[str], None],
) -> float:
    """Run all that is left of a schedule on the cluster that this process is a driver of.

    Returns the seconds that workers spent in the work itself.
    """
    resources = schedule.plan.sweep.resources
    budget = Budget(options.budget_s) if options.budget_s is not None else None
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sharing = Sharing(schedule.plan, resources, ray.cluster_resources(), store, nodes)
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


def perform_job(store: Store, job: Job, setting: Setting) -> Iterator[tuple[str, Outcome]]:
    """Do a trial's pieces; the driver, which does none, is spared from loading torch."""
    from experiments import work  # heavy

    yield from work.perform_job(store, job, setting)


class WorkerDamaged(RuntimeError):
    """This process met a fault of its GPU: it must not be used again."""


def execute(dispatcher: Dispatcher, store: Store, setting: Setting, sharing: Sharing, asha: bool = False) -> None:
    """Run everything that the dispatcher has to start; returns when nothing runs any more."""
    pieces, root = dispatcher.schedule.pieces, store.root

    def trial(config: dict[str, Any]) -> None:
        job = Job(tuple(pieces[name] for name in config["signatures"]), config["helps"])
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
                scheduler=GentleAsha(searcher, store) if asha else None,
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(Path(scratch)), name="run", verbose=0),
        )
        tuner.fit()


def _reporter(job: Job) -> Callable[[float, float], None] | None:
    """What tells the driver how a training does along the way."""
    training = job.pieces[0]
    if not isinstance(training, Training):
        return None
    total = training.config.num_steps * training.config.batch_size / 1000
    return lambda kimg, loss: tune.report({"val_loss": loss, "percent": LAST * kimg / total, "kimg": kimg})
