"""What other processes remove while a folder is looked through is passed over."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.store import leases
from experiments.store.files import remove_abandoned
from experiments.store.folders import listed, listed_below
from experiments.store.layout import CHECKPOINTS
from experiments.store.training_records import saved_step


@pytest.fixture
def vanishing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let another process remove a folder just before this one lists it."""

    def vanish(folder: Path) -> None:
        def removed_before(list_entries: Callable[..., object]) -> Callable[..., object]:
            def look(path: str | Path | int = ".") -> object:
                if not isinstance(path, int) and Path(path) == folder and folder.exists():
                    shutil.rmtree(folder)
                return list_entries(path)

            return look

        monkeypatch.setattr(os, "scandir", removed_before(os.scandir))
        monkeypatch.setattr(os, "listdir", removed_before(os.listdir))

    return vanish


def test_names_are_matched_and_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", ".a.png", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in listed(tmp_path, "[!.]*.png")] == ["a.png", "b.png"]
    assert listed(tmp_path / "absent", "*") == listed(tmp_path / "c.txt", "*") == []


def test_files_and_folders_below_are_matched(tmp_path: Path) -> None:
    (tmp_path / "one" / ".two.part").mkdir(parents=True)
    (tmp_path / "one" / ".two.part" / ".three.part").touch()
    (tmp_path / "four").touch()
    assert {path.name for path in listed_below(tmp_path, ".*.part")} == {".two.part", ".three.part"}


def test_a_training_that_ends_removes_checkpoints_while_its_status_is_read(
    tmp_path: Path, vanishing: Callable[[Path], None]
) -> None:
    checkpoints = tmp_path / CHECKPOINTS
    checkpoints.mkdir()
    (checkpoints / f"0000000007-{'0' * 16}.safetensors").touch()
    assert saved_step(tmp_path) == 7
    vanishing(checkpoints)
    assert saved_step(tmp_path) is None


def test_a_helper_removes_what_it_built_while_the_task_is_taken(
    tmp_path: Path, vanishing: Callable[[Path], None]
) -> None:
    with leases.held(tmp_path / "drawings" / "one") as lease:
        built = lease.folder / "space" / ".building.part"
        built.mkdir(parents=True)
        vanishing(built)
        remove_abandoned(lease)
        assert not built.exists()
