"""The exact solution of truncation errors: a task of its own, once for all samplers, after its training."""

from pathlib import Path

import pytest

from experiments.inspection.lookup import cells_sharing, find_preparation
from experiments.inspection.status import StatusReader
from experiments.runner.durations import DurationModel
from experiments.runner.forecast import forecast
from experiments.runner.resume import open_schedule
from experiments.store.results import SolutionRecord
from experiments.store.store import Store
from experiments.sweep.jobs import Outcome
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ExactSolution
from experiments.sweep.tasks import Training, drawing_signature
from experiments.tracking.records import record_plan
from tests.planning import load_sweep, plan_sweep

DONE = Outcome("done")


@pytest.fixture
def plan(tiny_file: Path) -> Plan:
    return plan_sweep(load_sweep(tiny_file, ("evaluation.truncation=true",)))


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return Store(tmp_path / "store").create()


def solutions(plan: Plan) -> list[ExactSolution]:
    return [task for task in plan.preparations.values() if isinstance(task, ExactSolution)]


def test_each_training_has_one_solution_for_all_samplers(plan: Plan) -> None:
    names = [plan.names[solution.signature] for solution in solutions(plan)]
    assert names == ["exact-solution/no-attention", "exact-solution/attention"]


def test_its_signature_is_the_one_under_which_evaluations_kept_it(plan: Plan) -> None:
    former = {drawing_signature("exact", e.training, e.sampling.exact(), e.guide) for e in plan.evaluations.values()}
    assert {solution.signature for solution in solutions(plan)} == former


def test_a_solution_of_before_it_was_a_task_is_used(plan: Plan, place: Store) -> None:
    first, second = solutions(plan)
    folder = place.folder("exact", first.signature)
    folder.mkdir(parents=True)
    (folder / "images.safetensors").write_bytes(b"images")
    place.finish(first.signature, SolutionRecord(), ["images.safetensors"])
    present = open_schedule(plan, place).present
    assert first.signature in present and second.signature not in present


def test_it_waits_for_its_training_and_evaluations_wait_for_it(plan: Plan, place: Store) -> None:
    schedule = open_schedule(plan, place)
    waiting = {"classifier", "references", "training"}
    while waiting & {task.kind for task in schedule.of("waiting", "running")}:
        job = schedule.take()
        assert job is not None and job.tasks[0].kind in waiting | {"solution"}
        if job.tasks[0].kind != "solution":
            schedule.ended(job.tasks[0].signature, DONE)
    assert schedule.take() is None or schedule.of("running")
    running = [task for task in schedule.of("running", "waiting") if task.kind == "solution"]
    assert len(running) == 2
    evaluations = [task for task in schedule.of("waiting") if task.kind == "evaluation"]
    assert len(evaluations) == len(plan.evaluations)


def test_finished_evaluations_need_neither_training_nor_solution(plan: Plan, place: Store) -> None:
    schedule = open_schedule(plan, place)
    done = frozenset(plan.evaluations)
    again = type(schedule)(plan, done, preparations=plan.preparations)
    assert not again.of("waiting")


def test_a_training_that_fails_blocks_its_solution(plan: Plan, place: Store) -> None:
    schedule = open_schedule(plan, place)
    first = next(iter(plan.trainings))
    schedule.withhold([first], "no")
    states = [schedule.states[solution.signature] for solution in solutions(plan)]
    assert states == ["withheld", "waiting"]


def test_the_last_cell_that_is_cancelled_takes_its_training_along(plan: Plan, place: Store) -> None:
    schedule = open_schedule(plan, place)
    for signature in plan.evaluations:
        schedule.cancel(signature)
    assert not schedule.of("waiting")


def test_the_forecast_adds_training_solution_and_evaluation(plan: Plan, place: Store) -> None:
    costs, solution = DurationModel(place, plan), solutions(plan)[0]
    evaluation = next(e for e in plan.evaluations.values() if e.training == solution.training)
    tasks = [solution.training, solution, evaluation]
    made = forecast(plan, tasks, place, costs)
    drawing = costs.seconds(evaluation) / evaluation.num_segments
    chain = costs.seconds(solution.training) + costs.seconds(solution) + drawing
    assert costs.seconds(solution) > 0
    assert made.wall_s - forecast(plan, [], place, costs).wall_s >= chain
    assert isinstance(solution.depends_on[0], Training)


def test_it_is_found_by_name_with_its_cells(plan: Plan, place: Store) -> None:
    record_plan(plan, place)
    found = find_preparation("exact-solution/attention", place)
    assert found is not None and found.kind == "solution"
    assert len(cells_sharing(found, place)) == 2
    assert StatusReader(plan, place).read().preparations[found.signature].state == "planned"
