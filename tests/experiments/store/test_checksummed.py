"""Sealed files: whole, or set aside and redone."""

from pathlib import Path

import pytest
import torch

from experiments.store import checksummed as sealed
from experiments.store.checksummed import find_checksummed, is_whole, load_checksummed, write_checksummed
from experiments.store.store import Store


def test_a_sealed_file_replaces_the_one_before(tmp_path: Path) -> None:
    first = write_checksummed(tmp_path, "x", {"a": torch.zeros(3)})
    second = write_checksummed(tmp_path, "x", {"a": torch.ones(3)})
    assert first != second and find_checksummed(tmp_path, "x") == second and list(tmp_path.iterdir()) == [second]
    loaded = load_checksummed(tmp_path, "x")
    assert loaded is not None and loaded["a"].sum() == 3
    assert load_checksummed(tmp_path, "y") is None


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"\x01"])
def test_a_damaged_sealed_file_is_set_aside(tmp_path: Path, damage) -> None:
    store = Store(tmp_path)
    folder = store.folder("drawings", "abc") / "space"
    path = write_checksummed(folder, "x", {"a": torch.zeros(3)})
    content = damage(path.read_bytes())
    path.write_bytes(content)
    assert load_checksummed(folder, "x") is None and not path.exists()
    assert (tmp_path / "damaged/drawings/abc/1/space" / path.name).read_bytes() == content
    assert store.damages_since(0)[0][0].files == (f"space/{path.name}",)
    assert write_checksummed(folder, "x", {"a": torch.zeros(3)}) == path and is_whole(path)


def test_outside_of_a_store_it_is_dropped(tmp_path: Path) -> None:
    path = write_checksummed(tmp_path, "x", {"a": torch.zeros(3)})
    path.write_bytes(b"")
    assert not is_whole(path) and not path.exists() and not is_whole(path)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(_tensors: object, path: Path, _metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed, "save_tensors", save)
    with pytest.raises(OSError, match="No space"):
        write_checksummed(tmp_path, "x", {"a": torch.zeros(3)})
    assert not list(tmp_path.iterdir())
