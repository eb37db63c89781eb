"""docs/extending.md: every kind of extension runs as the page has it, on digits."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from edm import registry
from experiments.errors import UserError
from experiments.runner.resume import open_schedule
from experiments.store.store import Store
from experiments.sweep.extensions import FIELDS
from experiments.sweep.serialisation import plan_from_json, plan_to_json
from experiments.trials.checking import check_plan
from experiments.trials.extensions import keep_extensions
from tests import ROOT
from tests.extending import SWEEP
from tests.inprocess import execute
from tests.planning import load_sweep, plan_sweep

pytestmark = pytest.mark.usefixtures("few_statistics")

PAGE = (ROOT / "docs" / "extending.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(
    r"^```python\n(.+?)^```\n+```yaml\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL
)
NAMES = [re.findall(r'@extend\.(\w+)\(\s*"(\w+)"', python)[-1] for python, _ in EXAMPLES]


def sweep_of(fields: str) -> dict[str, Any]:
    """The small sweep without axes, and with the fields of an example."""
    content = yaml.safe_load(SWEEP)
    del content["grid"]
    for section, values in yaml.safe_load(fields).items():
        content[section] = {**content.get(section, {}), **values}
    return content


@pytest.mark.parametrize(("python", "fields"), EXAMPLES, ids=[f"{kind}-{name}" for kind, name in NAMES])
def test_an_example_runs_as_it_is(python: str, fields: str, tmp_path: Path, trained: Store) -> None:
    (tmp_path / "ideas.py").write_text(python)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(sweep_of(fields)))
    plan = plan_sweep(load_sweep(tmp_path / "mine.yaml"))
    assert plan.extensions, "the fields of the example use nothing of it"
    check_plan(plan, trained)
    keep_extensions(plan, trained)
    registry._registered.clear()  # as in a worker, and in a report
    recalled = plan_from_json(plan_to_json(plan), tmp_path / "record.json")
    assert recalled.evaluations.keys() == plan.evaluations.keys() and recalled.cells == plan.cells
    schedule = open_schedule(plan, trained)
    assert "evaluation" in execute(schedule, trained) and not schedule.failures


@pytest.mark.parametrize(("python", "fields"), EXAMPLES, ids=[f"{kind}-{name}" for kind, name in NAMES])
def test_where_an_example_fails_is_said(python: str, fields: str, tmp_path: Path, store: Store) -> None:
    at = max(i for i, line in enumerate(python.splitlines()) if line.startswith("def "))
    lines = python.splitlines()
    lines.insert(at + 1, '    raise RuntimeError("oops")')
    (tmp_path / "ideas.py").write_text("\n".join(lines))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(sweep_of(fields)))
    with pytest.raises(UserError) as caught:
        check_plan(plan_sweep(load_sweep(tmp_path / "mine.yaml")), store)
    message = str(caught.value)
    assert f"ideas.py:{at + 2}" in message and "RuntimeError: oops" in message and "; correct it" in message


def test_every_kind_has_an_example() -> None:
    assert {kind for kind, _ in NAMES} == set(FIELDS)


def test_examples_are_short() -> None:
    assert all(len(python.strip().splitlines()) <= 32 for python, _ in EXAMPLES)
