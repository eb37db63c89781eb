"""export, report bundle.zip, sync --from: the same record anywhere, and nothing that was tampered with."""

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from experiments.cli.main import app
from experiments.errors import UserError
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking import bundle
from experiments.tracking.bundle import MANIFEST, SEAL, SWEEP, export, opened
from experiments.tracking.database import embedded_uri
from tests.experiments.tracking.test_mirror import record


def invoke(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def results(store: Path) -> bytes:
    return (store / "reports" / "tiny_digits" / "results.csv").read_bytes()


@pytest.fixture
def packed(finished: tuple[Plan, Store], tmp_path: Path) -> Path:
    path = tmp_path / "bundle.zip"
    export(*finished, path)
    return path


def test_a_report_from_a_bundle_equals_that_from_the_store(
    done: tuple[Plan, Store], packed: Path, tmp_path: Path
) -> None:
    _, store = done
    assert invoke("report", "tiny_digits", "--store", store.root).exit_code == 0
    out = tmp_path / "out"
    result = invoke("report", packed, "--store", tmp_path / "empty", "--out", out)
    assert result.exit_code == 0, result.output
    assert (out / "results.csv").read_bytes() == results(store.root)
    page = (out / "report.html").read_text()
    assert packed.name in page and str(packed) not in page and "data:image/png;base64," in page
    assert not (tmp_path / "empty").exists()
    own = store.report_folder("tiny_digits")
    for folder in (own, out):
        notes = (folder / "report.md").read_text()
        assert "The feature classifier of digits (version 2) reaches an accuracy of" in notes
    assert (out / "report.tex").read_text() == (own / "report.tex").read_text()


def test_the_report_of_a_bundle_takes_no_reports_place(done: tuple[Plan, Store], packed: Path) -> None:
    _, store = done
    assert invoke("report", "tiny_digits", "--store", store.root).exit_code == 0
    before = results(store.root)
    result = invoke("report", packed, "--store", store.root)
    (other,) = (folder for folder in (store.root / "reports").iterdir() if folder.name != "tiny_digits")
    assert re.fullmatch("tiny_digits@bundle=[0-9a-f]{8}", other.name) and f"Report: {other}/" in result.output
    assert results(store.root) == before == (other / "results.csv").read_bytes()


def test_a_half_finished_sweep_travels_as_it_is(done: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = done
    shutil.rmtree(store.folder("evaluations", plan.cells[1].evaluation.signature))
    export(plan, store, tmp_path / "half.zip")
    assert invoke("report", "tiny_digits", "--store", store.root).exit_code == 0
    assert invoke("report", tmp_path / "half.zip", "--out", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "results.csv").read_bytes() == results(store.root)


def test_mlflow_from_a_bundle_equals_mlflow_from_the_store(done: tuple[Plan, Store], tmp_path: Path) -> None:
    packed = tmp_path / "bundle.zip"
    export(*done, packed, with_provenance=True)
    plan, store = done
    assert invoke("sync", "tiny_digits", "--store", store.root).exit_code == 0
    empty = Store(tmp_path / "empty")
    told = json.loads(invoke("sync", "--from", packed, "--store", empty.root, "--json").stdout)
    assert (told["runs"], told["finished"], told["sent"]) == (6, 6, 6)
    assert record(embedded_uri(empty), plan) == record(embedded_uri(store), plan)
    again = json.loads(invoke("sync", "--from", packed, "--store", empty.root, "--json").stdout)
    assert again["sent"] == 0
    pictures = list((empty.root / "mlartifacts").rglob("samples.png"))
    assert len(pictures) == 4


def test_the_same_record_makes_the_same_file(finished: tuple[Plan, Store], packed: Path, tmp_path: Path) -> None:
    export(*finished, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    names = zipfile.ZipFile(packed).namelist()
    assert any(name.endswith("result.json") for name in names)
    assert not any(name.endswith(("model.safetensors", "statistics.safetensors")) for name in names)


def test_any_changed_byte_is_refused(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    changed = tmp_path / "changed.zip"
    for place in [*range(2, len(whole), len(whole) // 40), len(whole) - 1, len(whole) - SEAL - 3]:
        changed.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"changed.zip: is refused because "), opened(changed):
            pass


@pytest.mark.parametrize("cut", [0, 1, 10, -1, -100])
def test_a_file_that_was_cut_is_refused(packed: Path, tmp_path: Path, cut: int) -> None:
    short = tmp_path / "short.zip"
    short.write_bytes(packed.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"short.zip: is (refused|not a bundle)"), opened(short):
        pass


def tampered(packed: Path, out: Path, names: dict[str, bytes], listed: bool = True) -> Path:
    """A bundle with other files in it, sealed as if it had been exported so."""
    with zipfile.ZipFile(packed) as source:
        content = {name: source.read(name) for name in source.namelist()} | names
    manifest = json.loads(content.pop(MANIFEST))
    if listed:
        manifest["files"] |= {name: bundle._entry(data, 0) for name, data in names.items()}
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.writestr(MANIFEST, json.dumps(manifest))
        archive.comment = b"0" * SEAL
    bundle._seal(out)
    return out


def test_a_bundle_that_is_sealed_anew_is_read(packed: Path, tmp_path: Path) -> None:
    with opened(tampered(packed, tmp_path / "again.zip", {})) as (plan, store):
        assert len(plan.cells) == 4 and all(store.result(TrainingResult, name) for name in plan.trainings)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt",
        "trainings/../../outside.txt",
        "/tmp/edm-sweep-outside.txt",
        "trainings/0123456789abcdef0123/../../../outside",
        "trainings/0123456789abcdef0123/..",
        "C:\\outside.txt",
        "data/0123456789abcdef0123/images.npy",
        "trainings/0123456789abcdef0123/a/b/c/d",
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_path_that_leads_outside_or_elsewhere_is_refused(
    packed: Path, tmp_path: Path, name: str, listed: bool
) -> None:
    bad = tampered(packed, tmp_path / "bad.zip", {name: b"gotcha"}, listed)
    before = sorted(tmp_path.rglob("*"))
    with (
        pytest.raises(UserError, match=r"bad.zip: is refused because it holds .*, which is not the name of a record"),
        opened(bad),
    ):
        pass
    assert sorted(tmp_path.rglob("*")) == before and not Path("/tmp/edm-sweep-outside.txt").exists()


def test_what_a_manifest_does_not_list_is_refused(packed: Path, tmp_path: Path) -> None:
    name = "trainings/0123456789abcdef0123/result.json"
    bad = tampered(packed, tmp_path / "bad.zip", {name: b"{}"}, listed=False)
    with pytest.raises(UserError, match="its files are not those that its manifest lists"), opened(bad):
        pass


def test_a_result_that_was_rewritten_is_not_believed(packed: Path, tmp_path: Path) -> None:
    """Whoever seals it anew may say what he wants of files, but a result vouches for itself."""
    with zipfile.ZipFile(packed) as source:
        name = next(n for n in source.namelist() if n.startswith("evaluations/") and n.endswith("result.json"))
        better = json.loads(source.read(name))
    better["metrics"]["fid_test"] = 0.01
    bad = tampered(packed, tmp_path / "bad.zip", {name: json.dumps(better).encode()})
    with opened(bad) as (plan, store):
        assert sum(store.result(EvaluationResult, one) is not None for one in plan.evaluations) == 3


def sweep_of(packed: Path) -> dict[str, Any]:
    with zipfile.ZipFile(packed) as source:
        return json.loads(source.read(SWEEP))


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/edm-sweep-outside", "", "a/b", "a" * 101, "a\nb", "\x1b[31mred", None, 3]
)
def test_a_sweeps_name_that_is_no_name_is_refused(packed: Path, tmp_path: Path, name: object) -> None:
    bad = tampered(packed, tmp_path / "bad.zip", {SWEEP: json.dumps(sweep_of(packed) | {"name": name}).encode()})
    result = invoke("report", bad, "--store", tmp_path / "place" / "store")
    assert isinstance(result.exception, UserError)
    assert "cannot be the name of a sweep" in str(result.exception) and "\x1b" not in str(result.exception)
    assert not (tmp_path / "place" / "store" / "reports").exists() and not Path("/tmp/edm-sweep-outside").exists()


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{}", b"{", b"\xff", b"[" * 100_000, b'{"format": 1}', b"null"],
    ids=["a list", "empty", "cut", "no text", "deep", "short", "null"],
)
@pytest.mark.parametrize("file", [SWEEP, MANIFEST])
def test_json_that_is_not_what_it_should_be_is_one_sentence(
    packed: Path, tmp_path: Path, file: str, content: bytes
) -> None:
    bad = tmp_path / "bad.zip"
    if file == SWEEP:
        tampered(packed, bad, {SWEEP: content})
    else:
        with zipfile.ZipFile(bad, "w") as archive:
            archive.writestr(MANIFEST, content)
            archive.comment = b"0" * SEAL
        bundle._seal(bad)
    with pytest.raises(UserError, match=r"^[^\n]*bad.zip: [^\n]*$"), opened(bad):
        pass


def test_a_bundle_that_would_fill_the_disk_is_refused(packed: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps({"format": bundle.FORMAT, "files": {}}))
        archive.writestr("trainings/0123456789abcdef0123/log.txt", b"0" * (bundle.ALWAYS + 1))
        archive.comment = b"0" * SEAL
    bundle._seal(bomb)
    with pytest.raises(UserError, match=r"it would take \S+ \S+ unpacked, which no record does"), opened(bomb):
        pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "tiny_digits", "bundle.tar"), "a bundle is a zip file; name it bundle.zip"),
        (("export", "tiny_digits", "."), "a bundle is a zip file; name it tiny_digits.zip"),
        (("export", "nothing", "bundle.zip"), "nothing: no such file, and no sweep of that name"),
        (("export", "tiny_digits", "/proc/no/bundle.zip"), "cannot be written"),
        (("report", "no.zip"), "no.zip: no such file; to make one: edm-sweep export SWEEP no.zip"),
        (("report", "no.zip", "--set", "training.kimg=1"), "a bundle holds all that its report needs"),
        (("sync",), "sync: give either a sweep, or a bundle with --from"),
        (("sync", "tiny_digits", "--from", "no.zip"), "sync: give either a sweep, or a bundle with --from"),
    ],
)
def test_mistakes_are_sentences(finished: tuple[Plan, Store], arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments, "--store", finished[1].root)
    assert isinstance(result.exception, UserError) and message in str(result.exception)


def test_another_zip_is_no_bundle(tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    other.write_text("not a zip")
    with pytest.raises(UserError, match=r"other.zip: is not a bundle"), opened(other):
        pass
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(UserError, match=r"other.zip: is refused"), opened(other):
        pass


def test_nothing_done_is_nothing_to_pack(tiny_plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no task of it is done in"):
        export(tiny_plan, Store(tmp_path / "store"), tmp_path / "bundle.zip")
    assert not (tmp_path / "bundle.zip").exists()


def test_a_file_that_vanishes_while_it_is_packed_is_named(
    done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = done
    folder = store.folder("evaluations", next(reversed(plan.evaluations)))

    def delete(_number: int, _total: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(
        UserError, match=rf"{folder}/.*: was deleted meanwhile, as by 'gc' or another run; export again"
    ):
        export(plan, store, tmp_path / "bundle.zip", delete)
    assert not list(tmp_path.glob("*bundle*"))
