"""What other runs hold, what a fault calls for, when to wait."""

import pytest

from experiments.runner import disk_pause
from experiments.runner.dispatch import Dispatcher, RunningJob
from experiments.runner.options import Options
from experiments.runner.retries import LOST_LIMIT
from experiments.runner.schedule import Schedule
from experiments.runner.timing import Timing
from experiments.store.failures import Failure
from experiments.store.files import write_json
from experiments.store.layout import FAILURE, PRUNED
from experiments.store.store import Store
from experiments.sweep.jobs import Job, Outcome
from experiments.sweep.plan import Plan
from tests.results import training_result

DONE = Outcome("done")


IMPATIENT = Timing(look_s=0.0)


@pytest.fixture
def empty(tmp_path) -> Store:
    store = Store(tmp_path / "store")
    store.create()
    return store


class Equal:
    """All tasks take equally long."""

    def __init__(self, each_s: float, measured: bool = True) -> None:
        self.each_s, self.is_measured = each_s, measured

    def seconds(self, task) -> float:
        return self.each_s

    def measured(self, task) -> bool:
        return self.is_measured

    def learn(self, task, seconds: float) -> None:
        pass


class Desk:
    """A dispatcher, and what it told."""

    def __init__(self, plan: Plan, store: Store, **options) -> None:
        self.said: list[str] = []
        self.changes: list[tuple[str, str]] = []
        self.schedule = Schedule(plan, frozenset())
        told = self.schedule.states
        self.dispatcher = Dispatcher(
            self.schedule,
            store,
            lambda task: self.changes.append((task.kind, told[task.signature])),
            self.said.append,
            options=Options(**{"timing": IMPATIENT, **options}),
        )

    def next(self, key: str) -> str | None:
        """The one task of the next job."""
        job = self.dispatcher.next(key)
        assert job is None or len(job.tasks) == 1
        return job.tasks[0].signature if job else None

    def end(self, key: str, name: str, outcome: Outcome = DONE) -> None:
        """A trial tells of its task and ends."""
        self.dispatcher.outcome(key, name, outcome)
        self.dispatcher.closed(key)


def finish(store: Store, name: str) -> None:
    """Another run has finished a training."""
    store.folder("trainings", name).mkdir(parents=True, exist_ok=True)
    store.finish(name, training_result())


def longest(plan: Plan) -> tuple[str, str]:
    first, second = sorted(plan.trainings.values(), key=lambda t: -t.flops)
    return first.signature, second.signature


def test_what_another_run_holds_is_left_to_it_and_taken_when_it_lets_go(tiny_plan: Plan, empty: Store) -> None:
    desk, (first, second) = Desk(tiny_plan, empty), longest(tiny_plan)
    with empty.lock("trainings", first):
        assert desk.next("a") == second
        assert desk.next("b") is None and desk.schedule.states[first] == "elsewhere"
        assert not desk.schedule.finished
    assert desk.next("b") == first


def test_it_is_said_once_that_another_run_works_on_a_task(tiny_plan: Plan, empty: Store) -> None:
    desk, (first, _) = Desk(tiny_plan, empty), longest(tiny_plan)
    for key in ("a", "b"):  # a worker is refused twice, as where it cannot know yet that the other run has died
        assert desk.next(key) == first
        desk.end(key, first, Outcome("elsewhere", "host x, process 1"))
        desk.schedule.release(first)
    assert [change for change in desk.changes if change[1] == "elsewhere"] == [("training", "elsewhere")]


def test_what_another_run_has_finished_is_done(tiny_plan: Plan, empty: Store) -> None:
    desk, (first, second) = Desk(tiny_plan, empty), longest(tiny_plan)
    with empty.lock("trainings", first):
        assert desk.next("a") == second
        finish(empty, first)
        task = desk.dispatcher.next("b")
    assert desk.schedule.states[first] == "done"
    assert task is not None and task.tasks[0].kind == "evaluation"


@pytest.mark.parametrize(("fault", "state"), [("diverged", "failed"), ("unknown", "running")])
def test_what_failed_for_good_elsewhere_is_not_tried_here(
    tiny_plan: Plan, empty: Store, fault: str, state: str
) -> None:
    desk, (first, second) = Desk(tiny_plan, empty), longest(tiny_plan)
    with empty.lock("trainings", first) as folder:
        assert desk.next("a") == second and desk.next("b") is None
        write_json(folder / FAILURE, {"message": "no number", "fault": fault, "time": 0})  # by another clock
    desk.next("b")
    assert desk.schedule.states[first] == state


@pytest.mark.parametrize("asha", [True, False])
def test_what_was_pruned_elsewhere_is_pruned_where_asha_is_asked_for(tiny_plan: Plan, empty: Store, asha: bool) -> None:
    desk, (first, _) = Desk(tiny_plan, empty, asha=asha), longest(tiny_plan)
    with empty.lock("trainings", first) as folder:
        desk.next("a")
        write_json(folder / PRUNED, {"kimg": 3.0, "val_loss": 0.5, "time": 0})
    desk.next("b")
    assert desk.schedule.states[first] == ("pruned" if asha else "running")
    if asha:
        assert desk.schedule.reasons[first] == "pruned at 3 kimg (loss on the val split 0.5)"


def test_a_worker_that_is_lost_costs_nothing_but_its_time(tiny_plan: Plan, empty: Store) -> None:
    desk, (first, _) = Desk(tiny_plan, empty), longest(tiny_plan)
    assert desk.next("a") == first
    desk.dispatcher.closed("a", "the worker was lost")
    assert desk.schedule.failures[first].message == "the worker was lost"
    assert desk.changes == [("training", "running"), ("training", "waiting")]
    assert desk.next("b") == first


