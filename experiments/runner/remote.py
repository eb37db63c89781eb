"""Runs a sweep inside a cluster that Ray's client reaches."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
import ray
from ray.exceptions import RayActorError, RayTaskError

from experiments.errors import UserError
from experiments.inputs import InputFiles
from experiments.runner.options import Options
from experiments.runner.resume import open_schedule
from experiments.runner.schedule import Schedule, State
from experiments.runner.tune import run_here
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.plan import plan_sweep
from experiments.sweep.spec import Sweep
from experiments.trials.context import TrialContext

HEAD = {"node:__internal_head__": 0.001}  # a cluster's head, the node that is least likely to be taken away
News = tuple[str, State, str] | tuple[None, None, str]  # a task, its state and message; or a sentence alone


class RemoteDriver:
    """The driver's part of a run inside a cluster that is reached by Ray's client, which cannot run Tune itself."""

    def __init__(self, sweep: Sweep, store: Store, setting: TrialContext, options: Options) -> None:
        self.store, self.setting, self.options = store, setting, options
        self.schedule = open_schedule(plan_sweep(sweep, InputFiles()), store, options)
        self.news: list[News] = []

    def run(self) -> tuple[float, dict[str, State], dict[str, str]]:
        """Run everything that is left; the seconds of work, and the states and messages of all tasks in the end."""
        worked_s = run_here(self.schedule, self.store, self.setting, self.options, self._changed, self._said)
        return worked_s, self.schedule.states, self.schedule.messages

    def since(self, number: int) -> list[News]:
        """What has happened, but for the first so many of it."""
        return self.news[number:]

    def _changed(self, task: Task) -> None:
        name = task.signature
        self.news.append((name, self.schedule.states[name], self.schedule.messages.get(name, "")))

    def _said(self, text: str) -> None:
        self.news.append((None, None, text))


def run_there(
    schedule: Schedule,
    store: Store,
    setting: TrialContext,
    options: Options,
    on_change: Callable[[Task], None],
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
                    on_change(schedule.tasks[name])
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
