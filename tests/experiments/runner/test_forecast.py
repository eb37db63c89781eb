"""Forecasts with their ranges, what goes onto the disk, budgets."""

from pathlib import Path

import pytest

from experiments import hardware
from experiments.cli.views.calibration import cost_lines, machines_table, networks_table
from experiments.cli.views.plan_json import estimate_json, networks_json
from experiments.errors import UserError
from experiments.runner import allocation as sharing_module
from experiments.runner.budget import Budget
from experiments.runner.disk import disk_bytes
from experiments.runner.forecast import START_UP_S, Forecast, Span, forecast, forecasts
from experiments.store.store import Store
from experiments.sweep.jobs import data_of
from experiments.sweep.plan import Plan
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep, probes_of
from tests.results import probe_result


def about(seconds):
    """These seconds, up to those that the digits take to prepare."""
    return pytest.approx(seconds, abs=0.3)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine of four cores without a GPU."""
    _machine(monkeypatch, ())


def _machine(monkeypatch: pytest.MonkeyPatch, gpus: tuple[str, ...]) -> None:
    monkeypatch.setattr(hardware, "gpu_names", lambda: gpus)
    monkeypatch.setattr(sharing_module, "available_cores", lambda: 4)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """A store with nothing in it."""
    return Store(tmp_path / "empty")


class Known:
    """Speeds that are given."""

    def __init__(self, training_s: float, evaluation_s: float) -> None:
        self.known = {"training": training_s, "evaluation": evaluation_s, "probe": 1.0}

    def seconds(self, task) -> float:
        return self.known[task.kind]

    def range(self, task) -> tuple[float, float]:
        return self.seconds(task) / 2, self.seconds(task) * 3

    def measured(self, task) -> bool:
        return True


def pieces_of(plan: Plan):
    return [*plan.trainings.values(), *plan.evaluations.values()]


def estimated(plan: Plan, store: Store, training_s: float, evaluation_s: float, **more) -> Forecast:
    return forecast(plan, pieces_of(plan), store, Known(training_s, evaluation_s), **more)  # pyright: ignore[reportArgumentType]


def test_the_wall_clock_is_all_work_shared_out_or_the_longest_chain(tiny_file: Path, empty: Store) -> None:
    chain = estimated(plan_sweep(load_sweep(tiny_file)), empty, 100.0, 10.0)  # 2 trainings, 4 evaluations, 4 cores
    assert chain.wall_s == about(100 + 10 + START_UP_S) and chain.work_s == 240
    work = estimated(plan_sweep(load_sweep(tiny_file, ("resources.cpus=4",))), empty, 100.0, 10.0)
    assert work.wall_s == about(240 + START_UP_S)
    assert chain.gpu_hours == work.gpu_hours == 240 / 3600 and not chain.on_gpus


def test_trainings_that_begin_where_shorter_ones_end_are_a_chain(tiny_file: Path, empty: Store) -> None:
    axis = "  model.attention: [false, true]\n"
    tiny_file.write_text(tiny_file.read_text().replace(axis, "  training.kimg: [0.64, 1.28, 3.2]\n"))
    chain = estimated(plan_sweep(load_sweep(tiny_file)), empty, 100.0, 10.0)  # 3 trainings, 6 evaluations, 4 cores
    assert chain.wall_s == about(3 * 100 + 6 * 10 / 4 + START_UP_S) and chain.work_s == 360  # a training has all cores
    few = estimated(plan_sweep(load_sweep(tiny_file, ("resources.cpus=1",))), empty, 100.0, 10.0)
    assert few.wall_s == about(3 * 100 + 10 + START_UP_S)
    apart = estimated(plan_sweep(load_sweep(tiny_file, ("training.keep_state=false",))), empty, 100.0, 10.0)
    assert apart.wall_s == about(100 + 10 + START_UP_S) and apart.work_s == 360


def test_everything_has_a_range(tiny_plan: Plan, empty: Store) -> None:
    made = estimated(tiny_plan, empty, 100.0, 10.0)
    assert made.work_span_s == Span(120, 720)
    assert made.gpu_hours_span == Span(120 / 3600, 720 / 3600)
    assert made.wall_span_s == about(Span(55 + START_UP_S, 330 + START_UP_S))
    assert made.disk_span_gib.low < made.disk_gib < made.disk_span_gib.high


def test_nothing_left_takes_nothing(tiny_plan: Plan, empty: Store) -> None:
    made = forecast(tiny_plan, [], empty)
    assert made.wall_s == made.work_s == made.gpu_hours == made.disk_gib == 0 and made.measured


def test_what_is_done_shortens_the_chain(tiny_plan: Plan, empty: Store) -> None:
    left = list(tiny_plan.evaluations.values())
    made = forecast(tiny_plan, left, empty, Known(100.0, 10.0))  # pyright: ignore[reportArgumentType]
    assert made.wall_s == about(10 + START_UP_S)


def test_data_that_no_task_left_reads_takes_no_time(tiny_file: Path, empty: Store) -> None:
    """As where its preparation has failed, so that what depends on it is not done."""
    tiny_file.write_text(tiny_file.read_text() + "zip: {data.name: [digits, cifar10]}\n")
    plan = plan_sweep(load_sweep(tiny_file))
    left = [task for task in pieces_of(plan) if data_of(task).config.name == "digits"]
    made = forecast(plan, left, empty, Known(100.0, 10.0))  # pyright: ignore[reportArgumentType]
    assert len(left) == 6 and made.wall_s == about(100 + 10 + START_UP_S)
    assert estimated(plan, empty, 100.0, 10.0).wall_s > made.wall_s + 1  # with the download


def test_a_large_evaluation_is_cut_up_among_idle_workers(tiny_file: Path, empty: Store) -> None:
    plan = plan_sweep(load_sweep(tiny_file, ("evaluation.images=8000",)))
    assert estimated(plan, empty, 100.0, 1000.0).wall_s == pytest.approx((200 / 2 + 4000) / 4 + 25, rel=0.2)
    alone = forecast(plan, list(plan.evaluations.values())[:1], empty, Known(1.0, 1000.0))  # pyright: ignore[reportArgumentType]
    assert alone.wall_s == about(250 + START_UP_S)


def test_more_gpus_are_faster_until_the_chain_binds(
    tiny_plan: Plan, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, ("NVIDIA H200",))
    walls = [estimated(tiny_plan, empty, 100.0, 10.0, machines=n).wall_s - START_UP_S for n in (1, 2, 4, 16)]
    assert walls == about([240, 120, 110, 110])
    assert estimated(tiny_plan, empty, 100.0, 10.0).wall_s == about(240 + START_UP_S)


def test_gpu_hours_count_what_a_trial_occupies(tiny_file: Path, empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, ("NVIDIA H200",) * 4)
    for gpus, hours in (("0.5", 120), ("1", 240), ("2", 440)):  # evaluations never take more than one
        plan = plan_sweep(load_sweep(tiny_file, (f"resources.gpus={gpus}",)))
        made = estimated(plan, empty, 100.0, 10.0)
        assert made.on_gpus and made.gpu_hours == pytest.approx(hours / 3600)


def test_a_plan_for_another_machine_is_told_of_here(tiny_file: Path, empty: Store) -> None:
    plan = plan_sweep(load_sweep(tiny_file, ("resources.gpus=4", "resources.cpus=64")))
    assert forecast(plan, pieces_of(plan), empty).wall_s > 0


def test_the_disk_holds_what_the_code_writes(tiny_plan: Plan, store: Store) -> None:
    said = forecast(tiny_plan, pieces_of(tiny_plan), store)
    run_all(tiny_plan, store)
    folders = [store.root / kind for kind in ("trainings", "evaluations", "drawings")]
    tensors = [path for folder in folders for path in folder.rglob("*.safetensors")]
    kept = sum(path.stat().st_size for path in tensors)
    left = sum(disk_bytes(task) for task in pieces_of(tiny_plan))
    assert kept < left and said.disk_gib * 2**30 <= left
    passing = 3 * 4 * sum(path.stat().st_size for path in tensors if path.name == "model.safetensors")
    assert left - passing == pytest.approx(kept, rel=0.5)


def test_a_probe_needs_no_room(tiny_plan: Plan) -> None:
    assert disk_bytes(next(iter(probes_of(tiny_plan).values()))) == 0


# how it is shown ----------------------------------------------------------------------------------


def test_costs_are_told_with_their_ranges(tiny_plan: Plan, empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = estimated(tiny_plan, empty, 3600.0, 900.0)
    first, second = cost_lines(made)
    assert first == "Hours of trials: about 3 (1.5 to 9)" and second.startswith("Disk: about ")
    assert estimate_json(made)["trial_hours"] == {"about": 3.0, "low": 1.5, "high": 9.0}
    _machine(monkeypatch, ("NVIDIA H200",))
    assert next(cost_lines(estimated(tiny_plan, empty, 3600.0, 900.0))).startswith("GPU-hours: about 3 ")


def test_the_wall_clock_is_told_for_several_sizes(tiny_plan: Plan, empty: Store) -> None:
    made = forecasts(tiny_plan, pieces_of(tiny_plan), empty)
    assert list(made) == [None, 1, 2, 4, 8, 16] and made[None].wall_s == made[1].wall_s >= made[16].wall_s
    assert len(machines_table(made).rows) == 6


def test_networks_are_told_with_speed_and_memory(tiny_plan: Plan, empty: Store) -> None:
    first, second = probes_of(tiny_plan)
    for name, result in ((first, probe_result(kimg_s=2.5)), (second, probe_result(training=None, drawing=None))):
        empty.folder("probes", name).mkdir(parents=True)
        empty.finish(name, result)
    row, other = networks_json(tiny_plan, empty)
    assert row["name"] == "no-attention" and row["nfe"] == [3, 5] and row["kimg_s"] == 2.5
    assert not other["fits"] and len(networks_table([row, other]).rows) == 2


# budgets ------------------------------------------------------------------------------------------


def test_a_budget_allows_what_is_within_it() -> None:
    budget = Budget(7200.0)
    assert budget.refusal(7200.0) is None
    reason = budget.refusal(9000.0)
    assert reason is not None and reason.startswith("--budget 2h: ") and "2.5h" in reason


def test_a_budget_refuses_beforehand_what_is_known_to_take_more(tiny_plan: Plan, empty: Store) -> None:
    made = estimated(tiny_plan, empty, 3600.0, 900.0)
    Budget(3 * 3600.0).require(made)
    with pytest.raises(UserError, match=r"--budget 2h: what is left takes about 3 trial-hours \(1.5 to 9\)"):
        Budget(2 * 3600.0).require(made)
    Budget(1.0).require(forecast(tiny_plan, pieces_of(tiny_plan), empty))  # a guess refuses nothing
