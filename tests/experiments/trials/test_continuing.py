"""A training that begins where a shorter one ended is the training that began at the start, to the last bit."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.store.journal import Journal
from experiments.store.layout import BEGUN_WITH, CHECKPOINTS
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep import kept_states
from experiments.sweep.shorter import Shorter
from experiments.sweep.tasks import Training
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from tests.trainings import CONTEXT, StopAfter, copy_of, log_of, losses, small_training, weights

pytestmark = pytest.mark.usefixtures("few_statistics")

WAYS = {
    "the study's": (),
    "with all that is drawn at random": (
        "training.flip=true",
        "training.augment=0.2",
        "model.dropout=0.2",
        "training.stratified=true",
    ),
    "EDM2's": (
        "training.loss=uncertainty",
        "training.lr_schedule=inverse_sqrt",
        "training.lr_decay_kimg=0.3",
        "training.warmup_kimg=0.4",
        "model.norm=group",
    ),
    "by AdamW, in parts": ("training.optimizer=adamw", "training.micro_batch=8", "training.clip_norm=1"),
    "without an average": ("training.ema_halflife_kimg=0", "training.weighting=min_snr"),
}


def of_length(folder: Path, kimg: float, *overrides: str) -> Training:
    return small_training(folder, f"training.kimg={kimg}", *overrides)


def passing(short: Training, longer: Training) -> TrialContext:
    """What a run tells its trials of two trainings."""
    return replace(CONTEXT, shorter={longer.signature: (Shorter(short.signature, short.config.num_steps),)})


def both(folder: Path, *overrides: str) -> tuple[Training, Training, TrialContext]:
    short, longer = of_length(folder, 0.32, *overrides), of_length(folder, 0.64, *overrides)
    return short, longer, passing(short, longer)


def result_of(store: Store, training: Training) -> TrainingResult:
    result = store.result(TrainingResult, training.signature)
    assert result is not None
    return result


@pytest.fixture(scope="module")
def whole(digits: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that has the longer training of `both`, from the start."""
    folder = tmp_path_factory.mktemp("whole")
    return from_the_start(of_length(folder, 0.64), digits, folder)


def from_the_start(training: Training, digits: Store, folder: Path) -> Store:
    whole = copy_of(digits, folder / "whole")
    assert perform(whole, training, CONTEXT).state == "done"
    assert "from step 0" in log_of(whole, training)
    return whole


def assert_same(store: Store, longer: Training, whole: Store) -> None:
    """The finished training in a store is what the same training made from the start."""
    found, expected = weights(store, longer), weights(whole, longer)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    one, other = result_of(store, longer), result_of(whole, longer)
    assert (one.loss, one.val_loss, one.kimg, one.code) == (other.loss, other.val_loss, other.kimg, other.code)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_training_from_the_start(digits: Store, tmp_path: Path, way: str) -> None:
    store, (short, longer, context) = copy_of(digits, tmp_path / "store"), both(tmp_path, *WAYS[way])
    for training in (short, longer):
        assert perform(store, training, context).state == "done"
    assert f"begins where the training {short.signature} of 0.32 kimg ended" in log_of(store, longer)
    assert "from step 10" in log_of(store, longer)
    assert_same(store, longer, from_the_start(longer, digits, tmp_path))
    made, before = result_of(store, longer), result_of(store, short)
    assert made.continues == short.signature and before.continues is None
    assert made.seconds > before.seconds - 2, "the seconds of the shorter one are among its own"


def test_its_curves_and_pictures_begin_with_those_of_the_shorter_one(digits: Store, tmp_path: Path) -> None:
    store, (short, longer, context) = copy_of(digits, tmp_path / "store"), both(tmp_path)
    for training in (short, longer):
        assert perform(store, training, context).state == "done"
    assert losses(store, longer)[: len(losses(store, short))] == losses(store, short)
    folder, before = store.folder_of(longer), store.folder_of(short)
    steps = [line["step"] for line in Journal(folder / "validation.jsonl").read()]
    assert steps == sorted(set(steps)) and {10, 20} <= set(steps)
    pictures, shorter = ({path.name for path in (place / "samples").iterdir()} for place in (folder, before))
    assert shorter < pictures


# interruptions --------------------------------------------------------------------------------------


def test_it_resumes_from_its_own_checkpoint_once_it_has_one(digits: Store, whole: Store, tmp_path: Path) -> None:
    store, (short, longer, context) = copy_of(digits, tmp_path / "store"), both(tmp_path)
    assert perform(store, short, context).state == "done"
    stopping = StopAfter(store.root)
    stopping.looks = 4
    assert perform(stopping, longer, replace(context, report_s=0.0)).state == "interrupted"
    shutil.rmtree(store.folder_of(short))
    assert perform(store, longer, context).state == "done"
    starts = [line.rpartition("from step ")[2] for line in log_of(store, longer).splitlines() if "from step" in line]
    assert starts[0] == "10" and 10 < int(starts[1]) < 20
    assert result_of(store, longer).continues == short.signature
    assert_same(store, longer, whole)


