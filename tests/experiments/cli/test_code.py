"""What the commands say of results that other code than today's has made."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests import ROOT
from tests.commandline import environment, invoke
from tests.othercode import HEUN, copy_with, point_at

pytestmark = pytest.mark.usefixtures("few_statistics")

CHANGED = "edm.samplers.heun changed since "


@pytest.fixture
def store(done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A filled store, now that Heun's corrector divides by 2.1."""
    point_at(monkeypatch, copy_with(tmp_path / "other", HEUN))
    return done[1].root


def test_plan_names_results_functions_commit_and_remedies(store: Path) -> None:
    out = invoke("plan", "tiny_digits", "--store", store).stdout.replace("\n", " ")
    assert "2 results were made by other code than today's; tables mark them: " + CHANGED in out
    assert "(no-attention/heun, attention/heun)" in out
    assert "edm-sweep run tiny_digits --recompute changed" in out and "edm-sweep accept tiny_digits" in out
    listed = json.loads(invoke("plan", "tiny_digits", "--store", store, "--json").stdout)["other_code"]
    assert [one["name"] for one in listed] == ["no-attention/heun", "attention/heun"]
    assert listed[0]["functions"] == ["edm.samplers.heun"]


def test_plan_says_what_recompute_would_do_again(store: Path) -> None:
    out = invoke("run", "tiny_digits", "--store", store, "--recompute", "changed", "--dry-run").stdout.replace(
        "\n", " "
    )
    assert "2 results were made by other code than today's and will be done again" in out
    assert "2 tasks left" in out


def test_status_marks_cells(store: Path) -> None:
    shown = json.loads(invoke("status", "tiny_digits", "--store", store, "--json").stdout)
    changed = {cell["name"]: cell["other_code"] for cell in shown["cells"]}
    assert changed["no-attention/heun"]["functions"] == ["edm.samplers.heun"]
    assert changed["no-attention/euler"] is None
    lines = invoke("status", "tiny_digits", "--store", store).stdout
    assert "2 results were made by other code" in lines and lines.count("edm.samplers.heun") == 1
    assert len(re.findall(r"^(?:no-)?attention/heun .* made by other code *$", lines, re.MULTILINE)) == 2


def test_why_says_what_changed_and_who_accepted_it(store: Path) -> None:
    cell = ("tiny_digits:attention/heun", "--store", store)
    assert "made by other code than today's: " + CHANGED in " ".join(invoke("why", *cell).stdout.split())
    assert "Accepted as the same, by " in invoke("accept", *cell).stdout
    said = " ".join(invoke("why", *cell).stdout.split())
    assert "accepted as the same by " in said and "made by other code" not in said
    assert "1 result was made by other code" in invoke("plan", "tiny_digits", "--store", store).stdout


def test_accept_takes_a_whole_sweep(store: Path) -> None:
    accepted = json.loads(invoke("accept", "tiny_digits", "--store", store, "--json").stdout)["accepted"]
    assert [one["name"] for one in accepted] == ["no-attention/heun", "attention/heun"]
    assert "made by other code" not in invoke("plan", "tiny_digits", "--store", store).stdout
    assert "nothing to accept" in invoke("accept", "tiny_digits", "--store", store).stdout


def test_reports_mark_numbers_and_carry_a_footnote(store: Path, tmp_path: Path) -> None:
    out = " ".join(invoke("report", "tiny_digits", "--store", store).stdout.split())
    footnote = "†: made by other code than today's: " + CHANGED
    assert footnote in out
    folder = store / "reports" / "tiny_digits"
    markdown = (folder / "report.md").read_text()
    assert footnote in markdown and "(cells no-attention/heun, attention/heun)" in markdown
    euler, *_ = [line for line in markdown.splitlines() if line.startswith("| no | euler")]
    heun, *_ = [line for line in markdown.splitlines() if line.startswith("| no | heun")]
    assert "†" in heun and "†" not in euler
    assert footnote.replace("'", "&#39;") in (folder / "report.html").read_text()
    assert r"$^\dagger$: made by other code" in (folder / "report.tex").read_text()
    header, *rows = (folder / "results.csv").read_text().splitlines()
    assert "code" in header.split(",") and sum(CHANGED in row for row in rows) == 2


def test_reports_of_todays_code_are_as_before(done: tuple[Plan, Store]) -> None:
    store = done[1].root
    assert "†" not in invoke("report", "tiny_digits", "--store", store).stdout
    folder = store / "reports" / "tiny_digits"
    assert "code" not in (folder / "results.csv").read_text().splitlines()[0].split(",")
    assert all("†" not in (folder / name).read_text() for name in ("report.md", "report.html", "report.tex"))


def test_a_bundle_knows_what_its_code_consisted_of(store: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.zip"
    assert invoke("export", "tiny_digits", bundle, "--store", store).returncode == 0
    out = " ".join(invoke("report", bundle, "--store", tmp_path / "empty").stdout.split())
    assert "made by other code than today's: " + CHANGED in out


def test_a_bundle_hides_who_accepted_and_keeps_that_somebody_did(store: Path, tmp_path: Path) -> None:
    invoke("accept", "tiny_digits", "--store", store)
    bundle = tmp_path / "bundle.zip"
    assert invoke("export", "tiny_digits", bundle, "--store", store).returncode == 0
    with zipfile.ZipFile(bundle) as archive:
        (kept, *_) = [archive.read(name) for name in archive.namelist() if name.endswith("accepted.json")]
    assert json.loads(kept)["accepted"][0]["by"] == ""
    assert "made by other code" not in invoke("report", bundle, "--store", tmp_path / "empty").stdout


@pytest.mark.slow
def test_run_in_a_changed_checkout_says_that_the_table_is_old(done: tuple[Plan, Store], tmp_path: Path) -> None:
    """The case that this is for: Heun's corrector is edited in a clone, and the sweep is run again."""
    for package in ("experiments", "reports"):
        shutil.copytree(ROOT / package, tmp_path / "clone" / package)
    clone = copy_with(tmp_path / "clone", HEUN).parent
    command = [sys.executable, "-P", "-m", "experiments.cli.main", "run", "tiny_digits", "--store", str(done[1].root)]
    own = environment() | {"PYTHONPATH": str(clone), "PATH": os.environ["PATH"]}
    ran = subprocess.run(command, capture_output=True, text=True, env=own, cwd=tmp_path, timeout=280)
    out = " ".join(ran.stdout.split())
    assert ran.returncode == 0, ran.stderr
    assert "2 results were made by other code than today's; tables mark them: " + CHANGED in out
    assert "run tiny_digits --recompute changed" in out and "Nothing is left to do" in out
    assert "†: made by other code than today's: " + CHANGED in out
