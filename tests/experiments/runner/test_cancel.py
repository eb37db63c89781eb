"""A run is asked to leave a cell, or to stop, by another process: only what nobody else wants is left."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.errors import UserError
from experiments.runner.dispatch import Dispatcher
from experiments.runner.options import Options
from experiments.runner.resume import open_schedule, selected
from experiments.runner.schedule import Schedule
from experiments.runner.timing import Timing
from experiments.store import leases
from experiments.store.active_runs import active_runs, announced, request_cancellation
from experiments.store.failures import Failure
from experiments.store.store import Store
from experiments.sweep.jobs import Outcome
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from experiments.trials.training.checkpoints import CheckpointManager
from tests.conftest import TINY
from tests.trainings import at_step


def names(plan: Plan) -> tuple[list[str], list[str]]:
    """The trainings of the tiny sweep, and its evaluations in order: two of each training."""
    return list(plan.trainings), [planned.evaluation.signature for planned in plan.cells]


def test_a_training_is_left_once_no_cell_of_it_is_wanted(tiny_plan: Plan) -> None:
    schedule, ((first, second), evaluations) = Schedule(tiny_plan, frozenset()), names(tiny_plan)
    assert schedule.cancel(evaluations[0]) == []
    assert (schedule.states[evaluations[0]], schedule.states[first]) == ("cancelled", "waiting")
    assert schedule.cancel(evaluations[1]) == []
    assert (schedule.states[first], schedule.states[second]) == ("cancelled", "waiting")
    started = [task.signature for job in iter(schedule.take, None) for task in job.tasks]
    assert started == [second]


def test_what_is_at_work_is_named_and_cancelled_once_it_has_saved(tiny_plan: Plan) -> None:
    schedule, ((first, _), evaluations) = Schedule(tiny_plan, frozenset()), names(tiny_plan)
    assert schedule.take() is not None
    assert schedule.take() is not None
    assert schedule.cancel(evaluations[0]) == [] and schedule.cancel(evaluations[1]) == [first]
    assert schedule.states[first] == "running" and not schedule.finished
    schedule.ended(first, Outcome("interrupted"))
    assert schedule.states[first] == "cancelled"
    assert schedule.cancel(evaluations[1]) == []


def test_what_is_done_before_it_could_be_left_is_done(tiny_plan: Plan) -> None:
    schedule, ((first, _), evaluations) = Schedule(tiny_plan, frozenset()), names(tiny_plan)
    schedule.take()
    schedule.cancel(evaluations[0])
    schedule.cancel(evaluations[1])
    schedule.ended(first, Outcome("done"))
    assert schedule.states[first] == "done" and schedule.states[evaluations[0]] == "cancelled"


@pytest.mark.parametrize(
    "outcome", [Outcome.failed(Failure("no")), Outcome.failed(Failure("gone", "lost")), Outcome("elsewhere")]
)
def test_a_cancelled_piece_is_not_tried_again(tiny_plan: Plan, outcome: Outcome) -> None:
    schedule, ((first, _), evaluations) = Schedule(tiny_plan, frozenset()), names(tiny_plan)
    schedule.take()
    for name in evaluations[:2]:
        schedule.cancel(name)
    schedule.ended(first, outcome)
    assert schedule.states[first] == "cancelled"


def test_a_dispatcher_takes_requests_and_hands_them_to_trials(tiny_plan: Plan, store: Store) -> None:
    (first, second), evaluations = names(tiny_plan)
    schedule, changed = open_schedule(tiny_plan, store), []
    dispatcher = Dispatcher(
        schedule,
        store,
        lambda task: changed.append(task.signature),
        run_id="s",
        options=Options(timing=Timing(look_s=0.0)),
    )
    dispatcher.next("a")
    dispatcher.next("b")
    for name in (*evaluations[:2], "of another sweep"):
        store.request_stop("s", name)
    dispatcher.next("c")
    assert store.cancelled("s") == {*evaluations[:2], "of another sweep", first}  # its trial looks for it
    assert not store.stop_requested("s") and not store.stop_requested("s", second)
    dispatcher.outcome("a", first, Outcome("interrupted"))
    dispatcher.closed("a")
    assert {schedule.states[name] for name in (first, *evaluations[:2])} == {"cancelled"}
    assert set(evaluations[:2]) <= set(changed)


def test_a_training_that_is_left_has_saved_its_state_and_goes_on_later(
    tiny_plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = next(iter(tiny_plan.trainings.values()))
    context = TrialContext(run_id="s", report_s=0.0)
    with monkeypatch.context() as patch:
        ask = lambda: store.request_stop("s", training.signature)  # noqa: E731
        patch.setattr(CheckpointManager, "record_loss", at_step(7, ask, CheckpointManager.record_loss))
        assert perform(store, training, context).state == "interrupted"
    folder = store.folder("trainings", training.signature)
    assert [path.name[:10] for path in folder.glob("checkpoints/*.safetensors")] == ["0000000007"]
    assert perform(store, training, context).state == "interrupted"  # as long as it is asked for
    other = list(tiny_plan.trainings.values())[1]
    assert perform(store, other, context).state == "done"
    store.end_run("s")
    assert perform(store, training, context).state == "done"
    assert "from step 7" in (folder / "log.txt").read_text()


# the command ----------------------------------------------------------------------------------------


@pytest.fixture
def known(tiny_plan: Plan, store: Store) -> Store:
    record_plan(tiny_plan, store)
    return store


def asked(store: Store, *arguments: str) -> dict:
    result = CliRunner().invoke(app, ["cancel", *arguments, "--store", str(store.root), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_cell_a_pattern_and_a_training_name_their_evaluations(tiny_plan: Plan, known: Store) -> None:
    _, evaluations = names(tiny_plan)
    with announced(known, "s", "tiny_digits"):
        assert asked(known, "attention/heun")["runs"] == ["s"]
        assert known.cancelled("s") == {evaluations[3]}
        asked(known, "*/euler")
        assert known.cancelled("s") == {evaluations[3], evaluations[0], evaluations[2]}
        asked(known, "no-attention")
        assert known.cancelled("s") == set(evaluations)
        assert not known.stop_requested("s")
        asked(known, "tiny_digits")
        assert known.stop_requested("s")


def test_runs_of_other_sweeps_are_left_alone(known: Store) -> None:
    with announced(known, "s", "another"):
        assert asked(known, "attention/heun")["runs"] == [] and asked(known, "tiny_digits")["runs"] == []
        assert not known.stop_requested("s") and known.cancelled("s") == set()


def test_a_cell_that_sweeps_share_is_cancelled_in_all_of_their_runs(tiny_plan: Plan, known: Store) -> None:
    _, evaluations = names(tiny_plan)
    record_plan(replace(tiny_plan, sweep=replace(tiny_plan.sweep, name="twin")), known)
    with announced(known, "s", "twin"):
        assert asked(known, "tiny_digits:attention/heun")["runs"] == [] and known.cancelled("s") == set()
        answer = asked(known, "attention/heun")
        assert (answer["runs"], answer["cells"]) == (["s"], ["attention/heun"])
        assert known.cancelled("s") == {evaluations[3]}
        assert asked(known, "no-attention")["runs"] == ["s"]
        assert known.cancelled("s") == {evaluations[3], *evaluations[:2]}


def test_the_file_of_a_sweep_means_the_sweep(tiny_plan: Plan, known: Store, tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(TINY)
    with announced(known, "s", "tiny_digits"):
        assert asked(known, str(path))["sweeps"] == ["tiny_digits"]
        assert known.stop_requested("s")


def test_a_cell_that_is_done_is_not_announced_again(tiny_plan: Plan, store: Store) -> None:
    (first, _), _ = names(tiny_plan)
    schedule, changed = Schedule(tiny_plan, frozenset({first})), []
    dispatcher = Dispatcher(schedule, store, lambda task: changed.append(task.signature), run_id="s")
    store.request_stop("s", first)
    dispatcher.next("a")
    assert schedule.states[first] == "done" and first not in changed


def test_where_no_run_goes_on_that_is_said(known: Store) -> None:
    result = CliRunner().invoke(app, ["cancel", "attention/heun", "--store", str(known.root)])
    assert result.exit_code == 0 and "no active run, so nothing was cancelled" in result.output
    assert not list(known.root.glob("sessions/*"))


@pytest.mark.parametrize("text", ["nothing", "*/dpm2", "heun"])
def test_what_stands_for_no_cell_or_for_several_is_refused(known: Store, text: str) -> None:
    result = CliRunner().invoke(app, ["cancel", text, "--store", str(known.root)])
    assert isinstance(result.exception, UserError)


def test_a_run_that_ended_is_asked_nothing(known: Store) -> None:
    with announced(known, "s", "tiny_digits"):
        (run,) = active_runs(known)
    request_cancellation(known, [run], ["x"])  # it ended between the look and the request
    assert active_runs(known) == []


def test_two_runs_are_both_asked(known: Store) -> None:
    ready, ending = threading.Event(), threading.Event()

    def other() -> None:
        with announced(known, "t", "tiny_digits"):
            ready.set()
            ending.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(20)
    with announced(known, "s", "tiny_digits"):
        assert sorted(asked(known, "attention/heun")["runs"]) == ["s", "t"]
    ending.set()
    thread.join()


def test_skipped_cells_leave_out_what_only_they_stand_on(tiny_plan: Plan) -> None:
    (first, second), evaluations = names(tiny_plan)
    schedule = Schedule(tiny_plan, frozenset(), asked=selected(("attention",), tiny_plan))
    assert [schedule.states[name] for name in (first, second)] == ["skipped", "waiting"]
    started = [task.signature for job in iter(schedule.take, None) for task in job.tasks]
    assert started == [second]
    schedule.ended(second, Outcome("done"))
    assert {task.signature for job in iter(schedule.take, None) for task in job.tasks} == set(evaluations[2:])


def test_only_takes_patterns_and_refuses_what_meets_no_cell(tiny_plan: Plan, tmp_path: Path) -> None:
    _, evaluations = names(tiny_plan)
    assert selected((), tiny_plan) == selected(("*",), tiny_plan) == tiny_plan
    assert list(selected(("euler",), tiny_plan).evaluations) == [evaluations[0], evaluations[2]]
    assert list(selected(("no-attention/heun", "*/euler"), tiny_plan).evaluations) == evaluations[:3]
    with pytest.raises(UserError, match="--only dpm2: matches no cell of tiny_digits; its cells are"):
        open_schedule(tiny_plan, Store(tmp_path), Options(only=("dpm2",)))
    with pytest.raises(UserError, match=r"--only huen: matches no cell of tiny_digits; did you mean 'heun'\?"):
        open_schedule(tiny_plan, Store(tmp_path), Options(only=("huen",)))


def test_a_run_begins_although_gc_takes_its_new_folder_for_a_dead_run(known: Store) -> None:
    taken, wanted = threading.Event(), threading.Event()

    def delete() -> None:
        with leases.held(known.run_folder("s")):
            taken.set()
            wanted.wait(20)
            time.sleep(0.2)

    thread = threading.Thread(target=delete)
    thread.start()
    assert taken.wait(20)
    wanted.set()
    with announced(known, "s", "tiny_digits"):
        assert [run.run_id for run in active_runs(known)] == ["s"]
    thread.join()
