"""The check for GPUs: all of its code on a CPU, beside nothing but what it asks for, and what goes wrong in it."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu.fashion import fashion_mnist
from benchmarks.gpu.process import Section, prepare_server, run_sections
from benchmarks.gpu.report import Report, Row, markdown, read_rows
from benchmarks.gpu.setting import Setting, find_data
from tests import ROOT

CHECK = ROOT / "benchmarks" / "gpu" / "check.py"
SECTIONS = (
    "ceilings",
    "compiling",
    "exactness",
    "steps",
    "team",
    "graph",
    "curves",
    "drawing",
    "real",
    "training",
    "sampling",
    "large",
    "scores",
    "classifier",
    "attention",
    "memory",
    "whole",
)
GPU_KERNELS, WAYS = ("memory-efficient", "cuDNN"), ("forwards", "with its gradient")
ABSENT = ("ray", "mlflow", "pydantic", "pandas", "sklearn", "PIL", "torchvision", "typer", "rich", "scipy", "psutil")


def setting_in(folder: Path, data: Path | None = None) -> Setting:
    return Setting("cpu", True, folder, folder, data)


def check(out: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECK), "--device", "cpu", "--tiny", "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, cwd=out.parent)


# rows ---------------------------------------------------------------------------------------------


def test_a_check_is_right_up_to_its_tolerance_and_nan_is_wrong(tmp_path: Path) -> None:
    report = Report(tmp_path / "rows.json", "section", 10)
    for value in (0.5, 1.0, 1.5, math.nan):
        report.check("value", value, 1.0)
    assert [row.status for row in read_rows(report.path)] == ["right", "right", "wrong", "wrong"]


@pytest.mark.parametrize(("unit", "value", "ratio", "over"), [("images/s", 40.0, 4.0, 2.0), ("s", 40.0, 0.25, 0.5)])
def test_ratios_say_how_much_faster_and_how_far_above_the_floor(unit, value, ratio, over) -> None:
    row = Row("section", "what", "measured", value, unit, plain=10.0, ceiling=80.0)
    assert (row.ratio, row.over_floor) == (ratio, over)


def test_the_table_shows_checks_figures_and_what_did_not_run() -> None:
    rows = [
        Row("a", "bits", "wrong", 3, "", 0),
        Row("b", "speed", "measured", 1234.5, "images/s", spread=0.05, plain=100, ceiling=2469),
        Row("c", "pictures", "skipped", note="no files."),
        Row("d", "all", "failed", note="was stopped"),
    ]
    page = markdown({"card": "none"}, rows)
    assert "| a | bits | 3  | 0  | **wrong** |" in page
    assert "| b | speed | 1,234 images/s | 5 % | 100 | 12.3 | 2 |  |" in page
    assert "- c, pictures: no files." in page and "- d, all: **failed**: was stopped" in page


# processes ----------------------------------------------------------------------------------------


def rows_of(name: str, folder: Path, seconds: float = 60.0) -> list[Row]:
    section, setting = Section(name, seconds, "is for a test", "tests.benchmarks.sections"), setting_in(folder)
    rows = run_sections(prepare_server(setting), [section], setting, seconds, folder / "log.txt", grace_s=0.0)
    assert rows[-1].what == "the whole section"
    return rows[:-1]


@pytest.mark.slow
def test_a_section_that_takes_too_long_is_stopped_with_its_children(tmp_path: Path) -> None:
    child, found, problem = rows_of("hangs", tmp_path, seconds=10.0)
    assert found.status == "right"
    assert problem.status == "failed" and problem.note == "was stopped, as it took more than 10 s"
    assert child.value is not None and not Path(f"/proc/{int(child.value)}/exe").exists()


@pytest.mark.slow
def test_a_check_that_is_stopped_ends_its_section_and_keeps_its_rows(tmp_path: Path) -> None:
    log, table = tmp_path / "out" / "log.txt", tmp_path / "out" / "table.md"
    options = ["--device", "cpu", "--tiny", "--out", str(log.parent), "--only", "ceilings", "team"]
    command = [sys.executable, str(CHECK), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (log.exists() and "--- team" in log.read_text()):
            time.sleep(0.1)
        (section,) = [other for other in psutil.Process(process.pid).children(recursive=True) if leads_a_group(other)]
        process.terminate()
        assert process.wait(60) == 143
    assert not section.is_running() or section.status() == psutil.STATUS_ZOMBIE
    assert "| ceilings |" in table.read_text()


def leads_a_group(process: psutil.Process) -> bool:
    return os.getpgid(process.pid) == process.pid


@pytest.mark.slow
def test_an_error_in_a_part_of_a_section_leaves_the_others(tmp_path: Path) -> None:
    rows = rows_of("raises", tmp_path)
    assert [row.status for row in rows] == ["right", "failed", "right"]
    assert rows[1].note == "ValueError: no such thing"


@pytest.mark.slow
def test_a_section_whose_process_dies_says_so_and_keeps_its_rows(tmp_path: Path) -> None:
    found, problem = rows_of("dies", tmp_path)
    assert found.status == "right"
    assert problem.status == "failed" and "exit code -9" in problem.note


# data ---------------------------------------------------------------------------------------------


def test_made_up_files_are_read_as_fashion_mnists_are(tmp_path: Path) -> None:
    data = fashion_mnist(setting_in(tmp_path), Report(tmp_path / "rows.json", "real", 10))
    assert data is not None
    assert data.images.shape[1:] == (1, 32, 32) and 0 < data.sigma_data < 1
    assert sorted(set(data.split("test")[1].tolist())) == list(range(10))
    assert find_data(None, tmp_path) is None or "datasets" in str(find_data(None, tmp_path))
    assert find_data(tmp_path / "made-up", tmp_path) == tmp_path / "made-up"


def test_absent_files_are_a_sentence_that_names_the_package(tmp_path: Path) -> None:
    report = Report(tmp_path / "rows.json", "real", 10)
    assert fashion_mnist(Setting("cpu", False, tmp_path, tmp_path, None), report) is None
    (row,) = report.rows
    assert row.status == "skipped" and "dataset-fashion-mnist" in row.note


# all of it ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_section_is_right_with_torch_and_numpy_alone(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nfor name in {ABSENT}: sys.modules[name] = None\n")
    out = tmp_path / "out"
    done = check(out, "--minutes", "15", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((out / "results.json").read_text())
    rows = [Row(**fields) for fields in content["rows"]]
    assert tuple(dict.fromkeys(row.section for row in rows)) == SECTIONS
    assert not [row for row in rows if row.status in ("wrong", "failed")]
    skipped = {(row.section, row.what) for row in rows if row.status == "skipped"}
    assert skipped == {
        *(("attention", f"attention by {kernel}, {what}") for kernel in GPU_KERNELS for what in WAYS),
        ("scores", "distance of the plain loop"),  # scipy
        ("scores", "features of the plain loop"),  # Pillow, this and the pictures
        ("real", "real_conditional.png"),
        ("real", "real_without_attention.png"),
        ("real", "real_unconditional.png"),
        ("whole", "edm-sweep run"),  # Ray, MLflow
    }
    page = (out / "table.md").read_text()
    assert all(f"| {section} |" in page for section in SECTIONS)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_that_is_killed_fills_the_same_table(tmp_path: Path) -> None:
    done = check(tmp_path / "out", "--minutes", "15", "--only", "whole")
    assert done.returncode == 0, done.stdout + (tmp_path / "out" / "log.txt").read_text()
    rows = [Row(**fields) for fields in json.loads((tmp_path / "out" / "results.json").read_text())["rows"]]
    assert [row.what for row in rows if row.status == "right"][-1] == "numbers that differ in a byte"


def test_a_wrong_section_is_refused_with_the_names_of_all(tmp_path: Path) -> None:
    done = check(tmp_path / "out", "--only", "nothing")
    assert done.returncode == 2 and all(section in done.stderr for section in SECTIONS)
