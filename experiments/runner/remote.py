"""Runs a sweep inside a cluster that Ray's client reaches."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import ray
from ray.exceptions import RayActorError, RayTaskError

from experiments import hardware
from experiments.errors import UserError, one_line
from experiments.inputs import InputFiles
from experiments.runner.options import Options
from experiments.runner.ray_run import RayRun
from experiments.runner.resume import open_schedule
from experiments.runner.schedule import Schedule
from experiments.runner.states import State
from experiments.runner.tune import run_here
from experiments.store.failures import Failure
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.plan import plan_sweep
from experiments.sweep.spec import Sweep
from experiments.trials.context import TrialContext

HEAD = {"node:__internal_head__": 0.001}  # a cluster's head, the node that is least likely to be taken away


@dataclass(frozen=True)
class TaskNews:
    """What became of a task inside a cluster."""

    signature: str
    state: State
    reason: str
    failure: Failure | None


class RemoteDriver:
    """Drives a run from inside a cluster that is reached by Ray's client, which cannot run Tune itself."""

    def __init__(self, sweep: Sweep, store: Store, context: TrialContext, options: Options) -> None:
        if os.environ.get(hardware.VISIBLE) == "":  # Ray hides all GPUs from an actor that asks for none
            del os.environ[hardware.VISIBLE]
        self.schedule = open_schedule(plan_sweep(sweep, InputFiles(), holdings=store), store, options)
        self.news: list[TaskNews | str] = []  # of tasks, or sentences for people
        self.ray_run = RayRun(
            self.schedule, store, context, options, lambda task: self.news.append(self._now(task)), self.news.append
        )

    def run(self) -> tuple[float, list[TaskNews]]:
        """Run everything that is left; return the seconds of work, and what became of every task."""
        worked_s = run_here(self.ray_run)
        return worked_s, [self._now(task) for task in self.schedule.tasks.values()]

    def since(self, number: int) -> list[TaskNews | str]:
        """Return what has happened, without the first `number` items."""
        return self.news[number:]

    def _now(self, task: Task) -> TaskNews:
        signature, schedule = task.signature, self.schedule
        reason, failure = schedule.reasons.get(signature, ""), schedule.failures.get(signature)
        return TaskNews(signature, schedule.states[signature], reason, failure)


def run_there(run: RayRun) -> float:
    """Run all that is left inside the cluster that Ray's client is connected to.

    The schedule here follows what happens there. Returns the seconds that workers spent in the tasks themselves.
    """
    kind = ray.remote(RemoteDriver).options(num_cpus=0, max_concurrency=2, resources=HEAD)
    schedule = run.schedule
    driver: Any = kind.remote(schedule.plan.sweep, run.store, run.context, run.options)
    with _plain_errors(run.options.address):
        ending, seen, ended = driver.run.remote(), 0, []
        while not ended:
            ended, _ = ray.wait([ending], timeout=1.0)
            news: list[TaskNews | str] = ray.get(driver.since.remote(seen))
            seen += len(news)
            for item in news:
                if isinstance(item, str):
                    run.notify(item)
                else:
                    _follow(schedule, item)
                    run.on_change(schedule.tasks[item.signature])
        worked_s, final = ray.get(ending)
    for item in final:  # some changed their state without an event: they depend on what failed, or were withheld
        _follow(schedule, item)
    return worked_s


def _follow(schedule: Schedule, news: TaskNews) -> None:
    schedule.follow(news.signature, news.state, news.reason, news.failure)


@contextmanager
def _plain_errors(address: str | None) -> Generator[None]:
    """Raise UserErrors from inside a cluster as they are, and one where the cluster has gone away."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except (ConnectionError, RayActorError) as error:
        raise UserError(
            f"--address {address}: the cluster is no longer reachable ({one_line(error)}); all saved work is kept: "
            "start the cluster and give the same command again"
        ) from None
