"""How long tasks take: which of several sources tells, and how what finishes corrects it."""

from pathlib import Path
from typing import Any

import pytest

from edm.cost import forward_flops
from experiments import hardware
from experiments.runner.durations import GUESSED_FLOPS_PER_S, MOST_OTHERS, MOST_RESULTS, PROBE_S, DurationModel
from experiments.store.drawings import features_folder
from experiments.store.layout import CHECKPOINTS
from experiments.store.results import Result
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.segments import segment_starts
from tests.planning import load_sweep, plan_sweep, probes_by_training, probes_of
from tests.results import evaluation_result, probe_result, training_result


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without one."""
    monkeypatch.setattr(hardware, "gpu_names", lambda: ())


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """A store with nothing in it."""
    return Store(tmp_path / "empty")


def keep(store: Store, name: str, result: Result) -> None:
    store.folder(result.kind, name).mkdir(parents=True, exist_ok=True)
    store.finish(name, result)


def keep_probe(store: Store, plan: Plan, training, **changes: Any) -> None:
    keep(store, probes_by_training(plan)[training.signature].signature, probe_result(**changes))


def two(plan: Plan):
    return tuple(plan.trainings.values())


def of(plan: Plan, training):
    return next(e for e in plan.evaluations.values() if e.training == training)


def test_without_anything_measured_it_is_a_guess_and_says_so(tiny_plan: Plan, empty: Store) -> None:
    speeds, (first, _) = DurationModel(empty, tiny_plan), two(tiny_plan)
    assert not speeds.measured(first)
    assert speeds.seconds(first) == pytest.approx(first.flops / GUESSED_FLOPS_PER_S["cpu"])
    low, high = speeds.range(first)
    assert low < speeds.seconds(first) / 4 and high > speeds.seconds(first) * 4


def test_a_result_of_the_same_network_tells_best(tiny_plan: Plan, empty: Store) -> None:
    first, other = two(tiny_plan)
    keep_probe(empty, tiny_plan, first, kimg_s=1e6)
    keep(empty, "stranger", training_result(seconds=1000.0, flops=1.0))
    keep(empty, first.signature, training_result(seconds=20.0, flops=first.flops))
    speeds = DurationModel(empty, tiny_plan)
    assert speeds.seconds(first) == pytest.approx(20.0) and speeds.measured(first)
    assert speeds.seconds(other) > 100 * speeds.seconds(first)  # the median of other networks
    (low, high), (strange_low, strange_high) = speeds.range(first), speeds.range(other)
    assert 1 < high / low < strange_high / strange_low


def test_a_probe_tells_of_trainings_and_of_evaluations(tiny_plan: Plan, empty: Store) -> None:
    first, other = two(tiny_plan)
    keep(empty, "stranger", training_result(seconds=1000.0, flops=1.0))
    keep(empty, "stranger", evaluation_result(seconds=1000.0, flops=1.0, scoring_seconds=2.0))
    keep_probe(empty, tiny_plan, first)
    speeds, evaluation = DurationModel(empty, tiny_plan), of(tiny_plan, first)
    assert speeds.seconds(first) == pytest.approx(30.0 * first.config.kimg)
    nfe, images = evaluation.sampling.nfe, evaluation.config.images
    assert speeds.seconds(evaluation) == pytest.approx(10.0 * nfe * images / 1000 + 2.0)
    assert evaluation.flops == nfe * images * forward_flops(first.network)
    assert speeds.seconds(other) == pytest.approx(1000.0 * other.flops)


def test_what_another_device_measured_does_not_count(tiny_plan: Plan, empty: Store) -> None:
    first, _ = two(tiny_plan)
    keep_probe(empty, tiny_plan, first, device="NVIDIA H200")
    keep(empty, first.signature, training_result(seconds=1.0, flops=first.flops, device="NVIDIA H200"))
    assert not DurationModel(empty, tiny_plan).measured(first)


def test_what_finishes_corrects_its_network_and_the_others(tiny_plan: Plan, empty: Store) -> None:
    first, other = two(tiny_plan)
    keep_probe(empty, tiny_plan, first, kimg_s=10.0)
    keep_probe(empty, tiny_plan, other, kimg_s=50.0)
    speeds = DurationModel(empty, tiny_plan)
    speeds.learn(first, 3 * speeds.seconds(first))
    assert speeds.seconds(first) == pytest.approx(3 * 10.0 * first.config.kimg)
    assert speeds.seconds(other) == pytest.approx(3 * 50.0 * other.config.kimg)
    evaluation = of(tiny_plan, first)
    before = speeds.seconds(evaluation)
    speeds.learn(first, 100 * speeds.seconds(first))
    assert speeds.seconds(evaluation) == before  # another kind of work


def test_a_guess_that_was_corrected_is_none_any_more(tiny_plan: Plan, empty: Store) -> None:
    first, other = two(tiny_plan)
    speeds = DurationModel(empty, tiny_plan)
    before = speeds.seconds(other)
    speeds.learn(first, 10 * speeds.seconds(first))
    assert speeds.seconds(other) == pytest.approx(10 * before) and speeds.measured(other)
    low, high = speeds.range(other)
    assert high / low < 4


def test_probes_are_learnt_from_as_they_finish(tiny_plan: Plan, empty: Store) -> None:
    first, _ = two(tiny_plan)
    speeds, probe = DurationModel(empty, tiny_plan), probes_by_training(tiny_plan)[first.signature]
    assert speeds.seconds(probe) == PROBE_S
    keep_probe(empty, tiny_plan, first)
    speeds.learn(probe, 4.0)
    assert speeds.seconds(probe) == 4.0 and speeds.seconds(first) == pytest.approx(30.0 * first.config.kimg)


def test_a_probe_that_does_not_fit_tells_nothing(tiny_plan: Plan, empty: Store) -> None:
    for name in probes_of(tiny_plan):
        keep(empty, name, probe_result(training=None, drawing=None))
    assert not DurationModel(empty, tiny_plan).measured(two(tiny_plan)[0])


def test_several_gpus_share_a_training(tiny_file: Path, empty: Store) -> None:
    alone, team = (plan_sweep(load_sweep(tiny_file, (f"resources.gpus={n}",))) for n in (1, 4))
    first = next(iter(alone.trainings.values()))
    keep_probe(empty, alone, first)
    one, four = DurationModel(empty, alone), DurationModel(empty, team)
    assert one.seconds(first) / 4 < four.seconds(first) < one.seconds(first) / 3
    assert one.seconds(of(alone, first)) == four.seconds(of(alone, first))


def test_scoring_again_what_was_drawn_costs_little(tiny_plan: Plan, empty: Store) -> None:
    evaluation = of(tiny_plan, two(tiny_plan)[0])
    before = DurationModel(empty, tiny_plan).seconds(evaluation)
    shelf = features_folder(empty, evaluation.drawing, evaluation.features.signature)
    shelf.mkdir(parents=True)
    for start in segment_starts(evaluation.config.images):
        (shelf / f"{start:08d}-abc.safetensors").touch()
    assert DurationModel(empty, tiny_plan).seconds(evaluation) < 0.1 * before


def test_what_a_shorter_training_does_is_not_counted(tiny_file: Path, empty: Store) -> None:
    axis = "  model.attention: [false, true]\n"
    tiny_file.write_text(tiny_file.read_text().replace(axis, "  training.kimg: [0.64, 1.28, 3.2]\n"))
    plan = plan_sweep(load_sweep(tiny_file))
    model = DurationModel(empty, plan)
    shares = {task.config.kimg: model.saved_share(task) for task in plan.trainings.values()}
    assert shares == {0.64: 0.0, 1.28: 0.5, 3.2: 0.4}
    one, two, three = sorted(map(model.seconds, plan.trainings.values()))
    assert one == pytest.approx(two) and three == pytest.approx(3 * one)
    alone = plan_sweep(load_sweep(tiny_file, ("training.keep_state=false",)))
    assert not any(map(DurationModel(empty, alone).saved_share, alone.trainings.values()))


def test_what_an_interrupted_training_has_saved_is_not_counted(tiny_plan: Plan, empty: Store) -> None:
    first, other = two(tiny_plan)
    whole = DurationModel(empty, tiny_plan)
    first_s, other_s = whole.seconds(first), whole.seconds(other)
    checkpoints = empty.folder("trainings", first.signature) / CHECKPOINTS
    checkpoints.mkdir(parents=True)
    for step in (1, first.config.num_steps // 2):
        (checkpoints / f"{step:010d}-abc.safetensors").touch()
    resumed = DurationModel(empty, tiny_plan)
    assert resumed.saved_share(first) == pytest.approx(0.5, abs=0.05) and not resumed.saved_share(other)
    assert resumed.seconds(first) == first_s * (1 - resumed.saved_share(first))
    assert resumed.seconds(other) == other_s


def test_a_bounded_number_of_files_is_read(tiny_file: Path, empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [round(1 + i / 10, 1) for i in range(300)]
    tiny_file.write_text(tiny_file.read_text().replace("[euler, heun]", f"[euler]\n  sampling.guidance: {rates}"))
    plan = plan_sweep(load_sweep(tiny_file))
    for name in (*plan.evaluations, *(f"stranger{i}" for i in range(100))):
        keep(empty, name, evaluation_result(seconds=1.0, flops=1e9, scoring_seconds=0.0))
    read: list[str] = []
    inner = empty.result
    monkeypatch.setattr(empty, "result", lambda kind, name: read.append(name) or inner(kind, name))
    speeds = DurationModel(empty, plan)
    opened = len(read)
    assert opened <= MOST_RESULTS + MOST_OTHERS + len(probes_of(plan))
    for task in (*plan.trainings.values(), *plan.evaluations.values()):
        speeds.seconds(task)
    assert len(read) == opened


def test_a_forecast_is_not_disturbed_by_what_finishes_meanwhile(tiny_plan: Plan, empty: Store) -> None:
    first, _ = two(tiny_plan)
    speeds, probe = DurationModel(empty, tiny_plan), probes_by_training(tiny_plan)[first.signature]

    class Length(float):
        """Seconds, during whose look-up Tune's thread reports another task."""

        def as_integer_ratio(self) -> tuple[int, int]:
            speeds.learn(probe, 8.0)
            return super().as_integer_ratio()

    speeds.learn(probe, Length(4.0))
    assert speeds.seconds(probe) == 4.0
    assert speeds.seconds(probe) > 4.0
