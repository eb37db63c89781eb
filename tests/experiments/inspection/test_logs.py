"""logs: the last lines and losses, and what is added while a task is active."""

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.inspection.logs import follow, logs_of
from experiments.inspection.lookup import find_one
from experiments.store.journal import Journal
from experiments.store.store import Store
from experiments.sweep.plan import Plan


def test_a_cell_has_the_log_of_its_training_and_its_own(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    logs = logs_of(find_one("attention/heun", store), store)
    assert [log.kind for log in logs] == ["training", "evaluation"]
    assert [log.signature for log in logs] == [plan.cells[3].training.signature, plan.cells[3].evaluation.signature]
    assert logs[0].last(1)[0].endswith(" s") and "is done after" in logs[0].last(1)[0]
    assert len(logs[1].last(3)) == 3 and logs[1].last(0) == []


def test_the_command_titles_each_and_says_what_has_not_begun(done: tuple[Plan, Store]) -> None:
    plan, store = done
    (store.folder("evaluations", plan.cells[3].evaluation.signature) / "log.txt").unlink()
    result = CliRunner().invoke(app, ["logs", "attention/heun", "-n", "2", "--store", str(store.root)])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("==> training attention/heun (") and len(lines) == 6
    assert re.fullmatch(r"step 20 of 20 \(0\.64 kimg\): loss \d\.\d{4}, [\d,]+ images/s", lines[3])
    assert re.fullmatch(r"step 20 of 20 \(0\.64 kimg\): val_loss \d\.\d{4}", lines[4])
    assert lines[-1] == "==> evaluation attention/heun: not started"


def test_json_is_a_line_for_each_line(finished: tuple[Plan, Store]) -> None:
    _, store = finished
    result = CliRunner().invoke(app, ["logs", "attention/heun", "-n", "2", "--store", str(store.root), "--json"])
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["kind"] for line in lines] == ["training"] * 4 + ["evaluation"] * 2


def test_following_ends_with_the_work_and_misses_nothing(done: tuple[Plan, Store]) -> None:
    plan, store = done
    logs = logs_of(find_one("attention/heun", store), store)
    log, waits = logs[0].path, iter(range(4))

    def write(_seconds: float) -> None:
        number = next(waits)
        with log.open("a") as file:
            file.write(f"line {number}\nhalf")  # the rest of a line comes with the next
        if number == 3:
            lock.__exit__(None, None, None)

    lock = store.lock("trainings", plan.cells[3].training.signature)
    lock.__enter__()
    seen = [line for _, line in follow(logs, store, write)]
    assert seen == ["line 0", "halfline 1", "halfline 2", "halfline 3"]


def test_following_what_nobody_is_at_ends_at_once(done: tuple[Plan, Store]) -> None:
    _, store = done

    def never(_seconds: float) -> None:
        pytest.fail("nobody works at it")

    assert list(follow(logs_of(find_one("attention/heun", store), store), store, never)) == []


def test_following_a_training_shows_its_losses(done: tuple[Plan, Store]) -> None:
    plan, store = done
    logs = logs_of(find_one("attention/heun", store), store)
    folder, steps = logs[0].path.parent, iter(range(100, 600, 100))

    def train(_seconds: float) -> None:
        step = next(steps)
        line = {"step": step, "kimg": step * 0.032, "loss": 1 / step, "images_per_s": 1200.0}
        Journal(folder / "journal.jsonl").append(line)
        if step == 300:
            Journal(folder / "validation.jsonl").append({"step": step, "kimg": 9.6, "val_loss": 0.5, "levels": {}})
        if step == 500:
            lock.__exit__(None, None, None)

    lock = store.lock("trainings", plan.cells[3].training.signature)
    lock.__enter__()
    # the first, with each on the val split, and the last
    assert [line for _, line in follow(logs, store, train, loss_period_s=3600.0)] == [
        "step 100 of 20 (3.2 kimg): loss 0.0100, 1,200 images/s",
        "step 300 of 20 (9.6 kimg): loss 0.0033, 1,200 images/s",
        "step 300 of 20 (9.6 kimg): val_loss 0.5000",
        "step 500 of 20 (16 kimg): loss 0.0020, 1,200 images/s",
    ]


def test_a_training_that_is_resumed_repeats_no_loss(done: tuple[Plan, Store]) -> None:
    """Its curves become new files without what came after the checkpoint; on a CPU the losses are the same again."""
    plan, store = done
    logs = logs_of(find_one("attention/heun", store), store)
    folder, actions = logs[0].path.parent, iter(["train", "resume", "train_again", "end"])
    curves = Journal(folder / "journal.jsonl"), Journal(folder / "validation.jsonl")

    def record(step: int, speed: float) -> None:
        at = {"step": step, "kimg": step * 0.032}
        curves[0].append({**at, "loss": 1 / step, "images_per_s": speed})
        curves[1].append({**at, "val_loss": 2 / step, "levels": {}})

    def act(_seconds: float) -> None:
        match next(actions):
            case "train":
                record(100, 1200.0), record(200, 1200.0)
            case "resume":
                for curve in curves:
                    curve.keep_rising(below=101)
            case "train_again":
                record(200, 1100.0), record(300, 1100.0)
            case _:
                lock.__exit__(None, None, None)

    lock = store.lock("trainings", plan.cells[3].training.signature)
    lock.__enter__()
    assert [line for _, line in follow(logs, store, act, loss_period_s=0.0)] == [
        "step 200 of 20 (6.4 kimg): loss 0.0050, 1,200 images/s",
        "step 100 of 20 (3.2 kimg): val_loss 0.0200",
        "step 200 of 20 (6.4 kimg): val_loss 0.0100",
        "step 300 of 20 (9.6 kimg): loss 0.0033, 1,100 images/s",
        "step 300 of 20 (9.6 kimg): val_loss 0.0067",
    ]


def test_before_a_training_has_begun_there_is_no_loss(done: tuple[Plan, Store]) -> None:
    plan, store = done
    shutil.rmtree(store.folder("trainings", plan.cells[3].training.signature))
    log = logs_of(find_one("attention/heun", store), store)[0]
    assert log.last_losses() == [] and log.num_steps is None


def test_following_goes_on_in_the_log_of_a_task_that_is_done_again(done: tuple[Plan, Store]) -> None:
    plan, store = done
    logs = logs_of(find_one("attention/heun", store), store)
    log, lock = logs[0].path, store.lock("trainings", plan.cells[3].training.signature)

    def begin_anew(_seconds: float) -> None:
        log.unlink()
        log.write_text("from step 0\n")
        lock.__exit__(None, None, None)

    lock.__enter__()
    assert [line for _, line in follow(logs, store, begin_anew)] == ["from step 0"]
