"""The data sets of a store: asked for by name and options, prepared once, listed; and the commands for it."""

import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from edm.config import DataConfig
from edm.data.catalogue import CATALOGUE
from edm.data.prepare import FILES, prepare
from experiments.cli.datasets import requested
from experiments.cli.main import app
from experiments.cli.views.progress import showing_progress
from experiments.errors import UserError
from experiments.inspection.datasets import listed
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.trials.assets import ensure_data
from experiments.trials.datasets import ensure_prepared, is_prepared
from tests.commandline import start
from tests.datafiles import image_tree, tiny_celeba, tiny_cifar10
from tests.planning import source_of

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDM_SWEEP_DATA", "EDM_SWEEP_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return image_tree(tmp_path / "pictures", *(f"{c}/{i}.png" for c in "ab" for i in range(20)))


def command(*arguments: object) -> str:
    """What a command prints, which has to end well."""
    done = RUNNER.invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


# asking -------------------------------------------------------------------------------------------


def test_options_make_the_data_set_of_a_sweep_file(pictures: Path) -> None:
    source, origin = requested("folder", pictures, resolution=16, channels=1, split_seed=3, splits=None)
    config = DataConfig("folder", resolution=16, path=str(pictures), channels=1, split_seed=3)
    assert source == source_of(config) and origin is None
    source, origin = requested("celeba", pictures, resolution=128, splits="official")
    assert source == source_of(DataConfig("celeba", splits="official"))
    assert origin is not None and origin.path == pictures and not origin.download


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "cifar",
            {},
            "cifar: no such data set; choose from digits, fashion_mnist, cifar10, celeba, folder",
        ),
        ("cats", {}, "cats: no such data set; choose from digits, fashion_mnist, cifar10, celeba, folder"),
        ("digits", {"given": Path("/")}, "--from: digits comes with an installed package; leave it out"),
        ("digits", {"resolution": 16}, "--resolution: digits has a fixed resolution; remove it"),
        ("celeba", {"splits": "offical"}, "--splits: 'offical' is not one of study, official"),
        ("cifar10", {"splits": "official"}, "--splits: cifar10 has no official partition; remove it"),
        ("folder", {}, "--from: is missing; say where the folder of images is"),
        ("folder", {"given": Path("/tmp")}, "--resolution: is missing; images of a folder are resized to it"),
        ("folder", {"given": Path("/nowhere"), "resolution": 8}, "/nowhere: no such folder; give a folder or a zip"),
        ("folder", {"given": Path("/tmp"), "resolution": 8, "channels": 2}, "--channels: 2 is not one of 1, 3"),
        ("folder", {"given": Path("/tmp"), "resolution": 8, "split_seed": -1}, "--split-seed: -1 is not a seed"),
        ("celeba", {"given": Path("/nowhere")}, "/nowhere: no such file or folder"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(name: str, options: dict, expected: str) -> None:
    given = options.pop("given", None)
    with pytest.raises(UserError) as refusal:
        requested(name, given, **options)
    assert expected in str(refusal.value) and "\n" not in str(refusal.value)


# preparing ----------------------------------------------------------------------------------------


def test_a_data_set_is_prepared_once_and_from_then_on_mapped(tmp_path: Path, pictures: Path) -> None:
    store = Store(tmp_path / "store").create()
    source, _ = requested("folder", pictures, resolution=8)
    assert not is_prepared(store, source)
    ensure_prepared(store, source)
    images = store.folder("data", source.signature) / "images.npy"
    before = images.stat().st_mtime_ns
    assert is_prepared(store, source)
    ensure_prepared(store, source)
    assert len(ensure_data(store, source).images) == 40 and images.stat().st_mtime_ns == before


def test_a_run_finds_the_files_where_the_variable_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_cifar10(tmp_path / "files", monkeypatch)
    monkeypatch.setenv("EDM_SWEEP_DATA", str(tiny.root))
    data = ensure_data(Store(tmp_path / "store").create(), source_of(DataConfig("cifar10")))
    assert (data.images.numpy() == tiny.images).all()


def test_what_cannot_be_prepared_is_an_error_for_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_cifar10(tmp_path / "files", monkeypatch)
    monkeypatch.setenv("EDM_SWEEP_DATA", str(tiny.root))
    (tiny.root / "cifar-10-python.tar.gz").write_bytes(b"half")
    store, source = Store(tmp_path / "store").create(), source_of(DataConfig("cifar10"))
    with pytest.raises(UserError, match="is cut short: 4 of "):
        ensure_data(store, source)
    assert store.result(DatasetRecord, source.signature) is None


def test_the_log_names_the_images_that_the_error_does_not(tmp_path: Path, pictures: Path) -> None:
    for path in (pictures / "b").iterdir():
        path.write_bytes(b"no picture")
    store = Store(tmp_path / "store").create()
    source, _ = requested("folder", pictures, resolution=8)
    with pytest.raises(
        UserError, match=r": 20 files cannot be used; .* and 10 more; replace or remove them \(.*"
    ) as refusal:
        ensure_prepared(store, source)
    log = store.folder("data", source.signature) / "log.txt"
    assert f"({log} names all of them)" in str(refusal.value)
    assert all(f"{path}: cannot be decoded" in log.read_text() for path in (pictures / "b").iterdir())


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_step_by_step(terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(Console(force_terminal=terminal, width=100), "celeba") as on_progress:
        on_progress("checking img_align_celeba.zip", 5, 10)
        on_progress("decoding", 10, 10)
        on_progress("computing checksums", 0, 0)
    shown = capsys.readouterr().out
    if terminal:
        last = shown[shown.rindex("celeba: checking") :]
        assert "celeba: decoding" in last and last.count("100%") == 3, "what is over is shown as done"
    else:
        steps = ["checking img_align_celeba.zip", "decoding", "computing checksums"]
        assert shown.splitlines() == ["preparing celeba", *(f"preparing celeba: {step}" for step in steps)]


def test_two_processes_at_once_do_it_once(tmp_path: Path, pictures: Path) -> None:
    options = ("--from", pictures, "--resolution", 32, "--store", tmp_path / "store", "--json")
    both = [start("data", "prepare", "folder", *options) for _ in range(2)]
    records = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    first, second = ({key: value for key, value in record.items() if key != "prepared_now"} for record in records)
    assert first == second
    folder, alone = Path(first["folder"]), tmp_path / "alone"
    alone.mkdir()
    made = prepare(DataConfig("folder", resolution=32, path=str(pictures)), alone)
    assert made["fingerprint"] == first["fingerprint"]
    assert {path.name for path in folder.glob("[!.]*")} == {*FILES, "config.yaml", "log.txt", "result.json"}
    assert all((folder / name).read_bytes() == (alone / name).read_bytes() for name in FILES)


def test_who_waits_for_another_process_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(_store: Store, _kind: type, _signature: str, _build: object, _files: object, on_wait) -> None:
        on_wait()

    monkeypatch.setattr(Store, "ensure", ensure)
    told: list[tuple[str, int, int]] = []
    ensure_prepared(Store(tmp_path), source_of(DataConfig()), on_progress=lambda *step: told.append(step))
    assert told == [("waiting for another process that prepares it", 0, 0)]


# the commands -------------------------------------------------------------------------------------


def test_celeba_from_a_local_archive_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_celeba(tmp_path / "files", monkeypatch)
    arguments = ("data", "prepare", "celeba", "--from", tmp_path / "files", "--store", tmp_path / "store")
    first = command(*arguments)
    assert "celeba is prepared.\n" in first and "17 of 3x128x128, uint8" in first
    assert "train 9, val 3, test 5" in first and "(md5 checked)" in first and "sigma_data" in first
    assert "celeba was already prepared.\n" in command(*arguments)
    official = json.loads(command(*arguments, "--splits", "official", "--resolution", 64, "--json"))
    assert official["prepared_now"] and official["shape"] == [3, 64, 64] and official["images"] == 21
    assert Path(official["folder"], "images.npy").exists()
    assert not json.loads(command(*arguments, "--splits", "official", "--resolution", 64, "--json"))["prepared_now"]


def test_files_that_are_left_out_are_named(tmp_path: Path, pictures: Path) -> None:
    (pictures / "a" / "extra.gif").touch()
    options = ("--from", pictures, "--resolution", 8, "--store", tmp_path / "store")
    expected = f"{pictures}: 1 file is left out, being of other types: 1 .gif (a/extra.gif)"
    assert expected in " ".join(command("data", "prepare", "folder", *options).split())
    assert json.loads(command("data", "prepare", "folder", *options, "--json"))["source"]["remarks"] == [expected]
    sweep = tmp_path / "x.yaml"
    sweep.write_text(
        f"data: {{name: folder, path: {pictures}, resolution: 8}}\n"
        "model: {preset: nano}\nevaluation: {features: classifier, images: 100}\n"
    )
    assert f"Warning: {expected}\n" in command("plan", sweep, "--store", tmp_path / "store")
    assert expected in json.loads(command("plan", sweep, "--store", tmp_path / "store", "--json"))["warnings"]


def test_remarks_are_about_the_folder_that_was_given(tmp_path: Path, pictures: Path) -> None:
    shutil.copytree(pictures, tmp_path / "alone")
    (pictures / "labels.csv").touch()
    options = ("--resolution", 8, "--store", tmp_path / "store")
    assert "labels.csv is not read" in command("data", "prepare", "folder", "--from", pictures, *options)
    again = command("data", "prepare", "folder", "--from", tmp_path / "alone", *options)
    assert "already prepared" in again and "  remarks" not in again


def test_names_that_are_no_text_are_shown_all_the_same(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    image_tree(odd, *(f"{os.fsdecode(c)}/{i}.png" for c in (b"a\xfe", b"b") for i in range(20)))
    options = ("--from", odd, "--resolution", 8, "--store", tmp_path / "store")
    language = {"PYTHONIOENCODING": "utf-8:strict"}  # as Python has it in most languages
    done = start("data", "prepare", "folder", *options, **language)
    shown, errors = done.communicate(timeout=60)
    assert done.returncode == 0, errors
    assert "folder is prepared." in shown and r"\udcff (content checked)" in shown
    (odd / "b" / "7.png").write_bytes(b"broken")
    done = start("data", "prepare", "folder", *options, **language)
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 2 and "/b/7.png: cannot be decoded" in errors and "Traceback" not in errors


def test_the_list_tells_what_is_prepared_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    tiny_celeba(tmp_path / "files", monkeypatch)
    store = tmp_path / "store"
    shown = command("data", "list", "--store", store)
    assert all(name in shown for name in (*CATALOGUE, "folder")) and not store.exists()
    assert "1x32x32" in shown and "50,000 / 10,000 / 10,000" in shown
    command("data", "prepare", "celeba", "--from", tmp_path / "files", "--store", store)
    command("data", "prepare", "folder", "--from", pictures, "--resolution", 8, "--store", store)
    rows = {row["name"]: row for row in json.loads(command("data", "list", "--store", store, "--json"))}
    assert set(rows) == {*CATALOGUE, f"folder {pictures}"}
    assert rows["celeba"]["prepared"] and 0 < rows["celeba"]["sigma_data"] < 1
    assert rows[f"folder {pictures}"]["num_classes"] == 2 and rows["cifar10"]["prepared"] is None
    (archive,) = rows["cifar10"]["files"]
    assert archive == {
        "path": str(store / "sources" / "cifar-10-python.tar.gz"),
        "md5": CATALOGUE["cifar10"].files[0].md5,
        "bytes": 170_498_071,
        "there": False,
    }
    shown = command("data", "list", "--store", store)
    assert f"{rows['celeba']['sigma_data']:.4f}" in shown


def test_the_list_knows_files_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_cifar10(tmp_path / "files", monkeypatch)
    monkeypatch.setenv("EDM_SWEEP_DATA", str(tmp_path / "files"))
    rows = {row["name"]: row for row in listed(Store(tmp_path / "store"))}
    assert [file["there"] for file in rows["cifar10"]["files"]] == [True]
    assert [file["there"] for file in rows["celeba"]["files"]] == [False]
