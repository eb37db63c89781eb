"""How cells stand, by what the store says: each state, made by what leaves it in real life."""

import io
import json
import re
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from experiments.cli.views.status import MAX_ROWS, overview_table, status_view
from experiments.cli.views.status_json import status_json
from experiments.errors import UserError
from experiments.inspection import changed_data
from experiments.inspection.status import Status, StatusReader, overviews
from experiments.store import active_runs as runs
from experiments.store.active_runs import active_runs, announced, publish_progress
from experiments.store.failures import Failure
from experiments.store.files import write_json
from experiments.store.progress import RunProgressRecord, TaskProgress
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from tests.commandline import invoke
from tests.conftest import TINY
from tests.datafiles import image_tree
from tests.planning import load_sweep, plan_sweep


def states(status: Status) -> list[str]:
    return [cell.status.state for cell in status.cells]


def look(plan: Plan, store: Store) -> Status:
    return StatusReader(plan, store).read()


def undo_training(store: Store, name: str, plan: Plan) -> None:
    """As if a training had not been finished, nor anything that depends on it begun."""
    (store.folder("trainings", name) / "result.json").unlink()
    shutil.rmtree(store.folder("trainings", name) / "checkpoints")
    for evaluation in plan.evaluations.values():
        if evaluation.training.signature == name:
            shutil.rmtree(store.folder("evaluations", evaluation.signature))
            shutil.rmtree(store.folder("drawings", evaluation.drawing), ignore_errors=True)


def shown(status: Status, every: bool = False) -> str:
    return printed(status_view(status, every))


def printed(renderable: RenderableType) -> str:
    output = io.StringIO()
    Console(width=200, file=output).print(renderable)
    return output.getvalue()


def test_of_an_empty_store_all_is_planned_and_forecast(tiny_plan: Plan, tmp_path: Path) -> None:
    status = look(tiny_plan, Store(tmp_path / "store"))
    assert states(status) == ["planned"] * 4 and status.counts == {"planned": 4}
    assert status.estimate is not None and status.estimate.wall_s > 0 and not status.runs
    assert "No active run. The rest takes about" in shown(status)


def test_of_a_finished_sweep_all_is_done(done: tuple[Plan, Store]) -> None:
    status = look(*done)
    assert states(status) == ["done"] * 4 and status.estimate is None
    assert "tiny_digits: 4 cells: 4 done" in shown(status)


