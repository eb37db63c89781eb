"""Ray Tune as a disposable executor. The only file that imports ray."""

from __future__ import annotations

import _thread
import contextlib
import functools
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

QUIET = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would start workers through uv and upload the folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the older output prints nothing
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # session.py stops trials itself, and gently
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # nothing depends on Tune's own state
}
os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
if any(name in os.environ for name in TOKENS) or os.path.exists(os.path.expanduser("~/.ray/auth_token")):
    # 'ray start' asks for a token where there is one; who shows one to a cluster that asks for none is let in as well
    os.environ.setdefault("RAY_AUTH_MODE", "token")
import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray._private import services  # noqa: E402
from ray._private import worker as ray_worker  # noqa: E402
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskUnschedulableError  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from experiments.dispatch import Dispatcher  # noqa: E402
from experiments.errors import UserError  # noqa: E402
from experiments.forecast import Budget  # noqa: E402
from experiments.planning import Training, plan_sweep  # noqa: E402
from experiments.schedule import Job, Outcome, Schedule, State, Work  # noqa: E402
from experiments.session import Options, open_schedule  # noqa: E402
from experiments.sharing import Sharing  # noqa: E402
from experiments.spec import Sweep  # noqa: E402
from experiments.store import PRUNE, Store  # noqa: E402
from experiments.trial import Setting  # noqa: E402
from experiments.work import perform_job  # noqa: E402

PACKAGES = ("edm", "experiments", "reports")
FIRST_RUNG = 0.1  # share of a training before which asha prunes none
REDUCTION = 3  # of trainings, from one of asha's rungs to the next
LAST = 100.0  # percent
JOINING_S, JOINING_PAUSE_S = 30.0, 0.3  # for a node that is listed to take work; between tries
ANSWER_S = 5.0  # for a cluster's port to be opened: Ray itself would try for minutes
CLIENT = "ray://"
WATCH_S, SILENCE_S = 2.0, 20.0  # between looks at our own Ray; without any sign of life before we give up on it
HEAD = {"node:__internal_head__": 0.001}  # a cluster's head, the node that is least likely to be taken away


@contextmanager
def cluster(store: Store, address: str | None = None) -> Generator[None]:
    """Ray for as long as the block lasts, of our own or at an address.

    Raises UserError where there is no such cluster, or where its nodes do not all see the store.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters arrives as an exception or in a trial's log.txt
    if hasattr(ray_worker, "print_to_stdstream"):  # a page on every worker or raylet that dies; we say it in a line
        ray_worker.print_to_stdstream = lambda *_, **__: None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _connect(address)
    try:
        if address is not None:
            _prepare_nodes(store, address)
        yield
    finally:
        ray.shutdown()


def _connect(address: str | None, runtime_env: dict[str, Any] | None = None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address is None:
        # Ray authenticates its processes by a token; one of our own needs no file under HOME, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with _apart():
            ray.init(address="local", include_dashboard=False, **quiet)
        return
    try:
        _require_open(address)
        # Ray puts the current folder before all others for its workers: on another node it may hold another version
        with tempfile.TemporaryDirectory(prefix="edm-sweep-nowhere-") as nowhere, contextlib.chdir(nowhere):
            ray.init(address=address, runtime_env=runtime_env, **quiet)
    except (RayError, OSError, ValueError, RuntimeError) as error:
        _refuse(address, error)


@contextmanager
def _apart() -> Generator[None]:
    """Start Ray's processes in a group of their own: a signal to a whole job is for us, who let work be saved first."""
    popen = getattr(services, "ConsolePopen", None)
    if popen is None or sys.platform == "win32":
        yield
        return
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


def _require_open(address: str) -> None:
    """Raise OSError or ValueError where nothing listens at an address."""
    found = address if address.startswith(CLIENT) else CLIENT + services.canonicalize_bootstrap_address_or_die(address)
    place = urlsplit(found)
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), ANSWER_S).close()


def _refuse(address: str, error: Exception) -> NoReturn:
    ray.shutdown()
    reason = " ".join(str(error).split())[:300]
    raise UserError(
        f"--address {address}: no Ray cluster answers there ({reason}); start one with 'ray start --head', see "
        "docs/cluster.md for what else it takes, or leave --address out to use this machine alone"
    ) from None


def _prepare_nodes(store: Store, address: str) -> None:
    """See that all nodes have this very code, and that the store is one and the same folder everywhere."""
    digest = _source_digest()
    own = digest()
    if _nodes_with_other(digest, own):
        ray.shutdown()
        home = Path(__file__).parents[1]
        _connect(address, {"py_modules": [str(home / package) for package in PACKAGES]})
        others = _nodes_with_other(digest, own)
        if others:
            raise UserError(
                f"--address {address}: node {', '.join(others)} has another version of edm-sweep, which hides the one "
                "sent there; install this version on all nodes, or remove it from them"
            )
    problems = _store_problems(store)
    if problems:
        told = "; ".join(f"node {host} {text}" for host, text in sorted(problems.items()))
        raise UserError(
            f"{store.root}: is not one folder for all nodes of {address}: {told}; give --store a path on a file system "
            "that every node has mounted there"
        )


