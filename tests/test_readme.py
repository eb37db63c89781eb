"""The README tells what is there."""

import re
from pathlib import Path

import pytest

from edm.config import PRESETS, ModelConfig
from edm.cost import num_parameters
from tests.planning import load_sweep, plan_sweep

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODULES = [path for package in ("edm", "experiments", "reports") for path in (ROOT / package).rglob("*.py")]


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py"], ids=lambda p: p.name)
def test_every_file_of_the_house_has_a_line(path: Path) -> None:
    house = README.split("## The house")[1].split("## Development")[0]
    assert re.search(rf"\b{re.escape(path.name)}\b", house)


def test_its_table_is_the_digits_sweeps() -> None:
    """Every cell of the shipped sweep, whole and in order."""
    digits = plan_sweep(load_sweep(ROOT / "sweeps" / "digits.yaml"))
    entry = r" \**[\d.]+(?: ± [\d.]+)?(?: %)?\**(?: ≈)? \|"
    rows = re.findall(rf"^\| (\w+) \| (yes|no) \| (\d) \| (\w+) \|(?:{entry}){{4}}$", README, re.MULTILINE)
    cells = [(c.model.preset, c.model.attention, c.sampling.guidance, c.sampling.sampler) for c in digits.sweep.cells]
    assert rows == [(preset, "yes" if on else "no", f"{scale:g}", sampler) for preset, on, scale, sampler in cells]


@pytest.mark.parametrize("name", PRESETS)
def test_its_parameter_counts_are_right(name) -> None:
    small = name in ("nano", "micro")
    for attention in (False, True):
        network = ModelConfig(name, attention).network(
            1 if small else 3, 8, 0 if name in ("tiny", "small", "big") else 10
        )
        millions = num_parameters(network) / 1e6
        assert f"{millions:.2f} M" in README or f"{millions:.1f} M" in README or f"{millions:.0f} M" in README


def test_its_sweep_file_reads(tmp_path: Path) -> None:
    block = README.split("## The sweep file")[1].split("Any field of")[0]
    path = tmp_path / "readme.yaml"
    path.write_text(re.sub(r"^    ", "", block.strip("\n"), flags=re.MULTILINE))
    sweep = load_sweep(path)
    assert len(sweep.cells) == 72 and sweep.report.columns == ("sampling.sampler",)