def test_scores_that_are_asked_for_later_are_left_to_do(done: tuple[Plan, Store], tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(TINY.replace("features: classifier", "features: classifier, metrics: [fid, memorisation]"))
    status = look(plan_sweep(load_sweep(path)), done[1])
    assert "done" not in states(status)


def test_running_says_where_how_far_and_how_fast(done: tuple[Plan, Store]) -> None:
    plan, store = done
    name = next(iter(plan.trainings))
    undo_training(store, name, plan)
    with store.lock("trainings", name) as folder:
        TaskProgress(0.16, 0.64, "kimg", 0.08).write(folder)
        status = look(plan, store)
        assert states(status) == ["waiting", "waiting", "done", "done"]
        assert [cell.status.why for cell in status.cells[:2]] == ["for its training"] * 2
        standing = status.trainings[name]
        assert standing.state == "running" and standing.progress is not None
        assert (standing.progress.share, standing.progress.left_s) == (0.25, 6.0)
        assert standing.where.startswith("host ")
        text = shown(status)
        assert re.search(r"25% of 0\.64 kimg +80 +6 s", text) and standing.where in text
    assert states(look(plan, store))[:2] == ["planned", "planned"]  # nothing was saved


def test_an_evaluation_that_is_at_work_is_running(done: tuple[Plan, Store]) -> None:
    plan, store = done
    name = plan.cells[1].evaluation.signature
    (store.folder("evaluations", name) / "result.json").unlink()
    with store.lock("evaluations", name):
        assert states(look(plan, store)) == ["done", "running", "done", "done"]
    status = look(plan, store)  # its images are drawn
    assert states(status) == ["done", "interrupted", "done", "done"]
    assert status.cells[1].status.why == "1 of 1 segments drawn"


def test_a_failure_says_why_and_so_do_the_cells_that_stand_on_it(done: tuple[Plan, Store]) -> None:
    plan, store = done
    training, evaluation = plan.cells[0].training.signature, plan.cells[2].evaluation.signature
    undo_training(store, training, plan)
    write_json(store.folder("trainings", training) / "failure.json", {"message": "the loss exploded", "fault": "x"})
    (store.folder("evaluations", evaluation) / "result.json").unlink()
    write_json(store.folder("evaluations", evaluation) / "failure.json", {"message": "no images", "fault": "x"})
    status = look(plan, store)
    assert states(status) == ["failed", "failed", "failed", "done"]
    assert [cell.status.why for cell in status.cells[:3]] == [
        "its training failed: the loss exploded",
        "its training failed: the loss exploded",
        "no images",
    ]


@pytest.mark.parametrize("kind", ["data", "trainings", "evaluations"])
def test_a_failure_of_images_that_have_changed_is_not_claimed(tmp_path: Path, monkeypatch, kind: str) -> None:
    monkeypatch.setattr(changed_data, "_last_change", changed_data._last_change.__wrapped__)  # as in other processes
    images = image_tree(tmp_path / "birds", *(f"{c}/{i}.png" for c in "ab" for i in range(10)))
    file, store = tmp_path / "birds.yaml", Store(tmp_path / "store").create()
    file.write_text(
        TINY.replace("name: tiny_digits", f"name: birds\ndata: {{name: folder, path: {images}, resolution: 8}}")
    )
    plan = plan_sweep(load_sweep(file))
    cell = plan.cells[0]
    tasks = {"data": cell.training.data, "trainings": cell.training, "evaluations": cell.evaluation}
    folder = store.folder(kind, tasks[kind].signature)
    folder.mkdir(parents=True)
    Failure("7.png: cannot be decoded").write(folder)
    assert "cannot be decoded" in look(plan, store).cells[0].status.why

    time.sleep(0.02)  # longer than the clock of a file system ticks
    (images / "a" / "7.png").chmod(0o600)
    status = look(plan, store)
    assert status.counts == {"planned": 4} and "cannot be decoded" not in shown(status)
    assert f"failed before {images} changed: the next run reads its images again" in status.cells[0].status.why


def test_pruned_is_pruned_and_never_failed(done: tuple[Plan, Store]) -> None:
    plan, store = done
    name = plan.cells[0].training.signature
    undo_training(store, name, plan)
    Pruning(0.32, 1.25).write(store.folder("trainings", name))
    status = look(plan, store)
    assert states(status) == ["pruned", "pruned", "done", "done"]
    assert status.cells[0].status.why == "its training was pruned at 0.32 kimg (loss on the val split 1.25)"
    assert status.trainings[name].state == "pruned"


def test_an_interrupted_training_says_how_far_it_was_saved(done: tuple[Plan, Store]) -> None:
    plan, store = done
    name = plan.cells[0].training.signature
    undo_training(store, name, plan)
    folder = store.folder("trainings", name) / "checkpoints"
    folder.mkdir()
    for step in (5, 10):
        (folder / f"{step:010d}-abc.safetensors").touch()
    status = look(plan, store)
    progress = status.trainings[name].progress
    assert status.trainings[name].why == "saved at 0.32 of 0.64 kimg" and progress is not None and progress.share == 0.5
    assert states(status) == ["waiting", "waiting", "done", "done"]
    assert status.cells[0].status.why == "its training was interrupted"
    assert status.estimate is not None and status.estimate.wall_s > 0


def test_many_cells_are_told_by_training_and_what_needs_a_look_by_itself(tmp_path: Path, prepared: Path) -> None:
    path = tmp_path / "many.yaml"
    scales = [1 + i / 10 for i in range(60)]
    path.write_text(TINY.replace("sampling.sampler: [euler, heun]", f"sampling.guidance: {scales}"))
    plan, store = plan_sweep(load_sweep(path)), Store(tmp_path / "store")
    failed = plan.cells[7].evaluation.signature
    folder = store.folder("evaluations", failed)
    folder.mkdir(parents=True)
    write_json(folder / "failure.json", {"message": "no luck", "fault": "unknown"})
    status = look(plan, store)
    text = shown(status)
    assert len(plan.cells) == 120 > MAX_ROWS and len(text.splitlines()) < 20
    assert "0 of 60" in text and "59 planned" in text and "no luck" in text and plan.cell_name(plan.cells[7]) in text
    assert plan.cell_name(plan.cells[8]) not in text
    assert all(plan.cell_name(cell) in shown(status, every=True) for cell in plan.cells)


def test_an_active_run_is_shown_with_its_forecast_until_it_ends(done: tuple[Plan, Store]) -> None:
    plan, store = done
    shutil.rmtree(store.folder("evaluations", plan.cells[3].evaluation.signature))
    with announced(store, "abc", "tiny_digits"):
        publish_progress(store, "abc", RunProgressRecord(3, 1, "about 42 s left"))
        status = look(plan, store)
        assert [run.run_id for run in status.runs] == ["abc"] and status.estimate is None
        text = shown(status)
        assert "Active run: host" in text and "Forecast: about 42 s left" in text
        assert [row.runs[0].run_id for row in overviews(store)] == ["abc"]
        assert active_runs(store, "another") == []
        told = json.loads(json.dumps(status_json(status)))
        assert told["forecast"] == "about 42 s left" and told["runs"][0]["done"] == 1
    assert not look(plan, store).runs and not list(store.root.glob("sessions/*"))


def test_a_run_that_was_killed_is_not_going_on(done: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = done
    with announced(store, "abc", "tiny_digits"):
        monkeypatch.setattr(runs, "silence_s", lambda _folder: 3600.0)  # on a machine that is gone
        assert look(plan, store).runs == ()
        assert [path.name for path in runs.abandoned_runs(store)] == ["abc"]


def test_a_run_that_cannot_be_written_down_does_not_begin(
    done: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_json", full)
    expected = pytest.raises(UserError, match=r"cannot be written \(No space left on device\); make room there")
    with expected, announced(done[1], "abc", "tiny_digits"):
        pytest.fail("it began")
    assert active_runs(done[1]) == [] and not list(done[1].root.glob("sessions/*"))


def test_overviews_count_what_is_done(done: tuple[Plan, Store]) -> None:
    plan, store = done
    (store.folder("evaluations", plan.cells[3].evaluation.signature) / "result.json").unlink()
    (row,) = overviews(store)
    assert (row.sweep, row.cells, row.done, row.failed, row.runs) == ("tiny_digits", 4, 3, 0, ())
    Failure("no").write(store.folder("evaluations", plan.cells[3].evaluation.signature))
    Failure("no").write(store.folder("evaluations", plan.cells[2].evaluation.signature))  # done all the same
    (row,) = overviews(store)
    assert printed(overview_table([row])).splitlines()[1].split() == ["tiny_digits", "3", "of", "4", "1"]


def test_json_has_every_cell_and_training(done: tuple[Plan, Store]) -> None:
    plan, store = done
    told = json.loads(json.dumps(status_json(look(plan, store))))
    assert told["counts"] == {"done": 4} and told["estimate"] is None
    assert [cell["name"] for cell in told["cells"]] == [plan.cell_name(cell) for cell in plan.cells]
    assert Counter(training["state"] for training in told["trainings"]) == {"done": 2}


def test_watching_shows_the_one_sweep_that_is_running(done: tuple[Plan, Store]) -> None:
    plan, store = done
    for name in ("first", "second"):
        record_plan(replace(plan, sweep=replace(plan.sweep, name=name)), store)
    command = ("status", "--watch", "--json", "--store", store.root)
    assert {"first", "second"} <= {row["sweep"] for row in json.loads(invoke(*command).stdout)}  # none is running
    with announced(store, "a", "first"):
        ending = threading.Timer(0.5, store.end_run, ["a"])
        ending.start()
        assert json.loads(invoke(*command).stdout)["runs"] == []  # once it has ended
    with announced(store, "a", "first"), announced(store, "b", "second"):
        refused = invoke(*command)
    assert refused.returncode == 2 and "2 sweeps are running (first, second); name one of them" in refused.stderr


def test_a_run_of_another_version_that_says_less_is_passed_over(store: Store) -> None:
    with announced(store, "a", "first"):
        path = store.run_folder("a") / "session.json"
        content = json.loads(path.read_text())
        write_json(path, {**content, "of a later version": 1})
        assert [run.run_id for run in active_runs(store)] == ["a"]
        write_json(path, {"sweep": "first"})
        assert active_runs(store) == []