def _nodes_with_other(digest: Callable[[], str], own: str) -> list[str]:
    return [node for node, found in _on_all_nodes(digest).items() if found != own]


def _store_problems(store: Store) -> dict[str, str]:
    """What is wrong with the store's folder, by node: each leaves a mark there, then each looks for all marks."""
    token = secrets.token_hex(4)
    folder = store.root / "nodes" / token
    try:
        folder.mkdir(parents=True)
        (folder / "driver").write_text(token)
        told = _on_all_nodes(_marker(str(folder), token))
        if not any(told.values()):
            told = _on_all_nodes(_reader(str(folder), sorted(path.name for path in folder.iterdir())))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {node: text for node, text in told.items() if text}


# what runs on nodes that may not have this package: closures, which travel whole ---------------------


def _source_digest() -> Callable[[], str]:
    packages = PACKAGES

    def of_source() -> str:
        import hashlib
        import importlib.util
        import pathlib

        found = hashlib.sha256()
        for package in packages:
            spec = importlib.util.find_spec(package)
            if spec is None or spec.origin is None:
                return ""
            for path in sorted(pathlib.Path(spec.origin).parent.rglob("*.py")):
                found.update(path.read_bytes())
        return found.hexdigest()

    return of_source


def _marker(folder: str, token: str) -> Callable[[], str]:
    def leave_mark() -> str:
        import pathlib
        import socket
        import uuid

        try:
            if (pathlib.Path(folder) / "driver").read_text() != token:
                return "sees another folder there"
            (pathlib.Path(folder) / f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}").write_text(token)
        except FileNotFoundError:
            return "does not see what was written there"
        except OSError as error:
            return f"cannot write there ({error.strerror})"
        return ""

    return leave_mark


def _reader(folder: str, names: list[str]) -> Callable[[], str]:
    def read_marks() -> str:
        import pathlib
        import time

        wanted = set(names)
        for _ in range(30):  # a network file system may show new names late
            try:
                if wanted <= {path.name for path in pathlib.Path(folder).iterdir()}:
                    return ""
            except OSError:
                pass
            time.sleep(1)
        return "does not see what other nodes write there"

    return read_marks


def _on_all_nodes(function: Callable[[], Any]) -> dict[str, Any]:
    """What a function returns on every node, by the node's name and a part of its Ray identity.

    A node that has just joined is listed before work can be sent to it, and one may leave while it is asked.
    """
    remote = ray.remote(num_cpus=0)(function)
    answers: dict[str, Any] = {}
    deadline = time.monotonic() + JOINING_S
    while asked := {name: node for name, node in _living_nodes().items() if name not in answers}:
        calls = {
            name: remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
            for name, node in asked.items()
        }
        for name, call in calls.items():
            try:
                answers[name] = ray.get(call)
            except RayError as error:
                joining = isinstance(error, TaskUnschedulableError) and time.monotonic() < deadline
                if not joining and name in _living_nodes():
                    reason = " ".join(str(error).split())[:300]
                    raise UserError(
                        f"--address: node {name} of the cluster runs nothing ({reason}); what nodes need is in "
                        "docs/cluster.md"
                    ) from None
        if asked.keys() - answers.keys():
            time.sleep(JOINING_PAUSE_S)
    return answers


def _living_nodes() -> dict[str, str]:
    """The identities of a cluster's nodes, by what to call them."""
    alive = (node for node in ray.nodes() if node["Alive"])
    return {f"{node['NodeManagerHostname']} ({node['NodeID'][:6]})": node["NodeID"] for node in alive}


# feeding Tune ---------------------------------------------------------------------------------------


class DispatchedSearcher(Searcher):
    """Feeds Tune from a dispatcher: nothing to start yet is None, nothing left is FINISHED."""

    def __init__(self, dispatcher: Dispatcher, sharing: Sharing) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self.sharing = sharing
        self.jobs: dict[str, Job] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next job, by its pieces' signatures, and what it gets."""
        job = self.dispatcher.next(trial_id, lambda piece: self.sharing.of(piece).gpus or 1.0)
        if job is None:
            return Searcher.FINISHED if self.dispatcher.schedule.finished else None
        self.jobs[trial_id] = job
        names = [piece.signature for piece in job.pieces]
        return {"signatures": names, "helps": job.helps, **asdict(self.sharing.of(job.pieces[0]))}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand on what a trial told of one of its pieces."""
        for name, outcome in result.get("outcomes", ()):
            self.dispatcher.outcome(trial_id, name, Outcome(**outcome))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial has ended; without having told of all its pieces it lost its worker."""
        if result is not None:
            self.on_trial_result(trial_id, result)
        del self.jobs[trial_id]
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
            if now != seen or not _global_node_is_broken():
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


def _global_node_is_broken() -> bool:
    """Whether a process of our own Ray has died."""
    node = getattr(ray_worker, "_global_node", None)
    return node is not None and bool(node.dead_processes())


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
