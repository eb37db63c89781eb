"""Results as values: what each kind holds, and that stores of older versions read as they did.

`old_store` was written by the code of commit 56bf6b9: a run of two cells, a probe, published statistics, a pruned
training, and a line of damage; `expected.json` is what that code made of it.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.errors import UserError
from experiments.store import results
from experiments.store.damage import Damage
from experiments.store.files import write_json
from experiments.store.progress import RunProgressRecord, TaskProgress
from experiments.store.results import (
    BaselineRecord,
    ClassifierRecord,
    ComputingRecord,
    DatasetRecord,
    DrawingOrigins,
    EvaluationResult,
    ProbeResult,
    Provenance,
    ReferenceRecord,
    Result,
    SolutionRecord,
    TrainingResult,
)
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.tracking.provenance import provenance_of
from experiments.tracking.records import recall_plan
from tests.results import evaluation_result, probe_result, training_result

OLD = Path(__file__).parent / "old_store"
KINDS: tuple[type[Result], ...] = (
    *(DatasetRecord, ClassifierRecord, ReferenceRecord, BaselineRecord, SolutionRecord),
    *(TrainingResult, EvaluationResult, ProbeResult),
)
OLD_RESULTS = sorted(path for path in OLD.glob("*/*/result.json"))
TRAINING, HEUN = "a14fce8632d2e10175af", "9391861893f830b87615"
SIGNATURE = "0123456789abcdef0123"


@pytest.fixture
def old(tmp_path: Path) -> Store:
    """A copy of the old store."""
    shutil.copytree(OLD, tmp_path / "old")
    return Store(tmp_path / "old")


def put(store: Store, kind: str, content: dict[str, Any]) -> Path:
    """Write a result as JSON, without a checksum."""
    path = store.root / kind / SIGNATURE / "result.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    return path


# old stores ---------------------------------------------------------------------------------------


def test_the_old_store_has_a_result_of_every_kind() -> None:
    assert {path.parts[-3] for path in OLD_RESULTS} == {kind.kind for kind in KINDS}


@pytest.mark.parametrize("path", OLD_RESULTS, ids=lambda path: path.parts[-3])
def test_an_old_result_reads_and_would_be_written_again_byte_for_byte(path: Path, old: Store) -> None:
    (kind,) = (kind for kind in KINDS if kind.kind == path.parts[-3])
    found = old.finished(kind, path.parts[-2])
    old.folder(kind.kind, SIGNATURE).mkdir()
    old.finish(SIGNATURE, found)
    again = json.loads((old.folder(kind.kind, SIGNATURE) / "result.json").read_text())
    content = json.loads(path.read_text())
    without_files = {**content, "files": {}, "result_sha256": again["result_sha256"]}
    assert json.dumps(again) == json.dumps(without_files)
    assert found.files == content["files"]


def test_an_old_training_has_all_its_fields(old: Store) -> None:
    found = old.finished(TrainingResult, TRAINING)
    assert (found.kimg, found.device, found.gpus, found.threads, found.parameters) == (0.64, "cpu", 1, 1, 45185)
    assert found.computing == ComputingRecord("fp32", compiled=False, fused=True, micro_batch=None)
    assert found.loss == 0.8597009778022766 and found.work_s == found.seconds > 0
    assert list(found.files) == ["model.safetensors", "journal.jsonl", "validation.jsonl"]
    origin = found.provenance
    assert (origin.git_commit, origin.git_dirty, origin.git_diff) == ("5" * 40, True, "d" * 64)
    assert (origin.command, origin.tags, origin.host) == ("edm-sweep run old.yaml", {"paper": "x"}, "old-host")
    assert origin.packages["edm-sweep"] == "0.1.0" and origin.began == "2026-11-26T15:00:57Z"


def test_an_old_evaluation_has_all_its_fields(old: Store) -> None:
    found = old.finished(EvaluationResult, HEUN)
    assert found.metrics["fid_test"] == 19.885030139744096 and found.metrics["truncation_rms"] == 338.17121938704014
    assert found.scores == ("accuracy", "fid/test", "kid/test", "truncation") and len(found.notes) == 1
    assert [row["images"] for row in found.prefixes] == [120]
    assert (found.label, found.images, found.stopped_at, found.stopped_by) == (
        *("classifier features, 64-d", 120),
        *(None, None),
    )
    assert found.drawn.host == ("old-host",) and found.drawn.device == ("cpu",)
    assert found.work_s == found.seconds + found.scoring_seconds > found.seconds


def test_what_is_recorded_of_old_data_classifiers_and_probes_reads(old: Store) -> None:
    (data,) = (old.finished(DatasetRecord, path.name) for path in (old.root / "data").iterdir())
    assert (data.name, data.images, data.shape, data.num_classes) == ("digits", 1797, (1, 8, 8), 10)
    assert data.sigma_data == 0.7522098699400815 and data.splits == {"train": 1197, "val": 300, "test": 300}
    assert data.provenance.git_diff == "", "where no run did it, the changes of the code were not kept"
    (classifier,) = (old.finished(ClassifierRecord, path.name) for path in (old.root / "classifiers").iterdir())
    assert classifier.accuracy["val"] == 0.99
    (probe,) = (old.finished(ProbeResult, path.name) for path in (old.root / "probes").iterdir())
    assert probe.fits and probe.training is not None and probe.drawing is not None
    assert probe.training.steps == 3 and probe.drawing.sampling_batch == 40 and probe.device_gib is None


def test_an_old_store_makes_the_table_that_it_made(old: Store) -> None:
    expected, plan = json.loads((OLD / "expected.json").read_text()), recall_plan("old", old)
    table = results_frame(plan, scores_in_store(plan, old)).to_csv(index=False, lineterminator="\n")
    assert table == expected["results.csv"]
    assert provenance_of(plan, old) == expected["facts"]


def test_what_runs_and_trainings_left_in_an_old_store_reads(old: Store) -> None:
    folder = old.folder("trainings", "a" * 20)
    pruning, progress = Pruning.of(folder), TaskProgress.read(folder)
    assert pruning == Pruning(0.32, 0.5)
    assert progress is not None and (progress.done, progress.total, progress.unit) == (0.32, 0.64, "kimg")
    assert progress.loss == 0.5 and progress.share == 0.5 and progress.left_s is None
    (damage,), _ = old.damages_since(0)
    assert isinstance(damage, Damage) and damage.kind == "scales" and damage.files == ("result.json",)


LACKING: list[tuple[Result, str, object]] = [
    (training_result(), "gpus", 1),
    (training_result(), "computing", None),
    (training_result(), "val_loss", None),
    (training_result(), "provenance", Provenance()),
    (training_result(), "files", {}),
    (evaluation_result(), "scoring_seconds", 0.0),
    (evaluation_result(), "drawn", DrawingOrigins()),
    (evaluation_result(), "stopped_by", None),
    (evaluation_result(), "stopped_at", None),
    (evaluation_result(), "prefixes", ()),
]


@pytest.mark.parametrize(("result", "field", "default"), LACKING)
def test_what_older_results_lack_reads_as_a_default(
    tmp_path: Path, result: Result, field: str, default: object
) -> None:
    store, content = Store(tmp_path), result.to_json()
    del content[field]
    put(store, result.kind, content)
    found = store.result(type(result), SIGNATURE)
    assert found is not None and getattr(found, field) == default


def test_a_training_whose_computing_is_not_known_reads_as_written(tmp_path: Path) -> None:
    store, unknown = Store(tmp_path), replace(training_result(), computing=None)
    put(store, "trainings", unknown.to_json())
    assert store.result(TrainingResult, SIGNATURE) == unknown


@pytest.mark.parametrize("field", ["command", "tags", "git_diff", "gpus", "gpu_driver", "began"])
def test_provenance_of_older_results_lacks_what_came_later(field: str) -> None:
    content = Provenance(git_diff=None, command="x", tags={"a": "b"}, gpus="y", gpu_driver="z", began="now").to_json()
    del content[field]
    assert getattr(Provenance.from_json(content), field) == getattr(Provenance(), field)


# reading ------------------------------------------------------------------------------------------


def test_a_result_that_lacks_what_all_have_is_damaged(tmp_path: Path) -> None:
    store, content = Store(tmp_path), training_result().to_json()
    del content["seconds"]
    path = put(store, "trainings", content)
    assert store.peek(TrainingResult, SIGNATURE) is None and path.exists()
    assert store.result(TrainingResult, SIGNATURE) is None and not path.exists()
    (damage,), _ = store.damages_since(0)
    assert damage.why == "TrainingResult: lacks seconds"


def test_to_peek_at_a_result_checks_and_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    content = {**training_result().to_json(), "result_sha256": "0" * 64}
    path = put(store, "trainings", content)
    assert store.peek(TrainingResult, SIGNATURE) == training_result() and path.exists()
    assert store.peek(TrainingResult, "f" * 20) is None
    assert store.result(TrainingResult, SIGNATURE) is None and not path.exists()


def test_unknown_keys_are_ignored_and_kept_when_a_file_is_disowned(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = put(store, "trainings", {**training_result().to_json(), "mood": "good", "files": {"a": "1", "b": "2"}})
    assert store.result(TrainingResult, SIGNATURE) == training_result(files={"a": "1", "b": "2"})
    store.disown("trainings", SIGNATURE, ["a"])
    content = json.loads(path.read_text())
    assert content["mood"] == "good" and content["files"] == {"b": "2"}


@pytest.mark.parametrize("kind", [TrainingResult, EvaluationResult, ProbeResult])
def test_a_result_in_a_later_format_is_refused_with_who_wrote_it(tmp_path: Path, kind: type[Result]) -> None:
    store = Store(tmp_path)
    content = {"version": 2, "provenance": {"packages": {"edm-sweep": "3.1.4"}}}
    path = put(store, kind.kind, content)
    for read in (store.result, store.peek):
        with pytest.raises(UserError, match=r"result.json: was written by edm-sweep 3\.1\.4 in format 2") as error:
            read(kind, SIGNATURE)
        assert str(path) in str(error.value) and "install edm-sweep 3.1.4 or newer" in str(error.value)
    assert path.exists(), "it is no damage"


def test_a_later_format_writes_its_version_and_reads_what_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, result = Store(tmp_path), training_result()
    put(store, "trainings", result.to_json())
    monkeypatch.setattr(results, "VERSION", 2)
    assert store.result(TrainingResult, SIGNATURE) == result
    assert result.to_json()["version"] == 2 and next(iter(result.to_json())) == "version"
    store.finish(SIGNATURE, result)
    assert store.result(TrainingResult, SIGNATURE) == result
    monkeypatch.setattr(results, "VERSION", 1)
    with pytest.raises(UserError, match="in format 2, and this version reads formats up to 1"):
        store.result(TrainingResult, SIGNATURE)


# writing ------------------------------------------------------------------------------------------


def test_this_version_writes_no_version() -> None:
    for result in (training_result(), evaluation_result(), probe_result()):
        assert "version" not in result.to_json() and list(result.to_json())[-2:] == ["provenance", "files"]


@pytest.mark.parametrize("missing", [("training",), ("drawing",), ("training", "drawing")])
def test_a_probe_that_does_not_fit_lacks_what_was_not_measured(tmp_path: Path, missing: tuple[str, ...]) -> None:
    store, result = Store(tmp_path), replace(probe_result(), **dict.fromkeys(missing))
    content = result.to_json()
    assert not content["fits"] and ("kimg_s" in content) == ("training" not in missing)
    assert ("forward_s" in content) == ("drawing" not in missing)
    put(store, "probes", content)
    assert store.result(ProbeResult, SIGNATURE) == result


def test_a_result_vouches_for_its_files(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("exact", SIGNATURE) as folder:
        (folder / "a").write_bytes(b"content")
        store.finish(SIGNATURE, SolutionRecord(), ["a"])
    found = store.result(SolutionRecord, SIGNATURE)
    assert found is not None and list(found.files) == ["a"] and len(found.files["a"]) == 64


# progress -----------------------------------------------------------------------------------------


def test_progress_is_written_and_read_with_its_time(tmp_path: Path) -> None:
    TaskProgress(1.0, 4.0, "kimg", 0.5, loss=0.25).write(tmp_path)
    content = json.loads((tmp_path / "progress.json").read_text())
    assert list(content) == ["done", "total", "unit", "rate", "loss", "time"]
    found = TaskProgress.read(tmp_path)
    assert found == TaskProgress(1.0, 4.0, "kimg", 0.5, 0.25, time=content["time"]) and found.left_s == 6
    RunProgressRecord(3, 1, "about 42 s left", {"done": 1}).write(tmp_path)
    assert list(json.loads((tmp_path / "progress.json").read_text())) == ["total", "done", "left", "counts", "time"]


@pytest.mark.parametrize("content", ["", "[]", '{"done": 1'])
def test_progress_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    assert TaskProgress.read(tmp_path) is None
    (tmp_path / "progress.json").write_text(content)
    assert TaskProgress.read(tmp_path) is None and RunProgressRecord.read(tmp_path) is None
