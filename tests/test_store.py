"""The store: whole files or none, checksums, work done once."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.store import DamagedFile, Journal, Store, read_json, replacing, write_json

SIGNATURE = "0123456789abcdef0123"


def test_work_is_done_when_its_result_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("trainings", SIGNATURE) as folder:
        (folder / "a.bin").write_bytes(b"content")
        assert store.result("trainings", SIGNATURE) is None
        store.finish("trainings", SIGNATURE, {"loss": 0.5}, ["a.bin"])
    result = store.result("trainings", SIGNATURE)
    assert result is not None and result["loss"] == 0.5
    assert store.checked("trainings", SIGNATURE, "a.bin").read_bytes() == b"content"


@pytest.mark.parametrize("damage", [b"cOntent", b"conten", b""])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, damage: bytes) -> None:
    store = Store(tmp_path)
    with store.lock("trainings", SIGNATURE) as folder:
        (folder / "a.bin").write_bytes(b"content")
        store.finish("trainings", SIGNATURE, {}, ["a.bin"])
    (folder / "a.bin").write_bytes(damage)
    with pytest.raises(DamagedFile, match=rf"{folder / 'a.bin'}: is damaged .* delete the folder"):
        store.checked("trainings", SIGNATURE, "a.bin")
    (folder / "a.bin").unlink()
    with pytest.raises(DamagedFile, match="unreadable"):
        store.checked("trainings", SIGNATURE, "a.bin")


def test_a_result_that_is_not_json_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.folder("trainings", SIGNATURE)
    folder.mkdir(parents=True)
    (folder / "result.json").write_text('{"loss": 0.')
    with pytest.raises(DamagedFile, match="cannot be read"):
        store.result("trainings", SIGNATURE)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_store_that_cannot_be_written_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"the store cannot be written .* choose another with --store"):
        Store(tmp_path / "file" / "store").create()


def test_a_journal_ignores_a_torn_line_and_can_be_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.read() == []
    for step in range(4):
        journal.append({"step": step})
    with journal.path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in journal.read()] == [0, 1, 2, 3]
    journal.keep(lambda line: line["step"] <= 1)
    assert [line["step"] for line in journal.read()] == [0, 1]
    journal.append({"step": 2})
    assert [line["step"] for line in journal.read()] == [0, 1, 2]


def build_slowly(root: Path) -> None:
    def build(folder: Path) -> dict:
        with (root / "built").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        (folder / "a.bin").write_bytes(b"content")
        return {}

    Store(root).ensure("data", SIGNATURE, build, ["a.bin"])


def test_two_processes_that_want_the_same_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=build_slowly, args=(tmp_path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert (tmp_path / "built").read_text() == "x"


def hold_and_die(root: Path) -> None:
    with Store(root).lock("data", SIGNATURE) as folder:
        (folder / ".half.part").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.faults
def test_a_lock_dies_with_its_holder_and_its_half_written_files_go(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    with Store(tmp_path).lock("data", SIGNATURE) as folder:
        assert not list(folder.glob(".*.part"))


def test_a_failed_build_leaves_no_result(tmp_path: Path) -> None:
    def build(folder: Path) -> dict:
        (folder / "a.bin").write_bytes(b"half")
        raise RuntimeError("no")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.ensure("data", SIGNATURE, build, ["a.bin"])
    assert store.result("data", SIGNATURE) is None


def test_a_request_to_stop_is_seen_until_the_session_ends(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.stop_requested("s")
    store.request_stop("s")
    assert store.stop_requested("s") and not store.stop_requested("other")
    store.end_session("s")
    assert not store.stop_requested("s")
