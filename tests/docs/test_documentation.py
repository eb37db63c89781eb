"""The pages of docs/: what scripts make of the code is up to date, what they name exists, and their commands run."""

import importlib
import json
import re
import shlex
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer
from PIL import Image

from edm.kernels.available import SWITCH
from experiments.cli.main import app
from experiments.cli.views.summary import summary_json
from experiments.environment import DATA_VARIABLE, STORE_VARIABLE, WEIGHTS_VARIABLE
from experiments.runner.run import Summary
from experiments.store import layout
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.store.sweep_names import selection_text, variant_name
from experiments.sweep.spec import field_names
from experiments.tracking.records import record_plan
from tests import commandline
from tests.docs.scripts import DOCS, ROOT, script
from tests.inprocess import run_all, without_ray
from tests.planning import load_sweep, plan_sweep

SCRIPTS = sorted((DOCS / "scripts").glob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
# pages whose commands run below; clusters are not to be had here
RUN = ("README", "cli", "quickstart", "datasets", "sampling", "reports", "running", "mlflow")
CELL, ABSENT = "nano/attention/guidance=2/heun", "data prepare celeba"  # a data set of 1.4 GB
# options of the whole command, and of other programs that pages speak of
OTHERS = {
    "--help",
    "--version",
    "--install-completion",
    "--retry",
    "--transfer",
    "--resume",
    "--extra",
    "--signal",
    "--changed",
}
OTHERS |= {"--python", "--update", "--tiny"}
SERVES = ("ui", "demo")  # until they are interrupted: test_end_to_end.py and test_page.py start them
SMALL = {
    "kimg: 50": "kimg: 0.64",
    "{steps: 18}": "{steps: 3}",
    "images: 1000": "images: 100",
    "grid:": "model: {channels: 8}\ngrid:",
    "report:": "resources: {sampling_batch: 100}\nreport:",
}


def commands(page: str) -> list[str]:
    """The commands in a page's blocks, as they are typed after `edm-sweep`."""
    lines = re.findall(r"^ {4}(?:.*\s)?edm-sweep (.+)$", page, re.MULTILINE)
    return [re.sub(r"\s+#.*$", "", line).strip() for line in lines]


DOCUMENTED = list(dict.fromkeys(line for page in PAGES if page.stem in RUN for line in commands(page.read_text())))


def every_command() -> list[tuple[str, Any]]:
    return script("cli").commands(typer.main.get_command(app))


# what scripts make -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "maker"), [("cli.md", "cli"), ("sweep-file.md", "sweep_file")])
def test_the_page_is_what_the_code_says(page: str, maker: str) -> None:
    assert (DOCS / page).read_text() == script(maker).page(), f"run: uv run python docs/scripts/{maker}.py"


def test_the_docstrings_of_sections_describe_exactly_their_fields() -> None:
    made = script("sweep_file")
    for kind in made.CLASSES.values():
        assert list(made.meanings(kind)) == list(kind.__dataclass_fields__)
    fields = {f"{name}.{field}" for name, kind in made.CLASSES.items() for field in field_names(kind)}
    assert made.MORE.keys() <= fields


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_imports(path: Path) -> None:
    module = script(path.stem)
    assert callable(getattr(module, "main", None) or module.page)


@pytest.mark.parametrize(
    ("name", "command"), every_command(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_is_in_the_page_and_has_a_help(name: str, command: Any) -> None:
    section = (DOCS / "cli.md").read_text().split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert f"    edm-sweep {name}" in section, "it has no example"
    for parameter in command.params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert option == "--help" or option == "-h" or f"`{option}`" in section
        assert parameter.name == "help" or parameter.help, f"{name} {parameter.name} has no help"
    if name not in SERVES:
        assert "`--json`" in section


# what pages name -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:edm|experiments|reports|sweeps|benchmarks|docs|tests)/[\w./-]*)`", page.read_text())
    absent = {name for name in named if not (ROOT / name).exists()}
    assert not absent, f"{page.name} names {', '.join(sorted(absent))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_field_that_a_page_names_exists(page: Path) -> None:
    fields = {f"{name}.{field}" for name, kind in script("sweep_file").CLASSES.items() for field in field_names(kind)}
    sections = "data|model|training|sampling|evaluation|resources|report"
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)(?=[`:])", page.read_text()))
    files = {"report.html", "report.md", "report.tex", "model.safetensors"}
    assert named <= fields | files, f"{page.name} names {', '.join(sorted(named - fields - files))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    """In text, where no other program is meant but those of OTHERS."""
    known = {o for _, c in every_command() for p in c.params for o in (*p.opts, *p.secondary_opts)} | OTHERS
    named = set(re.findall(r"`(?:[\w -]+ )?(--[a-z-]+)", page.read_text()))
    assert named <= known, f"{page.name} names {', '.join(sorted(named - known))}"


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_no_link_of_a_page_leaves_the_site(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    outside = [link for link in links if "://" not in link and not (page.parent / link).resolve().is_relative_to(DOCS)]
    assert not outside, f"{page.name} links to {', '.join(outside)}, which mkdocs build --strict refuses"


def test_every_page_is_two_clicks_from_the_readme() -> None:
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    absent = pages - set(re.findall(r"\]\(([\w-]+\.md)", (DOCS / "index.md").read_text()))
    assert "](docs/index.md)" in (ROOT / "README.md").read_text()
    assert not absent, f"index.md does not lead to {', '.join(sorted(absent))}"


def test_the_summary_of_a_run_is_described_field_by_field() -> None:
    table = (DOCS / "cli.md").read_text().split("\n## run\n")[1].split("\n    edm-sweep")[0]
    described = {
        name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert described == {*summary_json(Summary(0, 0)), "sweep", "store", "outcome", "error", "report", "cells"}


def test_every_environment_variable_is_in_the_page_of_the_command_line() -> None:
    page = (DOCS / "cli.md").read_text()
    for name in (STORE_VARIABLE, DATA_VARIABLE, WEIGHTS_VARIABLE, SWITCH):
        assert f"| `{name}` |" in page
    for name in (parameter.envvar for _, command in every_command() for parameter in command.params):
        assert name is None or f"| `{name}` |" in page


def test_the_page_of_the_store_names_its_folders() -> None:
    page = (DOCS / "store.md").read_text()
    folders = {*get_args(layout.StoreKind), layout.DAMAGED, layout.REPLACED, layout.CODE, layout.RUNS}
    absent = {name for name in folders if f"      {name}/" not in page}
    assert not absent, f"store.md does not name {', '.join(sorted(absent))}"


def test_the_example_of_a_variants_name_is_what_a_run_gives_it() -> None:
    name = variant_name("digits", [selection_text(["nano/heun"])])
    assert f"`{name}` for `--only nano/heun`" in (DOCS / "running.md").read_text()


def test_the_api_page_names_what_is_there() -> None:
    page = (DOCS / "api.md").read_text()
    entries = re.findall(r"^::: (\S+)\n    options:\n      members: \[(.+)\]$", page, re.MULTILINE)
    assert len(entries) == page.count(":::")
    for module, members in entries:
        for member in members.split(", "):
            assert hasattr(importlib.import_module(module), member), f"{module} has no {member}"


# running the commands --------------------------------------------------------------------------------


def test_every_command_is_documented() -> None:
    for name, _ in every_command():
        assert any(line == name or line.startswith(f"{name} ") for line in DOCUMENTED), name


@pytest.fixture(scope="module")
def place(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which sweeps/digits.yaml was run, with smaller networks, and the files that the commands take."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "sweeps").mkdir()
    text = (ROOT / "sweeps" / "digits.yaml").read_text()
    for before, after in SMALL.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "sweeps" / "digits.yaml").write_text(text)
    (folder / "sweeps" / "changed.yaml").write_text(text.replace("lr: 2.0e-3", "lr: 1.0e-3"))
    shutil.copytree(prepared, folder / "runs")
    plan, store = plan_sweep(load_sweep(folder / "sweeps" / "digits.yaml")), Store(folder / "runs")
    record_plan(plan, store)
    assert not run_all(plan, store).failures
    for i in range(24):
        path = folder / "birds" / f"{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), 10 * i, dtype=np.uint8)).save(path)
    (folder / "Downloads").mkdir()
    return folder


def invoke(line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("~", ".")
    line = re.sub(r"(sweeps/)?\bmine\.yaml", "sweeps/digits.yaml", line)  # `init mine` has its own test
    words = [CELL if word == "CELL" else word for word in shlex.split(line)]
    with without_ray() if words[0] == "run" else nullcontext():
        return commandline.invoke(*words)


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in DOCUMENTED if line.split()[0] not in SERVES])
def test_every_documented_command_runs(line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    if "bundle.zip" in line and not line.startswith("export"):
        assert invoke("export digits bundle.zip").returncode == 0
    done = invoke(line)
    if line.startswith(ABSENT):
        assert done.returncode == 2 and "img_align_celeba.zip" in done.stderr
        return
    assert done.returncode == 0, done.stdout + done.stderr
    if "--json" in line:
        json.loads(done.stdout)


def test_init_writes_what_runs_as_it_is(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    assert invoke("init third").returncode == 0
    smaller = ("training.kimg=0.32", "evaluation.images=100", "model.channels=8", "sampling.steps=3")
    plan = plan_sweep(load_sweep("sweeps/third.yaml", smaller))
    assert not run_all(plan, store).failures
    assert all(store.result(EvaluationResult, name) for name in plan.evaluations)