def test_of_a_joined_job_only_what_was_not_told_is_lost(tiny_plan: Plan, empty: Store) -> None:
    desk = Desk(tiny_plan, empty)
    desk.schedule.costs = Equal(1.0)
    for key in "ab":
        name = desk.next(key)
        assert name is not None
        finish(empty, name)
        desk.end(key, name)
    job = desk.dispatcher.next("c")
    assert job is not None and len(job.tasks) == 2
    told, lost = (task.signature for task in job.tasks)
    desk.dispatcher.outcome("c", told, DONE)
    desk.dispatcher.outcome("c", told, DONE)  # told twice is told once
    desk.dispatcher.closed("c")
    assert (desk.schedule.states[told], desk.schedule.states[lost]) == ("done", "waiting")


def test_a_full_disk_pauses_new_work_until_there_is_room(
    tiny_plan: Plan, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1000
    monkeypatch.setattr(Store, "free_bytes", lambda self: free)
    desk, (first, second) = Desk(tiny_plan, empty, timing=Timing(look_s=0.0, disk_pause_s=0.0)), longest(tiny_plan)
    assert desk.next("a") == first
    desk.end("a", first, Outcome.failed(Failure("OSError: No space left on device", "disk")))
    assert desk.next("b") is None and not desk.schedule.finished
    (said,) = desk.said
    assert "the disk is full (1000 bytes free)" in said and "MiB is free" in said
    free = 2**40
    assert desk.next("b") == first and desk.next("c") == second
    assert desk.said[-1].endswith("there is room on the disk again, the run continues")


def test_a_disk_that_says_it_has_room_is_tried_ever_more_seldom(
    tiny_plan: Plan, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(disk_pause.time, "monotonic", lambda: clock[0])
    desk, (first, _) = Desk(tiny_plan, empty), longest(tiny_plan)
    waits = []
    for _ in range(4):
        name = desk.next("a")
        assert name == first
        desk.end("a", name, Outcome.failed(Failure("quota", "disk")))
        began = clock[0]
        while desk.dispatcher.schedule.paused is not None:
            clock[0] += 1.0
            desk.dispatcher._look()
        waits.append(clock[0] - began)
    assert waits == [5.0, 10.0, 20.0, 40.0]


def test_damage_brings_back_the_training(tiny_plan: Plan, empty: Store) -> None:
    desk = Desk(tiny_plan, empty)
    for name in tiny_plan.trainings:
        finish(empty, name)
    job = desk.dispatcher.next("a")
    assert job is not None
    (evaluation,) = job.tasks
    training = desk.schedule.graph.dependencies(evaluation.signature)[0]
    (empty.folder("trainings", training) / "result.json").unlink()  # set aside by who found the damage
    desk.end("a", evaluation.signature, Outcome.failed(Failure("is damaged", "damaged")))
    assert desk.next("b") == training


def test_a_budget_stops_new_work_and_says_so(tiny_plan: Plan, empty: Store) -> None:
    desk, (first, _) = Desk(tiny_plan, empty, budget_s=150.0), longest(tiny_plan)
    desk.schedule.costs = Equal(100.0)
    assert desk.next("a") == first and desk.next("b") is None
    assert desk.schedule.counts["withheld"] == 5 and len(desk.said) == 1
    desk.end("a", first)
    assert desk.next("c") is None and desk.schedule.finished


def test_a_budget_does_not_pay_for_waiting_nor_stop_for_a_guess(tiny_plan: Plan, empty: Store) -> None:
    desk, (first, second) = Desk(tiny_plan, empty, budget_s=150.0), longest(tiny_plan)
    desk.schedule.costs = Equal(100.0, measured=False)
    assert desk.next("a") == first and desk.next("b") == second  # a guess of 200 s stops nothing
    desk.end("a", first, Outcome("done", seconds=70.0))
    assert desk.dispatcher.spent_s == 70.0  # "b" is only queued behind it
    desk.end("b", second, Outcome("done", seconds=70.0))
    assert desk.dispatcher.spent_s == 140.0


def test_a_helper_that_fails_is_told_of_once_and_not_repeated(tiny_plan: Plan, empty: Store) -> None:
    desk = Desk(tiny_plan, empty)
    evaluation = next(iter(tiny_plan.evaluations.values()))
    for key in "ab":
        desk.dispatcher.running[key] = RunningJob(Job((evaluation,), helps=True), 0.0, 1.0)
        desk.dispatcher.outcome(key, evaluation.signature, Outcome.failed(Failure("no such weights", "input")))
        desk.dispatcher.closed(key)
    assert not desk.schedule.helpers.refuse(evaluation.signature)
    assert len(desk.said) == 1 and "no such weights" in desk.said[0]


def test_workers_that_are_lost_in_a_row_end_it(tiny_plan: Plan, empty: Store) -> None:
    desk = Desk(tiny_plan, empty)
    for number in range(100):
        if desk.next(str(number)) is None:
            break
        desk.dispatcher.closed(str(number), "cannot import pydantic")
    assert number == LOST_LIMIT and desk.schedule.finished
    assert "10 workers in a row" in desk.said[-1] and "cannot import pydantic" in desk.said[-1]


def test_a_job_may_end_while_the_run_is_given_up(tiny_plan: Plan, empty: Store) -> None:
    desk, (first, _) = Desk(tiny_plan, empty), longest(tiny_plan)
    assert desk.next("a") == first
    desk.dispatcher.abandon("Ray is gone")
    desk.end("a", first)  # Tune's thread, which was told to leave, takes in the same end
    assert desk.schedule.states[first] == "withheld" and not desk.dispatcher.running
