"""The store: whole files or none, checksums, work done once."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edm.checksums import sha256_of
from experiments.errors import UserError
from experiments.store import leases, result_files
from experiments.store.damage import DamagedFile, set_aside_file
from experiments.store.fencing import require_held
from experiments.store.files import read_json, replacing, write_bytes, write_json, write_soon
from experiments.store.journal import Journal
from experiments.store.layout import JOURNAL, StoreKind
from experiments.store.leases import Held, LeaseLost
from experiments.store.processes import temporary_suffix
from experiments.store.results import BaselineRecord, Provenance, SolutionRecord, TrainingResult
from experiments.store.store import Store
from tests.results import training_result

SIGNATURE = "0123456789abcdef0123"


class Task(NamedTuple):
    signature: str
    store_kind: StoreKind


def finished(root: Path, **files: bytes) -> Store:
    """A store with one finished training."""
    store = Store(root).create()
    with store.lock("trainings", SIGNATURE) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        store.finish(SIGNATURE, training_result(), files)
    return store


def flip(path: Path, place: int) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_work_is_done_when_its_result_is_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("trainings", SIGNATURE) as folder:
        (folder / "a.bin").write_bytes(b"content")
        assert store.result(TrainingResult, SIGNATURE) is None
        store.finish(SIGNATURE, training_result(), ["a.bin"])
    result = store.result(TrainingResult, SIGNATURE)
    assert result is not None and result.loss == 0.5
    assert store.checked("trainings", SIGNATURE, "a.bin").read_bytes() == b"content"


def test_tasks_of_which_there_is_anything(tmp_path: Path) -> None:
    begun, other = Task("a" * 20, "trainings"), Task("b" * 20, "trainings")
    store = Store(tmp_path)
    assert store.begun([begun, other]) == [] and store.signatures("trainings") == []
    store.folder("trainings", begun.signature).mkdir(parents=True)
    store.folder("evaluations", other.signature).mkdir(parents=True)
    assert store.begun([other, begun]) == [begun] and store.signatures("trainings") == [begun.signature]


# damage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"cOntent", b"conten", b"", None])
def test_a_damaged_file_is_named_and_set_aside_and_its_work_undone(tmp_path: Path, damage: bytes | None) -> None:
    store = finished(tmp_path, a=b"content", b=b"other")
    path = store.folder("trainings", SIGNATURE) / "a"
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(DamagedFile, match=rf"{path}: is damaged .* it was set aside .* run again to redo it"):
        store.checked("trainings", SIGNATURE, "a")
    assert store.result(TrainingResult, SIGNATURE) is None and not path.exists()
    assert (path.parent / "b").read_bytes() == b"other"
    aside = tmp_path / "damaged" / "trainings" / SIGNATURE / "1"
    assert damage is None or (aside / "a").read_bytes() == damage
    assert (aside / "result.json").exists()


def test_what_was_set_aside_can_be_read_from_where_one_stopped(tmp_path: Path) -> None:
    store = finished(tmp_path, a=b"content")
    assert store.damages_since(0) == ([], 0)
    store.set_aside("trainings", SIGNATURE, ["a"], "a: rotten")
    (line,), offset = store.damages_since(0)
    assert line.kind == "trainings" and line.signature == SIGNATURE and "rotten" in line.why
    assert set(line.files) == {"a", "result.json"}
    store.set_aside("trainings", SIGNATURE, ["a"], "again")
    assert store.damages_since(offset) == ([], offset), "what another process has set aside is there once"


def test_the_same_work_can_be_set_aside_again(tmp_path: Path) -> None:
    for number in ("1", "2"):
        store = finished(tmp_path, a=b"content")
        store.set_aside("trainings", SIGNATURE, ["a"], "a: rotten")
        assert {p.name for p in (tmp_path / "damaged/trainings" / SIGNATURE / number).iterdir()} == {"a", "result.json"}


def test_a_damaged_file_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DamagedFile("x: is damaged")))
    assert type(error) is DamagedFile and str(error) == "x: is damaged"


def test_any_flipped_bit_of_a_result_is_noticed(tmp_path: Path) -> None:
    store = finished(tmp_path, a=b"content")
    path = store.folder("trainings", SIGNATURE) / "result.json"
    content, expected = path.read_bytes(), store.result(TrainingResult, SIGNATURE)
    for place in range(len(content)):
        path.write_bytes(content)
        flip(path, place)
        assert store.result(TrainingResult, SIGNATURE) in (None, expected)  # a flipped space changes nothing
        assert path.exists() == (store.result(TrainingResult, SIGNATURE) is not None)


@pytest.mark.parametrize("content", [b"", b'{"loss": 0.', b"[]", b"null", b"\xff\xff", b"\0" * 100])
def test_a_result_that_cannot_be_read_is_set_aside(tmp_path: Path, content: bytes) -> None:
    store = finished(tmp_path, a=b"content")
    path = store.folder("trainings", SIGNATURE) / "result.json"
    path.write_bytes(content)
    assert store.result(TrainingResult, SIGNATURE) is None and not path.exists()
    assert (tmp_path / "damaged/trainings" / SIGNATURE / "1" / "result.json").read_bytes() == content
    with pytest.raises(DamagedFile, match="run again to redo it"):
        store.checked("trainings", SIGNATURE, "a")


def test_a_result_from_before_there_were_checksums_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.folder("trainings", SIGNATURE).mkdir(parents=True)
    content = training_result(loss=0.25).to_json()
    write_json(store.folder("trainings", SIGNATURE) / "result.json", content)
    assert store.result(TrainingResult, SIGNATURE) == training_result(loss=0.25)
    assert store.sound("trainings", SIGNATURE)


def test_a_result_survives_whatever_json_makes_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.folder("scales", SIGNATURE).mkdir(parents=True)
    made = BaselineRecord(metrics={"b": float("inf"), "a": 1.0, "\u00e9": 0.1}, provenance=Provenance(tags={"x": "y"}))
    store.finish(SIGNATURE, made)
    found = store.result(BaselineRecord, SIGNATURE)
    assert found is not None and found == made and list(found.metrics) == ["b", "a", "\u00e9"]


def test_a_finished_piece_is_sound_until_it_is_touched(tmp_path: Path) -> None:
    store = finished(tmp_path, a=b"content")
    assert not store.sound("trainings", "f" * 20)
    assert store.sound("trainings", SIGNATURE)
    path = store.folder("trainings", SIGNATURE) / "a"
    flip(path, 3)
    os.utime(path, (time.time() + 60, time.time() + 60))
    assert not store.sound("trainings", SIGNATURE)
    assert store.result(TrainingResult, SIGNATURE) is None and not path.exists()


def test_a_missing_file_is_not_sound(tmp_path: Path) -> None:
    store = finished(tmp_path, a=b"content")
    (store.folder("trainings", SIGNATURE) / "a").unlink()
    assert not store.sound("trainings", SIGNATURE)
    assert "missing" in store.damages_since(0)[0][0].why


@pytest.mark.parametrize("change", ["drops a file", "makes it again"])
def test_what_another_process_changes_at_the_same_time_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """One process reads a result, another one writes a new one, and then the first looks at files of the old one."""
    store, other = finished(tmp_path, a=b"stays", b=b"is needed"), Store(tmp_path)
    changes: list[str] = []

    def look_too_late(path: Path, expected: str) -> str | None:
        if not changes:
            changes.append(change)
            with other.lock("trainings", SIGNATURE) as folder:
                if change == "drops a file":
                    other.disown("trainings", SIGNATURE, ["b"])
                    (folder / "b").unlink()
                else:
                    write_bytes(folder / "a", b"differs")
                    other.finish(SIGNATURE, training_result(), ["a", "b"])
        return result_files.file_fault(path, expected)

    monkeypatch.setattr("experiments.store.store.file_fault", look_too_late)
    if change == "drops a file":
        assert store.verified(TrainingResult, SIGNATURE) is not None
    else:
        assert store.checked("trainings", SIGNATURE, "a").read_bytes() == b"differs"
    assert changes and not store.was_damaged("trainings", SIGNATURE) and store.has_result("trainings", SIGNATURE)


def test_files_with_a_later_time_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = finished(tmp_path, a=b"content"), []
    folder = store.folder("trainings", SIGNATURE)
    os.utime(folder / "result.json", (1e9, 1e9))  # as in a store that was copied
    monkeypatch.setattr(result_files, "checksum", lambda path: read.append(path) or sha256_of(path))
    assert store.sound("trainings", SIGNATURE) and read == [folder / "a"]
    assert store.sound("trainings", SIGNATURE) and read == [folder / "a"]


def journal_of(folder: Path) -> list[int]:
    return [line["step"] for line in Journal(folder / JOURNAL).read()]


@pytest.mark.parametrize("noticed", ["sound", "checked", "verified"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_curves_are_mended_and_no_training_is_undone(tmp_path: Path, damage: str, noticed: str) -> None:
    store = Store(tmp_path)
    with store.lock("trainings", SIGNATURE) as folder:
        path = folder / JOURNAL
        for step in range(3):
            Journal(path).append({"step": step})
        store.finish(SIGNATURE, training_result(), [JOURNAL])
    if damage == "flip":
        flip(path, path.read_bytes().index(b'{"step": 1'))
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    else:
        path.unlink()
    if path.exists():
        os.utime(path, (time.time() + 60, time.time() + 60))
    if noticed == "checked":
        assert store.checked("trainings", SIGNATURE, JOURNAL)
    elif noticed == "sound":
        assert store.sound("trainings", SIGNATURE)
    else:
        assert store.verified(TrainingResult, SIGNATURE)
    result = store.result(TrainingResult, SIGNATURE)
    assert result is not None and result.loss == 0.5
    assert journal_of(folder) == {"flip": [0, 2], "cut": [0, 1], "remove": []}[damage]
    assert store.checked("trainings", SIGNATURE, JOURNAL) == path
    assert len(store.damages_since(0)[0]) == 1


def test_what_is_damaged_is_built_again_by_who_needs_it(tmp_path: Path) -> None:
    store, built = Store(tmp_path), []

    def build(folder: Path) -> SolutionRecord:
        assert not (folder / "b").exists()
        for name in ("a", "b"):
            (folder / name).write_bytes(name.encode())
        built.append(1)
        return SolutionRecord()

    for _ in range(2):
        result = store.ensure(SolutionRecord, SIGNATURE, build, ["a", "b"])
    assert len(built) == 1
    (store.folder("exact", SIGNATURE) / "a").write_bytes(b"rotten")
    assert store.ensure(SolutionRecord, SIGNATURE, build, ["a", "b"]) == result and len(built) == 2
    assert store.checked("exact", SIGNATURE, "a").read_bytes() == b"a"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="may not change a file's flags")
def test_a_store_that_cannot_be_written_can_be_read_with_its_damage(tmp_path: Path) -> None:
    store = finished(tmp_path / "store", a=b"content")
    flip(store.folder("trainings", SIGNATURE) / "result.json", 5)
    mount = ["mount", "--bind", "-o", "ro", str(store.root), str(store.root)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is refused")
    try:
        assert store.result(TrainingResult, SIGNATURE) is None and not (store.root / "damaged").exists()
    finally:
        subprocess.run(["umount", str(store.root)], check=True)


def test_a_file_that_vouches_for_itself_is_set_aside_alone(tmp_path: Path) -> None:
    store = finished(tmp_path / "data" / "runs", a=b"content")  # a parent may be called like a kind
    path = store.folder("trainings", SIGNATURE) / "kept" / "x-0.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"rotten")
    set_aside_file(path, "wrong")
    assert not path.exists() and store.result(TrainingResult, SIGNATURE) is not None
    assert (store.root / "damaged/trainings" / SIGNATURE / "1/kept/x-0.safetensors").read_bytes() == b"rotten"
    (line,), _ = store.damages_since(0)
    assert line.files == ("kept/x-0.safetensors",)


# writing ------------------------------------------------------------------------------------------


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
    with pytest.raises(UserError, match=r"the store cannot be written \(Not a directory\); choose another with --sto"):
        Store(tmp_path / "file" / "store").create()


def test_a_journal_ignores_a_torn_line_and_can_be_cut(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    assert journal.read() == []
    for step in range(4):
        journal.append({"step": step})
    with journal.path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [line["step"] for line in journal.read()] == [0, 1, 2, 3]
    journal.keep_rising(below=2)
    assert [line["step"] for line in journal.read()] == [0, 1]
    journal.append({"step": 2})
    assert [line["step"] for line in journal.read()] == [0, 1, 2]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_after_a_torn_one_begins_anew(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for step in range(3):
        journal.append({"step": step})
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    _, offset = journal.read_from(0)
    journal.append({"step": 3})
    assert [line["step"] for line in journal.read()] == ([0, 1, 2, 3] if cut == 1 else [0, 1, 3])
    assert journal.read_from(offset)[0][-1] == {"step": 3}


def test_a_flipped_bit_anywhere_in_a_journal_costs_no_more_than_its_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    lines = [{"step": step, "loss": step / 3, "by": {"0.1": [1, 2.5]}} for step in range(3)]
    for line in lines:
        journal.append(line)
    content = journal.path.read_bytes()
    for place in range(len(content)):
        journal.path.write_bytes(content)
        flip(journal.path, place)
        found = journal.read()
        assert all(line in lines for line in found) and len(found) >= 1


def test_lines_from_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.path.write_text('{"step": 0}\nnot json\n7\n{"step": 1}\n')
    journal.append({"step": 2})
    assert [line["step"] for line in journal.read()] == [0, 1, 2]


def test_what_is_of_no_use_reads_as_nothing(tmp_path: Path) -> None:
    for content in (b"", b"{", b"[1]", b"\xff"):
        (tmp_path / "progress.json").write_bytes(content)
        assert read_json(tmp_path / "progress.json") is None
    assert read_json(tmp_path / "none") is None and read_json(tmp_path / "progress.json" / "none") is None


# a full disk --------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is refused")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no room at all."""
    filler = place / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("ab", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return filler


def test_nothing_half_written_stays_on_a_full_disk(small_disk: Path) -> None:
    store = finished(small_disk, a=b"content")
    folder = store.folder("trainings", SIGNATURE)
    filler, before = fill(small_disk), sorted(small_disk.rglob("*"))
    assert store.free_bytes() == 0
    for write in (
        lambda: write_json(folder / "new.json", {"x": "y" * 9000}),
        lambda: write_soon(folder / "progress.json", {"x": 1}),
        lambda: write_bytes(folder / "a", b"z" * 9000),
        lambda: store.finish(SIGNATURE, training_result(loss=1.0), ["a"]),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
        assert sorted(small_disk.rglob("*")) == sorted({*before, filler})
    assert store.checked("trainings", SIGNATURE, "a").read_bytes() == b"content"
    filler.unlink()
    write_json(folder / "new.json", {"x": 1})
    assert store.free_bytes() > 100_000


def test_a_journal_on_a_full_disk_keeps_whole_lines_and_goes_on_later(small_disk: Path) -> None:
    journal = Journal(small_disk / JOURNAL)
    journal.append({"step": 0})
    filler = fill(small_disk)
    with pytest.raises(OSError, match=r"No space left .*journal\.jsonl"):
        for step in range(1, 1000):
            journal.append({"step": step, "text": "x" * 50})
    kept = journal.read()
    assert [line["step"] for line in kept] == list(range(len(kept))) and journal.path.read_bytes().endswith(b"}\n")
    filler.unlink()
    journal.append({"step": -1})
    assert journal.read() == [*kept, {"step": -1}]


def test_a_lease_is_kept_and_given_back_on_a_full_disk(small_disk: Path) -> None:
    store = Store(small_disk)
    with store.lock("trainings", SIGNATURE) as folder:
        fill(small_disk)
        lease = leases.own(folder)
        assert lease is not None
        before = lease.path.read_bytes()
        lease.beat()
        assert not lease.lost and lease.path.read_bytes() != before
        with pytest.raises(OSError, match="No space left"), store.try_lock("data", "f" * 20):
            pass
        assert not list(small_disk.rglob(".*.part"))
    assert store.holder("trainings", SIGNATURE) is None


WRITE_TOO_MUCH = """
import resource, sys
from pathlib import Path
from experiments.store.files import write_bytes
from experiments.store.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Path(sys.argv[1])
try:
    for step in range(1000):
        Journal(folder / "journal.jsonl").append({"step": step})
except OSError as error:
    print(error.errno)
try:
    write_bytes(folder / "file", b"x" * 2000)
except OSError as error:
    print(error.errno)
"""


def test_a_limit_on_the_size_of_files_leaves_whole_lines_and_whole_files(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WRITE_TOO_MUCH, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["27", "27"]
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]
    content = (tmp_path / JOURNAL).read_bytes()
    assert content.endswith(b"}\n") and len(Journal(tmp_path / JOURNAL).read()) == content.count(b"\n") > 20


# one holder at a time -----------------------------------------------------------------------------


def build_slowly(root: Path) -> None:
    def build(folder: Path) -> SolutionRecord:
        with (root / "built").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        (folder / "a.bin").write_bytes(b"content")
        return SolutionRecord()

    Store(root).ensure(SolutionRecord, SIGNATURE, build, ["a.bin"])


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
        (folder / f".half{temporary_suffix()}").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.faults
def test_a_lock_dies_with_its_holder_and_its_half_written_files_go(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    with Store(tmp_path).lock("data", SIGNATURE) as folder:
        assert not list(folder.glob(".*.part"))


def test_half_written_files_of_those_who_may_live_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folder = store.folder("drawings", SIGNATURE) / "space"
    folder.mkdir(parents=True)
    mine, theirs, ancient = (
        folder / f".x{ending}" for ending in (temporary_suffix(), ".00000000-1-1-1.part", ".00000000-1-1-2.part")
    )
    for path in (mine, theirs, ancient):
        path.write_text("half")
    os.utime(ancient, (time.time() - 7200, time.time() - 7200))
    with store.lock("drawings", SIGNATURE):
        assert mine.exists() and theirs.exists() and not ancient.exists()


def test_who_does_not_wait_is_told_who_holds_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.try_lock("segments", SIGNATURE) as folder:
        assert folder == store.folder("segments", SIGNATURE)
        holder = store.holder("segments", SIGNATURE)
        assert holder is not None and holder.pid == os.getpid()
        with pytest.raises(Held, match=f"process {os.getpid()}"), store.try_lock("segments", SIGNATURE):
            pass
        store.forget("segments", SIGNATURE)
        assert folder.exists()
    store.forget("segments", SIGNATURE)
    assert not folder.exists() and store.holder("segments", SIGNATURE) is None


def test_who_has_lost_a_folder_writes_no_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("trainings", SIGNATURE) as folder:
        lease = leases.own(folder)
        assert lease is not None
        (folder / "a").write_text("theirs")
        (folder / ".lease-000009").write_bytes(lease.path.read_bytes())
        with pytest.raises(LeaseLost):
            store.finish(SIGNATURE, training_result(), ["a"])
        with pytest.raises(LeaseLost):
            require_held(folder)
    assert store.result(TrainingResult, SIGNATURE) is None


def test_a_failed_build_leaves_no_result(tmp_path: Path) -> None:
    def build(folder: Path) -> SolutionRecord:
        (folder / "a.bin").write_bytes(b"half")
        raise RuntimeError("no")

    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.ensure(SolutionRecord, SIGNATURE, build, ["a.bin"])
    assert store.result(SolutionRecord, SIGNATURE) is None


def test_a_request_to_stop_is_seen_until_the_run_ends(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.stop_requested("s")
    store.request_stop("s")
    assert store.stop_requested("s") and not store.stop_requested("other")
    store.end_run("s")
    assert not store.stop_requested("s")


def test_a_run_is_asked_to_leave_one_piece_of_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.cancelled("s") == set()
    store.request_stop("s", "1234")
    assert store.stop_requested("s", "1234")
    assert not store.stop_requested("s", "123") and not store.stop_requested("s")
    assert not store.stop_requested("other", "1234")
    assert store.cancelled("s") == {"1234"}


def test_room_is_known_before_the_store_is_there(tmp_path: Path) -> None:
    assert Store(tmp_path / "a" / "b").free_bytes() > 0 and not (tmp_path / "a").exists()


def test_other_files_among_results_are_passed_over(store: Store) -> None:
    for name in ("0123456789", ".DS_Store", "copy of 0123456789"):
        (store.root / "trainings" / name).mkdir(parents=True)
    assert store.signatures("trainings") == ["0123456789"]
