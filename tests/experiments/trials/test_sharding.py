"""Images are the same to the last bit, whether helpers, other machines or smaller batches draw them."""

import shutil
import threading
from pathlib import Path

import pytest
import torch

from experiments.runner.stored import parts_left
from experiments.store.layout import LOG
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.tasks import Evaluation
from experiments.trials.evaluation import draw
from experiments.trials.evaluation.draw import generate
from experiments.trials.perform import help_with, perform
from tests.conftest import TINY
from tests.inprocess import CONTEXT, cut_segments
from tests.planning import load_sweep, plan_sweep


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three segments of an evaluation's 120 images."""
    cut_segments(monkeypatch, 40)


@pytest.fixture(scope="module")
def scored(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Evaluation]:
    """A store with the first evaluation of the tiny sweep, drawn by one process in three segments."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "tiny_digits.yaml").write_text(TINY)
    shutil.copytree(prepared, folder / "store")
    store, plan = Store(folder / "store"), plan_sweep(load_sweep(folder / "tiny_digits.yaml"))
    evaluation = next(iter(plan.evaluations.values()))
    with pytest.MonkeyPatch.context() as patch:
        cut_segments(patch, 40)
        for task in (evaluation.training, evaluation):
            assert perform(store, task, CONTEXT).state == "done"
    return store, evaluation


@pytest.fixture
def alone(scored: tuple[Store, Evaluation]) -> dict[str, float]:
    """The scores of the first evaluation, drawn by one process."""
    return scores(*scored)


@pytest.fixture
def store(scored: tuple[Store, Evaluation], tmp_path: Path) -> Store:
    """A store in which the training is done, and nothing has been drawn of it."""
    root = tmp_path / "store"
    shutil.copytree(scored[0].root, root, ignore=shutil.ignore_patterns("evaluations", "drawings"))
    return Store(root)


@pytest.fixture
def trained(scored: tuple[Store, Evaluation]) -> Evaluation:
    """The first evaluation of a plan, its training done."""
    return scored[1]


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """From now on: where segments that are drawn begin, and in which thread."""
    calls, original = [], draw._generate

    def noted(context, start: int, stop: int) -> torch.Tensor:
        calls.append((start, threading.current_thread().name))
        return original(context, start, stop)

    monkeypatch.setattr(draw, "_generate", noted)
    return calls


def scores(store: Store, evaluation: Evaluation) -> dict[str, float]:
    result = store.result(EvaluationResult, evaluation.signature)
    assert result is not None
    return result.metrics


def test_what_a_helper_drew_is_not_drawn_again_and_scores_the_same(
    alone: dict[str, float], trained: Evaluation, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = drawn(monkeypatch)
    assert help_with(store, trained, CONTEXT).state == "done"
    assert [start for start, _ in calls] == [80, 40, 0]
    assert store.result(EvaluationResult, trained.signature) is None  # scoring is the other one's
    assert perform(store, trained, CONTEXT).state == "done"
    assert len(calls) == 3 and scores(store, trained) == alone
    assert not list(store.root.glob("segments/*"))


def test_a_segment_in_progress_is_waited_for_and_taken_over(
    alone: dict[str, float], trained: Evaluation, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, owner = drawn(monkeypatch), threading.Thread(target=perform, args=(store, trained, CONTEXT), name="owner")
    with store.try_lock("segments", trained.segment_name(40)):
        owner.start()
        while {start for start, _ in calls} < {0, 80}:
            owner.join(0.01)
        owner.join(0.3)
        assert owner.is_alive() and 40 not in dict(calls)
        assert help_with(store, trained, CONTEXT).state == "done"  # finds nothing that is free, and leaves
    owner.join()
    assert calls[-1] == (40, "owner") and len(calls) == 3 and scores(store, trained) == alone


def test_two_at_once_draw_every_segment_once(
    alone: dict[str, float], trained: Evaluation, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = drawn(monkeypatch)
    helper = threading.Thread(target=help_with, args=(store, trained, CONTEXT))
    helper.start()
    assert perform(store, trained, CONTEXT).state == "done"
    helper.join()
    assert sorted(start for start, _ in calls) == [0, 40, 80] and scores(store, trained) == alone


def test_how_many_parts_nobody_has_begun(trained: Evaluation, store: Store) -> None:
    assert parts_left(store, trained) == 3
    with store.try_lock("segments", trained.segment_name(40)):
        assert parts_left(store, trained) == 2
        help_with(store, trained, CONTEXT)
        assert parts_left(store, trained) == 0
    assert parts_left(store, trained) == 1


def test_a_helper_that_fails_leaves_the_work_to_its_owner(
    trained: Evaluation, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patch:
        patch.setattr(draw, "_generate", fails)
        outcome = help_with(store, trained, CONTEXT)
    assert outcome.failure is not None and outcome.failure.kind == "device"
    assert perform(store, trained, CONTEXT).state == "done"


def test_out_of_memory_draws_fewer_at_once_and_the_same_images(
    alone: dict[str, float], trained: Evaluation, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []

    def with_little_memory(model, config, start, stop, batch_size, guide=None):
        batches.append((start, batch_size))
        if batch_size > 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield from generate(model, config, start, stop, batch_size, guide=guide)

    monkeypatch.setattr(draw, "generate", with_little_memory)
    assert perform(store, trained, CONTEXT).state == "done"
    assert batches == [(0, 40), (0, 20), (0, 10), (40, 10), (80, 10)]
    assert scores(store, trained) == pytest.approx(alone, rel=1e-6)  # kernels of another size round differently
    assert (
        "out of memory: from now on, 10 images are drawn at a time"
        in (store.folder("evaluations", trained.signature) / LOG).read_text()
    )


def test_where_not_even_one_image_fits_it_fails_for_want_of_memory(
    trained: Evaluation, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(draw, "generate", never)
    outcome = perform(store, trained, CONTEXT)
    assert outcome.failure is not None and outcome.failure.kind == "memory"
