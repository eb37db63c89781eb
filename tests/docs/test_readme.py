"""README.md is short and true: its table, its sweep file, its links, and the numbers it leads to."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edm.config import PRESETS, ModelConfig
from edm.precondition import Denoiser
from tests.planning import load_sweep, plan_sweep

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LONGEST = 150  # lines
LINKED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= LONGEST


def test_its_table_has_the_digits_sweeps_cells() -> None:
    """Whether the numbers are right is compared with a real run by .ci/run."""
    sweep = plan_sweep(load_sweep(ROOT / "sweeps" / "digits.yaml")).sweep
    block = README.split("<!-- quickstart table -->\n")[1].split("<!-- end of quickstart table -->")[0]
    head, line, *rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in block.strip().splitlines()]
    assert line == ["---", *["---:"] * (len(head) - 1)]
    assert all(re.fullmatch(r"\d\.\d\d ± \d\.\d\d", entry) for row in rows for entry in row[1:])
    shown = [(row[0], sampler) for row in rows for sampler in head[1:]]
    cells = [cell.sampling for cell in sweep.cells]
    assert shown == list(dict.fromkeys((f"{sampling.guidance:g}", sampling.sampler) for sampling in cells))


def test_its_sweep_file_reads(tmp_path: Path) -> None:
    block = README.split("## A sweep file")[1].split("Any field")[0]
    path = tmp_path / "readme.yaml"
    path.write_text(re.sub(r"^    ", "", block.strip("\n"), flags=re.MULTILINE))
    plan = plan_sweep(load_sweep(path))
    assert f"{len(plan.cells)} cells and {len(plan.trainings)} trainings" in README
    assert plan.sweep.report[0].columns == ("sampling.sampler",)


def test_ci_finds_its_commands() -> None:
    done = subprocess.run([sys.executable, ROOT / ".ci" / "readme.py", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    main, tests, slow = done.stdout.splitlines()
    assert main.endswith("run sweeps/digits.yaml") and "pytest" in tests and "slow" in slow


@pytest.mark.parametrize("name", LINKED)
def test_its_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    assert links
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        path = ROOT / (file or name)
        assert path.exists(), f"{name} links to {link}, which is not there"
        assert not anchor or anchor in anchors(path), f"{name} links to {link}, which has no such heading"


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub and the docs site give to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_of_presets_has_each_ones_parameters(name) -> None:
    page = (ROOT / "docs" / "sweep-file.md").read_text()
    rows = re.findall(rf"^\| `{name}` \|.*\| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    assert rows == [tuple(f"{built_parameters(name, attention):,}" for attention in (True, False))]


def built_parameters(preset, attention: bool) -> int:
    """Parameters of a preset's network for RGB images without labels, counted from the network itself."""
    with torch.device("meta"):
        model = Denoiser(ModelConfig(preset, attention).network(3, 8, 0), sigma_data=0.5)
    return sum(parameter.numel() for parameter in model.parameters())
