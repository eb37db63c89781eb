"""What people and scripts are told of a plan, and forecasts."""

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from experiments.cli.views import live
from experiments.cli.views.live import TerminalListener, plain_summary
from experiments.cli.views.plain import PlainLines
from experiments.cli.views.plan import plan_lines, plan_tables
from experiments.cli.views.plan_json import plan_json
from experiments.cli.views.task_progress import speed_words
from experiments.runner.durations import DurationModel
from experiments.runner.forecast import START_UP_S, forecast
from experiments.runner.listener import TaskChange
from experiments.runner.progress import QUEUED, RunningTask, RunProgress
from experiments.runner.resume import open_schedule
from experiments.runner.schedule import Schedule
from experiments.store.failures import Failure
from experiments.store.files import write_soon
from experiments.store.progress import TaskProgress
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.jobs import Outcome
from experiments.sweep.plan import Plan
from experiments.sweep.spec import ReportConfig
from experiments.wording import count, duration
from tests.conftest import TINY
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep
from tests.results import evaluation_result, training_result
from tests.waiting import until


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.9, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (18720, "5 h 12 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts() -> None:
    assert (count(1, "cell"), count(1200, "cell")) == ("1 cell", "1,200 cells")


def write_result(store: Store, result: TrainingResult | EvaluationResult) -> None:
    store.folder(result.kind, "other").mkdir(parents=True)
    store.finish("other", result)


def test_a_forecast_is_a_guess_until_something_was_measured(tiny_plan: Plan, tmp_path) -> None:
    store, tasks = Store(tmp_path), [*tiny_plan.trainings.values(), *tiny_plan.evaluations.values()]
    assert not forecast(tiny_plan, tasks, store).measured
    assert forecast(tiny_plan, [], store).wall_s == 0
    write_result(store, training_result(seconds=10.0, flops=1e9))
    write_result(store, evaluation_result(seconds=1.0, flops=1e9))
    measured = forecast(tiny_plan, tasks, store)
    trainings = sum(t.flops for t in tiny_plan.trainings.values()) * 10 / 1e9
    evaluations = sum(e.flops for e in tiny_plan.evaluations.values()) / 1e9
    assert measured.measured and measured.work_s == pytest.approx(trainings + evaluations)
    assert measured.wall_s >= measured.work_s / 64 + START_UP_S
    assert DurationModel(store, tiny_plan).seconds(tasks[0]) == pytest.approx(tasks[0].flops * 10 / 1e9)


def test_the_plan_in_words_and_for_scripts(tiny_plan: Plan, store: Store) -> None:
    schedule = open_schedule(tiny_plan, store)
    estimate = forecast(tiny_plan, schedule.of("waiting"), store)
    first, second = plan_lines(tiny_plan, schedule, estimate)
    assert first == "tiny_digits: 4 cells from 2 trainings (0 in the store) and 4 evaluations (0 in the store)"
    assert second.startswith("6 tasks left, about ") and "a rough guess" in second
    made = plan_json(tiny_plan, schedule, {None: estimate}, None)
    assert made["left"] == 6 and len(made["trainings"]) == 2 and not made["evaluations"][0]["done"]
    assert made["trainings"][0]["name"] == "no-attention"
    run_all(tiny_plan, store)
    schedule = open_schedule(tiny_plan, store)
    assert list(plan_lines(tiny_plan, schedule, forecast(tiny_plan, [], store)))[1] == "Nothing is left to do."
    asked = replace(tiny_plan, sweep=replace(tiny_plan.sweep, report=(ReportConfig(metrics=("truncation_rms",)),)))
    *_, left, warning = plan_lines(asked, schedule, forecast(asked, [], store))
    assert left == "Nothing is left to do." and warning.startswith("Warning: report.metrics: no cell will have trunc")


def plan_text(plan: Plan) -> list[list[str]]:
    output = io.StringIO()
    for table in plan_tables(plan, Schedule(plan, frozenset())):
        Console(file=output, width=120).print(table)
    return [line.split() for line in output.getvalue().splitlines()]


def test_the_plan_shows_every_training_and_every_cell_once(tiny_plan: Plan) -> None:
    lines = plan_text(tiny_plan)
    assert lines[:3] == [
        ["training", "parameters", "kimg", "evaluations"],
        ["no-attention", "37,633", "0.64", "2"],
        ["attention", "45,185", "0.64", "2"],
    ]
    assert lines[3] == ["cell", "images", "NFE"]
    assert [line[-1] for line in lines[4:]] == ["3", "5", "3", "5"]


def test_cells_with_a_training_of_their_own_are_one_table(tiny_file: Path) -> None:
    tiny_file.write_text(TINY.replace("[euler, heun]", "[heun]"))
    lines = plan_text(plan_sweep(load_sweep(tiny_file)))
    assert lines[0] == ["cell", "parameters", "kimg", "images", "NFE"]
    assert [line[0] for line in lines[1:]] == ["no-attention/heun", "attention/heun"]


@pytest.mark.parametrize(
    "environment", [{}, {"TERM": "dumb", "FORCE_COLOR": "1"}], ids=["no terminal", "a terminal that cannot redraw"]
)
def test_the_terminal_shows_what_runs_and_what_ended(
    tiny_plan: Plan, store: Store, environment: dict[str, str]
) -> None:
    output = io.StringIO()
    schedule = Schedule(tiny_plan, frozenset())
    console = Console(file=output, width=120, _environ=environment)
    listener, progress = TerminalListener(console, 0.0), RunProgress(schedule, store, "run")
    job = schedule.take()
    assert job is not None
    (task,) = job.tasks
    folder = store.folder("trainings", task.signature)
    folder.mkdir(parents=True)
    content = {"done": 0.32, "total": 0.64, "unit": "kimg", "rate": 0.1, "loss": 0.5, "time": time.time()}
    write_soon(folder / "progress.json", content)
    with listener.live(progress):
        Console(file=output, width=120, force_terminal=True).print(listener.render())
        assert all(text in output.getvalue() for text in ("0.32/0.64 kimg", "100", "3 s"))
        listener.tick()
        assert "train attention: 0.32/0.64 kimg, loss 0.5000, 100 images/s, 3 s left" in output.getvalue()
        assert "0 of 6 done" in output.getvalue()
        listener.ended(TaskChange(task, schedule.name(task), "failed", failure=Failure("RuntimeError: no")))
    assert "failed train attention: RuntimeError: no" in output.getvalue()


def test_what_another_run_works_on_is_one_sentence(tiny_plan: Plan, store: Store) -> None:
    output = io.StringIO()
    schedule = Schedule(tiny_plan, frozenset())
    listener = TerminalListener(Console(file=output, width=200, _environ={}), 0.0)
    training, evaluation = next(iter(tiny_plan.trainings.values())), next(iter(tiny_plan.evaluations.values()))
    schedule.ended(training.signature, Outcome("elsewhere"))
    with listener.live(RunProgress(schedule, store, "run")):
        listener.ended(TaskChange(training, "attention", "elsewhere", "host a, process 7"))
        listener.ended(TaskChange(evaluation, "attention/heun", "elsewhere"))
        listener.tick()
    lines = [line.partition("] ")[2] or line for line in output.getvalue().splitlines()]
    assert lines[:2] == [
        "another run works on attention (host a, process 7): this run waits for it",
        "another run works on attention/heun: this run waits for it, and helps if it can",
    ]
    assert "1 in another run" in lines[2]


def test_a_log_has_one_summary_a_period_and_no_line_twice() -> None:
    output = io.StringIO()
    console = Console(file=output, width=20, _environ={})
    always, rarely = (PlainLines(console, period_s) for period_s in (0.0, 1000.0))
    for text in ("1 of 6 done", "1 of 6 done", "2 of 6 done"):
        always.sum_up(lambda text=text: text)
        rarely.sum_up(lambda: "too early")
    rarely.say("a line that is longer than the console is wide")
    rarely.say("a line that is longer than the console is wide")
    assert output.getvalue().splitlines() == [
        "1 of 6 done",
        "2 of 6 done",
        "a line that is longer than the console is wide",
    ]


def test_a_run_lasts_at_least_as_long_as_its_slowest_training(tiny_plan: Plan, store: Store) -> None:
    schedule = Schedule(tiny_plan, frozenset())
    job = schedule.take()
    assert job is not None
    (task,) = job.tasks
    folder = store.folder("trainings", task.signature)
    folder.mkdir(parents=True)
    content = {"done": 1.0, "total": 2.0, "unit": "kimg", "rate": 1e-5, "time": time.time()}  # 100,000 s left
    write_soon(folder / "progress.json", content)
    assert RunProgress(schedule, store, "run").time_left() == "about 1 d 3 h left"


def test_one_image_per_second_is_singular() -> None:
    assert [speed_words(TaskProgress(1, 9, "images", rate)) for rate in (1.0, 2.0)] == ["1 image/s", "2 images/s"]


def test_a_summary_names_what_runs_in_one_line(tiny_plan: Plan) -> None:
    (task, *_), progress = tiny_plan.evaluations.values(), TaskProgress(250, 1000, "images", 50.0)
    running = [RunningTask(task, f"cell {i}", "", progress) for i in range(8)]
    line = plain_summary([*running, RunningTask(task, "waiting", QUEUED, None)], "0 of 6 done, about 2 min left")
    assert line.startswith("  0 of 6 done, about 2 min left; evaluate cell 0: 250/1,000 images, 50 images/s, 15 s left")
    assert line.endswith("; and 2 more") and "waiting" not in line


def test_a_log_names_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    listener = TerminalListener(Console(file=output, width=200, _environ={}), 0.0)
    with listener.phase("trying the sampler"):
        pass
    assert output.getvalue() == ""
    monkeypatch.setattr(live, "LONG_S", 0.01)
    with listener.phase("trying the sampler"):
        until(output.getvalue)
    assert output.getvalue() == "trying the sampler\n"
