"""Checkpoints and journals in step with each other, and what a training that diverges leaves behind."""

import json
from pathlib import Path

import pytest
import torch

from edm.config import Extension, NetworkConfig, TrainingConfig
from edm.files import load_tensors
from edm.registry import Registration, register
from edm.train import TrainState
from experiments.store.checksummed import load_checksummed, write_checksummed
from experiments.trials.training.checkpoints import EXPLODED, CheckpointManager, DivergedError

NETWORK = NetworkConfig(1, 8, 3, 8, (1,), (0,), 0)
CONFIG = TrainingConfig(kimg=10.0, batch_size=10)  # 1,000 steps, a line every 5


def new_manager(folder: Path, config: TrainingConfig = CONFIG) -> CheckpointManager:
    folder.mkdir(exist_ok=True)
    return CheckpointManager(folder, TrainState(NETWORK, config, 0.5, 0, torch.device("cpu")))


def go_on(manager: CheckpointManager, losses: list[float]) -> None:
    """Take steps that have these losses."""
    for loss in losses:
        manager.state.step += 1
        manager.record_loss(torch.tensor(loss))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_nan_names_step_checkpoint_and_remedies(tmp_path, bad) -> None:
    manager = new_manager(tmp_path)
    go_on(manager, [1.0] * 10)
    manager.save()
    with pytest.raises(DivergedError) as raised:
        go_on(manager, [1.0, bad, 1.0, 1.0, 1.0])
    message = str(raised.value)
    assert "is not a finite number at step 12 (0.12 kimg)" in message
    [good] = (tmp_path / "checkpoints").iterdir()
    assert str(good) in message and good.name.startswith("0000000010-")
    assert "lower training.lr (it is 0.0001)" in message and "training.clip_norm: 1" in message


def test_no_checkpoint_is_written_once_a_loss_or_a_weight_is_no_number(tmp_path: Path) -> None:
    manager = new_manager(tmp_path)
    go_on(manager, [1.0, float("nan")])
    for save in (manager.save, manager.keep_checkpoint, manager.keep_snapshot):
        with pytest.raises(DivergedError, match="at step 2"):
            save()
    other = new_manager(tmp_path / "other")
    with torch.no_grad():
        next(other.state.denoiser.parameters())[0] = float("nan")
    with pytest.raises(DivergedError, match="the weights are not finite"):
        other.save()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_loss_that_explodes_stops_and_one_that_wavers_does_not(tmp_path: Path) -> None:
    wavering = new_manager(tmp_path / "a")
    go_on(wavering, [1.0] * 5 + [0.1] * 5 + [0.1 * EXPLODED * 0.9] * 5 + [0.05] * 5)
    exploding = new_manager(tmp_path / "b")
    with pytest.raises(DivergedError, match=r"rose to 3 from 0.1 at step 15"):
        go_on(exploding, [1.0] * 5 + [0.1] * 5 + [3.0] * 5)


def test_a_loss_of_ones_own_may_be_negative_and_is_named_as_it_explodes(tmp_path: Path) -> None:
    register(Registration("loss", "mine", lambda *given: given), "0")
    config = TrainingConfig(kimg=10.0, batch_size=10, loss=Extension("mine", "0", where="ideas.py, mine"))
    wavering = new_manager(tmp_path / "a", config)
    go_on(wavering, [-1.0] * 5 + [-0.5] * 5 + [3.0] * 5)
    with pytest.raises(DivergedError, match=r"rose to 30 from -1.*check mine \(ideas.py, mine\), or lower"):
        go_on(new_manager(tmp_path / "b", config), [-1.0] * 5 + [30.0] * 5)


def test_the_lowest_loss_is_known_after_resuming(tmp_path: Path) -> None:
    first = new_manager(tmp_path)
    go_on(first, [0.1] * 10)
    first.save()
    resumed = new_manager(tmp_path)
    assert resumed.state.step == 10 and resumed.lowest_loss == pytest.approx(0.1)
    with pytest.raises(DivergedError, match="rose to"):
        go_on(resumed, [3.0] * 5)


def test_a_line_after_a_shorter_training_is_the_mean_of_its_own_steps(tmp_path: Path) -> None:
    shorter = new_manager(
        tmp_path, TrainingConfig(kimg=5.03, batch_size=10)
    )  # a line every 3 steps, and of the last two
    go_on(shorter, [1.0] * 501 + [3.0, 5.0])
    shorter.save()
    longer = new_manager(tmp_path)
    go_on(longer, [0.2, 0.4])
    longer.save()
    go_on(new_manager(tmp_path), [0.5, 0.6, 0.7, 0.8, 0.9])
    lines = [(line["step"], pytest.approx(line["loss"])) for line in longer.journal.read()]
    assert lines[-4:] == [(501, 1.0), (503, 4.0), (505, 0.3), (510, 0.7)]


