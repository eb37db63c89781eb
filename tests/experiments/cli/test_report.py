"""The command report: what it is made from, formats, folders, figures, and the page that is served."""

import re
import shutil
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from edm.config import DataConfig
from edm.data.catalogue import split_indices
from experiments.cli.main import app
from experiments.cli.report_sources import ReportOptions, Source, opened_sources, report_of
from experiments.cli.serving import LivePage, server_of
from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import Evaluation
from experiments.tracking import remote
from experiments.tracking.bundle import MANIFEST
from experiments.tracking.database import embedded_uri
from experiments.tracking.mirror import Mirror
from experiments.tracking.records import record_plan
from experiments.tracking.remote import ServerRecord
from experiments.tracking.runs import all_runs
from experiments.trials.context import TrialContext
from experiments.trials.evaluation import evaluate
from experiments.trials.evaluation.evaluate import run_evaluation
from reports.formats import FORMATS
from tests.commandline import invoke
from tests.datafiles import image_tree
from tests.experiments.store.test_results import OLD
from tests.inprocess import without_ray
from tests.planning import load_sweep, plan_sweep


@pytest.fixture
def recorded(tiny_plan: Plan, filled: Store) -> Path:
    record_plan(tiny_plan, filled)
    return filled.root


def report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)


def test_formats_and_folder_are_chosen(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    done = report(tiny_plan.sweep.name, "--store", recorded, "--out", tmp_path / "o", "--format", "tex, parquet")
    assert done.exit_code == 0 and f"Report: {tmp_path / 'o' / 'report.tex'}" in "".join(done.stdout.split("\n"))
    assert {p.name for p in (tmp_path / "o").iterdir()} == {"report.tex", "results.parquet", "tables.parquet"}
    assert not (recorded / "reports").exists()


def test_results_have_the_cost_of_trainings_at_their_end(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    report(tiny_plan.sweep.name, "--store", recorded, "--out", tmp_path)
    made = pd.read_csv(tmp_path / "results.csv")
    assert list(made)[-5:] == ["training_name", "parameters", "val_loss", "training_s", "gpu_hours"]
    assert made["parameters"].gt(1000).all() and made["training_s"].gt(0).all() and made["val_loss"].notna().all()
    assert made["gpu_hours"].isna().all()  # it was trained on a CPU
    assert set(made["training_name"]) == {"attention", "no-attention"}


@pytest.mark.parametrize(
    ("data", "setting", "named"),
    [
        ("cifar10", "{sampling.guidance: [1, 2]}", True),
        ("cifar10", "{sampling.guidance: [0, 1]}", False),
        ("cifar10", "{training.label_dropout: [0.1, 1.0], sampling.guidance: [0]}", False),
        ("digits", "{sampling.guidance: [1, 2]}", False),
    ],
)
def test_samples_name_the_classes_that_all_cells_draw(
    data: str, setting: str, named: bool, tmp_path: Path, store: Store
) -> None:
    file = tmp_path / "classes.yaml"
    file.write_text(f"name: classes\ndata: {{name: {data}}}\ntraining: {{kimg: 1}}\ngrid: {setting}\n")
    plan = plan_sweep(load_sweep(file))
    made = report_of([Source(plan, store, "classes")]).classes
    assert made[:2] == (("0: airplane", "1: automobile") if named else ())


def test_a_bundle_knows_the_classes_of_a_folder_and_what_was_noticed_of_it(tmp_path: Path, store: Store) -> None:
    names = [f"{kind}/{i}.png" for kind in ("cat", "owl") for i in range(10)]
    images = image_tree(tmp_path / "my images", *names)
    splits = split_indices(DataConfig(name="folder", path=str(images), resolution=8))
    seen, shown = names[splits["train"][0]], names[splits["val"][0]]
    shutil.copy(images / seen, images / shown)
    file = tmp_path / "birds.yaml"
    data = f"{{name: folder, path: '{images}', resolution: 8}}"
    model, sampling = "{preset: nano, channels: 8}", "{steps: 2}"
    rest = f"training: {{kimg: 0.1}}\nsampling: {sampling}\nevaluation: {{images: 100, features: classifier}}\n"
    file.write_text(f"name: birds\ndata: {data}\nmodel: {model}\n{rest}")
    with without_ray():
        done = invoke("run", file, "--store", store.root)
    assert done.returncode == 0, done.stderr
    bundle = tmp_path / "birds.zip"
    assert invoke("export", "birds", bundle, "--store", store.root).returncode == 0
    with opened_sources([str(bundle)], tmp_path / "no-store") as sources:
        made = report_of(sources)
    assert made.classes == ("0: cat", "1: owl")
    with opened_sources(["birds"], store.root) as sources:
        assert report_of(sources).notes == made.notes
    noticed = f"my images: 1 of 4 images in val and test is in train, too ({shown} is {seen}), so that networks"
    assert any(note.startswith(noticed) for note in made.notes)
    assert str(tmp_path).encode() not in zipfile.ZipFile(bundle).read(MANIFEST)


def test_a_report_without_results_replaces_none_that_has_some(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    name, page = tiny_plan.sweep.name, recorded / "reports" / tiny_plan.sweep.name / "report.html"
    assert report(name, "--store", recorded).exit_code == 0
    before = page.read_bytes()
    shutil.rmtree(recorded / "evaluations")
    again = CliRunner().invoke(app, ["report", name, "--store", str(recorded)])
    assert isinstance(again.exception, UserError) and "no cell has a result yet" in str(again.exception)
    assert page.read_bytes() == before
    assert report(name, "--store", recorded, "--out", tmp_path / "elsewhere").exit_code == 0


def test_a_run_that_adds_no_result_keeps_a_report_with_more(
    done: tuple[Plan, Store], tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = done
    results = store.report_folder(plan.sweep.name) / "results.csv"

    def run(code: int, fails: Collection[str] = ()) -> tuple[str, list[str]]:
        def evaluation(place: Store, task: Evaluation, context: TrialContext) -> None:
            if task.signature in fails:
                raise OSError("a disk")
            run_evaluation(place, task, context)

        monkeypatch.setattr(evaluate, "run_evaluation", evaluation)
        with without_ray():
            ended = invoke("run", tiny_file, "--store", store.root, "--retries", "0")
        assert ended.returncode == code, ended.stdout + ended.stderr
        return " ".join(ended.stdout.split()), list(pd.read_csv(results)["status"])

    assert "earlier results" not in run(0)[0]
    for name in (lost := list(plan.evaluations)[1:]):
        shutil.rmtree(store.folder("evaluations", name))
    told, statuses = run(1, lost)
    assert "report.html (with 4 earlier results: this run added none, and the sweep has only 1 now)" in told
    assert statuses == ["done"] * 4
    told, statuses = run(1, lost[1:])  # one more
    assert "earlier results" not in told and sorted(statuses) == ["done", "done", "missing", "missing"]


def test_a_cell_that_failed_says_so(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    planned = tiny_plan.cells[0]
    folder = Store(recorded).folder("evaluations", planned.evaluation.signature)
    shutil.rmtree(folder)
    done = report(tiny_plan.sweep.name, "--store", recorded, "--out", tmp_path)
    assert "planned" in done.stdout and "1 of them missing" in done.stdout
    assert "| planned |" in (tmp_path / "report.md").read_text()


def test_a_sweep_and_a_bundle_share_a_table(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    name, bundle = tiny_plan.sweep.name, tmp_path / "b.zip"
    assert CliRunner().invoke(app, ["export", name, str(bundle), "--store", str(recorded)]).exit_code == 0
    done = report(name, bundle, "--store", recorded, "--out", tmp_path / "both")
    assert done.exit_code == 0
    made = pd.read_csv(tmp_path / "both" / "results.csv")
    assert len(made) == 2 * len(tiny_plan.cells) and set(made["sweep"]) == {name, f"{name} 2"}
    page = (tmp_path / "both" / "report.html").read_text()
    assert page.count('alt="samples of') == len(made)


def test_what_a_bundle_lacks_is_missing_in_the_bundle(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    name, bundle = tiny_plan.sweep.name, tmp_path / "b.zip"
    shutil.rmtree(Store(recorded).folder("evaluations", tiny_plan.cells[0].evaluation.signature))
    assert CliRunner().invoke(app, ["export", name, str(bundle), "--store", str(recorded)]).exit_code == 0
    done = report(bundle, "--store", recorded, "--out", tmp_path / "o")
    assert f"missing in {bundle}." in " ".join(done.stdout.split())


def test_figures_for_a_paper_are_written(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    done = report(tiny_plan.sweep.name, "--store", recorded, "--out", tmp_path / "o", "--figures", tmp_path / "f")
    assert done.exit_code == 0 and "as SVG and PDF" in done.stdout
    assert {"scores.pdf", "scores.svg", "loss.pdf", "captions.txt"} <= {
        path.name for path in (tmp_path / "f").iterdir()
    }


def test_figures_that_a_folder_has_are_renewed(tiny_plan: Plan, recorded: Path, tmp_path: Path) -> None:
    command = (tiny_plan.sweep.name, "--store", recorded, "--out", tmp_path)
    report(*command)
    assert not (tmp_path / "figures").exists()
    (tmp_path / "figures").mkdir()
    (tmp_path / "report.html").write_text("of earlier results")
    report(*command, "--format", "html")
    assert not list((tmp_path / "figures").iterdir()), "only the page was asked for"
    (tmp_path / "report.html").write_text("of earlier results")
    report(*command)
    assert (tmp_path / "figures" / "scores.pdf").exists()


def test_a_store_of_an_older_version_is_reported_in_every_format(tmp_path: Path) -> None:
    shutil.copytree(OLD, tmp_path / "old")
    done = report("old", "--store", tmp_path / "old", "--out", tmp_path / "o", "--format", ",".join(FORMATS))
    assert done.exit_code == 0
    made = pd.read_csv(tmp_path / "o" / "results.csv")
    assert made["fid_test"].tolist() == pd.read_parquet(tmp_path / "o" / "results.parquet")["fid_test"].tolist()
    for file in ("report.md", "report.html", "report.tex", "tables.csv"):
        text = (tmp_path / "o" / file).read_text()
        assert "heun" in text and "19.9" in text, file
    assert 'id="samples"' not in (tmp_path / "o" / "report.html").read_text(), "the pictures were not kept"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "docx"), "--format docx: 'docx' is not a format; choose from html, md, tex, csv, parquet"),
        (("--format", ","), "--format ,: names no format"),
        (
            ("--allow", "model.preset"),
            "--allow model.preset: does not keep cells apart; choose from evaluation.features",
        ),
    ],
)
def test_wrong_options_are_refused(options: tuple[str, ...], message: str, recorded: Path, tiny_plan: Plan) -> None:
    with pytest.raises(UserError) as caught:
        report(tiny_plan.sweep.name, "--store", recorded, *options)
    assert message in str(caught.value)


def test_a_machine_with_only_the_tracking_server_makes_the_whole_report(
    tiny_plan: Plan, recorded: Path, tiny_file: Path, tmp_path: Path
) -> None:
    uri = embedded_uri(Store(recorded))
    Mirror(Store(recorded), tiny_plan, uri).update(ended=True)
    report(tiny_file, "--store", recorded, "--out", tmp_path / "here")
    empty = ("--store", tmp_path / "empty", "--tracking-uri", uri)
    assert report(tiny_file, *empty, "--out", tmp_path / "there").exit_code == 0
    here, there = (pd.read_csv(tmp_path / place / "results.csv") for place in ("here", "there"))
    pd.testing.assert_frame_equal(here, there)
    page = (tmp_path / "there" / "report.html").read_text()
    assert page.count('alt="samples of') == len(tiny_plan.cells) and 'id="figure-loss"' in page
    assert 'id="denoising"' in page and "/#/experiments/" not in page, "a file has no pages to link to"


def test_a_servers_runs_are_read_once(tiny_plan: Plan, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, asked = embedded_uri(Store(recorded)), []
    Mirror(Store(recorded), tiny_plan, uri).update(ended=True)
    monkeypatch.setattr(remote, "all_runs", lambda *which: asked.append(which) or all_runs(*which))
    made = report_of([Source(tiny_plan, Store(recorded), "tiny", uri)])
    assert set(made.frame["status"]) == {"done"} and len(asked) == 1


@pytest.mark.parametrize(
    ("server", "with_provenance", "linked"),
    [
        ("http://127.0.0.1:5000", False, True),
        ("https://user:secret@mlflow.lab.org/base/?token=x", True, True),
        ("https://mlflow.lab.org", False, False),
    ],
)
def test_cells_link_to_a_server_that_the_page_may_name(
    server: str, with_provenance: bool, linked: bool, tiny_plan: Plan, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = embedded_uri(Store(recorded))
    Mirror(Store(recorded), tiny_plan, uri).update(ended=True)
    record = ServerRecord(tiny_plan, uri)
    record.uri = server
    monkeypatch.setattr("experiments.tracking.remote.ServerRecord", lambda plan, uri: record)
    source = Source(tiny_plan, Store(recorded), "tiny", uri)
    made = report_of([source], ReportOptions(with_provenance=with_provenance))
    cells = {tiny_plan.cell_name(planned) for planned in tiny_plan.cells}
    assert set(made.links) == (cells if linked else set()) and not made.has_own_record
    for link in made.links.values():
        assert re.match(
            r"https?://(127.0.0.1:5000|mlflow.lab.org/base)/#/experiments/\d+/runs/[0-9a-f]{32}\?workflowType=machine_learning$",
            link,
        )


def test_a_tracking_server_knows_what_the_sweep_asked_for(
    tiny_plan: Plan, recorded: Path, tiny_file: Path, tmp_path: Path
) -> None:
    uri, name = embedded_uri(Store(recorded)), tiny_plan.sweep.name
    empty = ("--store", tmp_path / "empty", "--tracking-uri", uri, "--out", tmp_path / "there")
    Mirror(Store(recorded), tiny_plan, uri).update()
    with pytest.raises(UserError, match=f"{name}: no such file, and --tracking-uri .* has no report of it"):
        report(name, *empty)
    report(name, "--store", recorded)
    Mirror(Store(recorded), tiny_plan, uri).update(ended=True)
    tiny_file.unlink()
    assert report(name, *empty).exit_code == 0
    here, there = recorded / "reports" / name / "results.csv", tmp_path / "there" / "results.csv"
    pd.testing.assert_frame_equal(pd.read_csv(here), pd.read_csv(there))


# the page that is served --------------------------------------------------------------------------


def test_the_served_page_is_as_new_as_the_results() -> None:
    made = iter(["first", "second"])
    with server_of(LivePage(lambda: next(made), refresh_s=0), port=0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        for expected in (b"first", b"second"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                assert answer.read() == expected and answer.headers["Cache-Control"] == "no-store"
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/passwd", timeout=10)
        with pytest.raises(UserError, match="choose another port"):
            server_of(LivePage(str), port=int(port))
        server.shutdown()


def test_the_served_page_is_not_made_again_for_every_request() -> None:
    count = iter(range(10))
    page = LivePage(lambda: str(next(count)), refresh_s=1000)
    assert [page.content() for _ in range(3)] == [b"0"] * 3


def test_a_report_names_metrics_that_no_cell_has(
    tiny_plan: Plan, tiny_file: Path, recorded: Path, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.yaml"
    asked.write_text(tiny_file.read_text() + "report: {metrics: [truncation_rms]}\n")
    said = " ".join(report(asked, "--store", recorded, "--out", tmp_path / "out").output.split())
    assert "Warning: report.metrics: no cell will have truncation_rms; ask for it in evaluation.metrics" in said
