"""Reference statistics as a task: what it leaves for evaluations, its progress, and that it can be interrupted."""

import shutil
from pathlib import Path

import pytest
import torch

from experiments.store.results import EvaluationResult, MeasuredReferences
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ReferenceStatistics
from experiments.trials.evaluation.features import FeatureCache
from experiments.trials.evaluation.references import References
from experiments.trials.perform import perform
from experiments.trials.progress import ProgressReporter
from tests.inprocess import CONTEXT, WATCHFUL, cut_segments, references_of, run_all
from tests.planning import load_sweep, plan_sweep

pytestmark = pytest.mark.usefixtures("few_statistics")


@pytest.fixture
def task(tiny_plan: Plan) -> ReferenceStatistics:
    (made,) = (each for each in tiny_plan.preparations.values() if isinstance(each, ReferenceStatistics))
    return made


@pytest.fixture
def unmeasured(store: Store) -> Store:
    """A store with the data and the classifier alone."""
    for kind in ("references", "reference_statistics", "scales"):
        shutil.rmtree(store.root / kind)
    return store


def test_what_is_measured_are_the_splits_and_noise_and_a_baseline(task: ReferenceStatistics) -> None:
    assert task.counts == {"train": 420, "val": 300, "test": 300, "noise": 1000}  # 120 images are drawn
    assert task.images == 2020


def test_an_evaluation_finds_everything_measured(
    tiny_plan: Plan, unmeasured: Store, task: ReferenceStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert perform(unmeasured, task, CONTEXT).state == "done"
    before = set(unmeasured.root.glob("references/*/**/*")) | set(unmeasured.root.glob("scales/*"))
    record = unmeasured.result(MeasuredReferences, task.signature)
    assert record is not None and record.images == task.images and record.flops == pytest.approx(task.flops)
    run_all(tiny_plan, unmeasured)
    files = {path for path in unmeasured.root.glob("references/*/**/*") if "lease" not in path.name}
    assert files <= before and set(unmeasured.root.glob("scales/*")) <= before
    assert all(unmeasured.result(EvaluationResult, name) is not None for name in tiny_plan.evaluations)


def test_whoever_makes_statistics_computes_with_the_bits_of_all_others(tiny_plan: Plan, unmeasured: Store) -> None:
    """The last bit of a matrix product depends on where its factors begin in memory, and in which order they lie."""
    evaluation = next(iter(tiny_plan.evaluations.values()))
    makes = references_of(evaluation, unmeasured).reference("train", 300)  # fewer than make the covariance regular
    finds = references_of(evaluation, unmeasured).reference("train", 300)
    for name, made in makes.tensors().items():
        found = finds.tensors()[name]
        assert torch.equal(made, found), name
        assert (made.stride(), made.data_ptr() % 64) == (found.stride(), found.data_ptr() % 64) or name == "count", name


def test_memorisation_finds_all_real_images_measured_and_their_scores(
    tiny_file: Path, unmeasured: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_sweep(load_sweep(tiny_file, ("evaluation.metrics=[kid, memorisation]",)))
    (task,) = (each for each in plan.preparations.values() if isinstance(each, ReferenceStatistics))
    assert task.counts == {"train": 1197, "val": 300, "test": 300, "noise": 1000}
    phases: list[str] = []
    monkeypatch.setattr(ProgressReporter, "phase", lambda self, phase: phases.append(phase))
    assert perform(unmeasured, task, CONTEXT).state == "done"
    for what in ("pixels", "features"):
        assert f"looking for the nearest training images of real ones, {what}" in phases
    before = set(unmeasured.root.glob("references/*/**/*")) | set(unmeasured.root.glob("scales/*"))
    assert len(list(unmeasured.root.glob("scales/*"))) == 3  # of kid, and of memorisation in pixels and in features
    phases.clear()
    run_all(plan, unmeasured)
    files = {path for path in unmeasured.root.glob("references/*/**/*") if "lease" not in path.name}
    assert files <= before and set(unmeasured.root.glob("scales/*")) <= before
    assert not any("of real ones" in phase for phase in phases)


def test_what_was_measured_before_an_interruption_is_kept(
    unmeasured: Store, task: ReferenceStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_segments(monkeypatch, 100)
    measured: list[int] = []
    asked: list[int] = []
    original = FeatureCache.measure

    def measure(self: FeatureCache, start: int, *arguments, **options) -> None:
        measured.append(start)
        if len(measured) == 4 and not asked:
            asked.append(start)
            unmeasured.request_stop(WATCHFUL.run_id)
        original(self, start, *arguments, **options)

    monkeypatch.setattr(FeatureCache, "measure", measure)
    assert perform(unmeasured, task, WATCHFUL).state == "interrupted"
    assert measured == [0, 100, 200, 300] and unmeasured.result(MeasuredReferences, task.signature) is None
    unmeasured.end_run(WATCHFUL.run_id)
    measured.clear()
    assert perform(unmeasured, task, WATCHFUL).state == "done"
    assert measured[:2] == [300, 400]  # what was being measured is measured again
    record = unmeasured.result(MeasuredReferences, task.signature)
    assert record is not None and record.flops == pytest.approx(task.flops * (task.images - 300) / task.images)


def test_progress_counts_all_images(
    unmeasured: Store, task: ReferenceStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats: list[float] = []
    monkeypatch.setattr(ProgressReporter, "beat", lambda self, done, loss=None: beats.append(done) or False)
    perform(unmeasured, task, CONTEXT)
    assert beats == sorted(beats) and beats[0] == 100 and beats[-1] == task.images


def test_who_has_nothing_to_compare_with_needs_no_references(tiny_file: Path) -> None:
    text = tiny_file.read_text().replace("features: classifier", "features: classifier, metrics: [accuracy]")
    tiny_file.write_text(text)
    kinds = [task.kind for task in plan_sweep(load_sweep(tiny_file)).preparations.values()]
    assert kinds == ["classifier"]


def test_evaluations_of_other_scores_have_references_of_their_own(tiny_file: Path) -> None:
    text = tiny_file.read_text().replace("sampling.sampler: [euler, heun]", "evaluation.images: [100, 200]")
    tiny_file.write_text(text)
    plan = plan_sweep(load_sweep(tiny_file))
    names = [name for signature, name in plan.names.items() if signature in plan.preparations]
    assert len(names) == len(set(names)) == 3 and names[1] == "reference-statistics/digits"


def test_references_are_counted_as_before(
    unmeasured: Store, task: ReferenceStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []
    original = References.features

    def features(self: References, subset, start: int, stop: int):
        asked.append((subset, start, stop))
        return original(self, subset, start, stop)

    monkeypatch.setattr(References, "features", features)
    perform(unmeasured, task, CONTEXT)
    furthest = {subset: max(stop for name, _, stop in asked if name == subset) for subset, *_ in asked}
    assert furthest == task.counts  # the statistics need no image that was not counted