def test_one_that_lost_its_checkpoints_does_not_say_that_it_continues(
    digits: Store, whole: Store, tmp_path: Path
) -> None:
    store, (short, longer, context) = copy_of(digits, tmp_path / "store"), both(tmp_path)
    assert perform(store, short, context).state == "done"
    stopping = StopAfter(store.root)
    stopping.looks = 1
    assert perform(stopping, longer, replace(context, report_s=0.0)).state == "interrupted"
    for checkpoint in (store.folder_of(longer) / CHECKPOINTS).iterdir():
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    shutil.rmtree(store.folder_of(short))
    assert perform(store, longer, context).state == "done"
    assert result_of(store, longer).continues is None
    assert_same(store, longer, whole)


# what cannot be used --------------------------------------------------------------------------------


def without_state(store: Store, short: Training, _: pytest.MonkeyPatch) -> None:
    shutil.rmtree(store.folder_of(short) / CHECKPOINTS)


def with_damage(store: Store, short: Training, _: pytest.MonkeyPatch) -> None:
    (state,) = (store.folder_of(short) / CHECKPOINTS).iterdir()
    content = bytearray(state.read_bytes())
    content[len(content) // 2] ^= 1
    state.write_bytes(content)


def without_result(store: Store, short: Training, _: pytest.MonkeyPatch) -> None:
    (store.folder_of(short) / "result.json").unlink()


def by_other_code(store: Store, short: Training, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(kept_states, "outdated_parts", lambda code: {"network": ("then", "now")} if code else {})


def with_fewer_at_once(store: Store, short: Training, _: pytest.MonkeyPatch) -> None:
    """As a GPU's memory may have asked for: batch norm saw fewer images."""
    result = result_of(store, short)
    assert result.computing is not None
    computing = replace(result.computing, micro_batch=8)
    store.finish(short.signature, replace(result, computing=computing), result.files)


@pytest.mark.parametrize(
    "spoil", [without_state, with_damage, without_result, by_other_code, with_fewer_at_once], ids=lambda f: f.__name__
)
def test_a_state_that_cannot_be_used_is_passed_over(
    digits: Store, whole: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil
) -> None:
    store, (short, longer, context) = copy_of(digits, tmp_path / "store"), both(tmp_path)
    assert perform(store, short, context).state == "done"
    spoil(store, short, monkeypatch)
    assert perform(store, longer, context).state == "done"
    assert "from step 0" in log_of(store, longer) and "begins where" not in log_of(store, longer)
    assert result_of(store, longer).continues is None
    assert_same(store, longer, whole)


@pytest.mark.parametrize("name", ["journal.jsonl", "validation.jsonl"])
def test_a_curve_that_somebody_deleted_is_no_obstacle(digits: Store, whole: Store, tmp_path: Path, name: str) -> None:
    store, (short, longer, context) = copy_of(digits, tmp_path / "store"), both(tmp_path)
    assert perform(store, short, context).state == "done"
    (store.folder_of(short) / name).unlink()
    assert perform(store, longer, context).state == "done"
    assert result_of(store, longer).continues == short.signature
    assert_same(store, longer, whole)


def test_the_next_shorter_one_takes_the_place_of_one_that_cannot_be_used(digits: Store, tmp_path: Path) -> None:
    store = copy_of(digits, tmp_path / "store")
    shortest, short, longer = (of_length(tmp_path, kimg) for kimg in (0.16, 0.32, 0.64))
    passed = tuple(Shorter(each.signature, each.config.num_steps) for each in (short, shortest))
    context = replace(CONTEXT, shorter={longer.signature: passed})
    assert perform(store, shortest, context).state == perform(store, longer, context).state == "done"
    assert result_of(store, longer).continues == shortest.signature and "from step 5" in log_of(store, longer)


def test_without_keep_state_nothing_stays(digits: Store, tmp_path: Path) -> None:
    store = copy_of(digits, tmp_path / "store")
    kept, dropped = of_length(tmp_path, 0.32), of_length(tmp_path, 0.64, "training.keep_state=false")
    for training in (kept, dropped):
        assert perform(store, training, CONTEXT).state == "done"
    assert [path.name[:10] for path in (store.folder_of(kept) / CHECKPOINTS).iterdir()] == ["0000000010"]
    assert not {CHECKPOINTS, BEGUN_WITH} & {path.name for path in store.folder_of(dropped).iterdir()}