def test_a_line_cut_in_two_by_an_interruption_is_the_mean_of_all_steps(tmp_path: Path) -> None:
    first = new_manager(tmp_path)
    go_on(first, [1.0] * 5 + [0.1, 0.2])
    first.save()
    resumed = new_manager(tmp_path)
    go_on(resumed, [0.3, 0.4, 0.5])
    assert resumed.journal.read()[-1]["loss"] == pytest.approx(0.3)


def test_remedies_do_not_name_what_is_done_already(tmp_path: Path) -> None:
    config = TrainingConfig(kimg=10.0, batch_size=10, clip_norm=1.0, warmup_kimg=1.0, precision="bf16")
    with pytest.raises(DivergedError) as raised:
        go_on(new_manager(tmp_path, config), [float("nan")] * 5)
    message = str(raised.value)
    assert "clip_norm" not in message and "warmup" not in message and "training.precision: fp32" in message
    assert "there is no checkpoint yet" in message


def test_journals_lose_what_was_written_after_the_checkpoint(tmp_path: Path) -> None:
    first = new_manager(tmp_path)
    go_on(first, [1.0] * 10)
    first.record_validation({0.1: 0.5, 1.0: 0.7})
    first.save()
    go_on(first, [2.0] * 10)
    first.record_validation({0.1: 0.6, 1.0: 0.6})
    resumed = new_manager(tmp_path)
    assert [line["step"] for line in resumed.journal.read()] == [5, 10]
    [line] = resumed.validation.read()
    assert line["val_loss"] == pytest.approx(0.6) and line["levels"] == {"0.1": 0.5, "1": 0.7}


def test_two_checkpoints_stay_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    manager = new_manager(tmp_path)
    for _ in range(4):
        go_on(manager, [1.0] * 5)
        manager.save()
    older, newest = sorted((tmp_path / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    assert new_manager(tmp_path).state.step == 15
    assert older.exists() and not newest.exists()


@pytest.mark.parametrize("name", ["journal", "validation"])
@pytest.mark.parametrize("end", ["of a line", "within a line", "gone"])
def test_a_curve_that_was_cut_short_is_kept_aside_and_the_training_goes_on(tmp_path: Path, name: str, end: str) -> None:
    folder = tmp_path / "trainings" / "abc"
    folder.mkdir(parents=True)
    manager = new_manager(folder)
    for _ in range(4):
        go_on(manager, [1.0] * 5)
        manager.record_validation({0.1: 0.5})
    manager.save()
    path = folder / f"{name}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    spoilt = b"".join(lines[:2]) + (lines[2][:9] if end == "within a line" else b"")
    path.write_bytes(spoilt)
    if end == "gone":
        path.unlink()
    again = new_manager(folder)
    assert again.state.step == 20
    aside = [file.read_bytes() for file in (tmp_path / "damaged").rglob(path.name)]
    assert aside == ([] if end == "gone" else [spoilt])
    record = json.loads((tmp_path / "damaged" / "log.jsonl").read_text())
    assert record["files"] == [path.name] and record["why"] == f"{4 if end == 'gone' else 2} of its lines are missing"
    again.save()
    new_manager(folder)  # which is as it should be by now
    assert len((tmp_path / "damaged" / "log.jsonl").read_text().splitlines()) == 1


def test_writing_again_under_a_stem_replaces_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first = write_checksummed(folder, "a", {"x": torch.zeros(2)})
    second = write_checksummed(folder, "a", {"x": torch.ones(2)})
    assert list(folder.iterdir()) == [second] and first != second
    assert write_checksummed(folder, "a", {"x": torch.ones(2)}) == second
    assert torch.equal((load_checksummed(folder, "a") or {})["x"], torch.ones(2)) and "x" in load_tensors(second)


@pytest.mark.parametrize("damage", ["flip", "tear"])
def test_a_damaged_curve_line_is_set_aside_and_a_torn_last_one_is_not(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "trainings" / "abc"
    folder.mkdir(parents=True)
    manager = new_manager(folder)
    go_on(manager, [1.0] * 20)
    manager.save()
    path = folder / "journal.jsonl"
    content = path.read_bytes()
    spoilt = content.replace(b'"loss": 1.0', b'"loss": 3.0', 1) if damage == "flip" else content + b'{"step": 25, "lo'
    path.write_bytes(spoilt)
    again = new_manager(folder)
    aside = list((tmp_path / "damaged").rglob("journal.jsonl"))
    if damage == "flip":
        assert [line["step"] for line in again.journal.read()] == [10, 15, 20]
        assert [file.read_bytes() for file in aside] == [spoilt]
    else:
        assert path.read_bytes() == content and not aside
