"""docs/cli.md has every command and option, and every command of it and of the README does what it says."""

import importlib.util
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from experiments.cli.main import app
from experiments.errors import UserError
from experiments.inspection.recall import remember
from experiments.store.store import Store
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": (ROOT / "README.md").read_text(), "docs/cli.md": (ROOT / "docs" / "cli.md").read_text()}
SERVES = "ui"  # until it is interrupted: test_end_to_end.py starts it for real
# CELL of the README, and what is not here: a data set of 1.4 GB
OF_A_BENCHMARK = re.compile(r"\d s$|of importing torch$")  # which prints such lines
CELL, ABSENT = "nano/attention/guidance=2/heun", "data prepare celeba"
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
    return [re.sub(r"\s+#.*$", "", line).strip() for line in lines if not OF_A_BENCHMARK.search(line)]


DOCUMENTED = list(dict.fromkeys(line for page in PAGES.values() for line in commands(page)))


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_cli", ROOT / "docs" / "cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def every_command() -> list[tuple[str, Any]]:
    return generator().commands(typer.main.get_command(app))


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGES["docs/cli.md"] == generator().page(), "run: uv run python docs/cli.py"


@pytest.mark.parametrize(
    ("name", "command"), every_command(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_is_in_the_page_and_has_a_help(name: str, command: Any) -> None:
    section = PAGES["docs/cli.md"].split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert f"    edm-sweep {name}" in section, "it has no example"
    for parameter in command.params:
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert option == "--help" or option == "-h" or f"`{option}`" in section
        assert parameter.name == "help" or parameter.help, f"{name} {parameter.name} has no help"
    if name != SERVES:
        assert "`--json`" in section


def test_every_command_is_in_the_readme_or_the_page() -> None:
    for name, _ in every_command():
        assert any(line == name or line.startswith(f"{name} ") for line in DOCUMENTED), name


# running them ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a person has it who has run sweeps/digits.yaml, with smaller networks; what they take is in it."""
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
    remember(plan, store)
    assert not run_all(plan, store).messages
    for i in range(24):
        path = folder / "birds" / f"{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), 10 * i, dtype=np.uint8)).save(path)
    (folder / "Downloads").mkdir()
    return folder


def invoke(line: str) -> Result:
    words = [CELL if word == "CELL" else word.replace("~", ".") for word in shlex.split(line)]
    return CliRunner().invoke(app, words)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("line", [line for line in DOCUMENTED if line.split()[0] != SERVES])
def test_every_documented_command_runs(line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("EDM_SWEEP_STORE", "EDM_SWEEP_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    if "bundle.zip" in line and not line.startswith("export"):
        assert invoke("export digits bundle.zip").exit_code == 0
    result = invoke(line)
    if line.startswith(ABSENT):
        assert isinstance(result.exception, UserError) and "img_align_celeba.zip" in str(result.exception)
        return
    assert result.exit_code == 0, result.output
    if "--json" in line:
        json.loads(result.stdout)


def test_init_writes_what_runs_as_it_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "sweeps" / "third.yaml").unlink(missing_ok=True)
    assert invoke("init third").exit_code == 0
    plan, store = (
        plan_sweep(load_sweep("sweeps/third.yaml", ("training.kimg=0.64", "evaluation.images=100"))),
        Store(place / "runs"),
    )
    assert not run_all(plan, store).messages
    assert all(store.result("evaluations", name) for name in plan.evaluations)
