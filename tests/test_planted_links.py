"""Nothing is written through a link that somebody left where a temporary file will be."""

import os
from pathlib import Path

import pytest
import torch

from edm import temporary
from edm.files import save_tensors
from experiments.store import files, processes
from reports import folder

PLANTED = "planted"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim.txt"
    path.write_text("mine")
    return path


def test_a_link_under_the_name_of_a_temporary_file_is_not_followed(victim: Path) -> None:
    link = victim.with_name(PLANTED)
    link.symlink_to(victim)
    with pytest.raises(FileExistsError):
        temporary.create(link)
    assert victim.read_text() == "mine"
    nowhere = victim.with_name("nowhere")
    nowhere.symlink_to(victim.with_name("absent"))
    with pytest.raises(FileExistsError):
        temporary.create(nowhere)
    assert not victim.with_name("absent").exists()


def test_the_store_takes_the_next_name_where_one_is_taken(victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suffixes = iter([".a.part", ".b.part", ".c.part"])
    monkeypatch.setattr(processes, "temporary_suffix", lambda: next(suffixes))
    target = victim.with_name("result.json")
    for name in (".result.json.a.part", ".result.json.b.part"):
        victim.with_name(name).symlink_to(victim)
    files.write_json(target, {"a": 1})
    assert victim.read_text() == "mine" and files.read_json(target) == {"a": 1} and not target.is_symlink()


def test_a_report_follows_no_link_beside_it(victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = victim.with_name("report.html")
    victim.with_name(".report.html.part").symlink_to(victim)
    folder._write(target, b"page")
    assert victim.read_text() == "mine" and target.read_text() == "page"
    monkeypatch.setattr(folder.secrets, "token_hex", lambda _: "known")
    victim.with_name(".report.html.known.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        folder._write(target, b"other")
    assert victim.read_text() == "mine" and target.read_text() == "page"


def test_a_link_in_the_place_of_a_report_is_replaced_and_not_followed(victim: Path) -> None:
    target = victim.with_name("report.html")
    target.symlink_to(victim)
    folder._write(target, b"page")
    assert victim.read_text() == "mine" and target.read_text() == "page" and not target.is_symlink()


def test_tensors_are_not_written_through_a_link(victim: Path) -> None:
    link = victim.with_name("model.safetensors")
    link.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        save_tensors({"a": torch.zeros(1)}, link)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_temporary_files_have_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = temporary.create_beside(tmp_path / "x")
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o777 == 0o666 & ~umask and made.name.endswith(".part")
