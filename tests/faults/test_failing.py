"""Work that fails for good: the rest is done, and what failed is left to do."""

import re
import shutil
from pathlib import Path

import pytest

from tests.commandline import invoke
from tests.conftest import TINY
from tests.inprocess import without_ray

pytestmark = pytest.mark.slow


def test_a_trial_that_fails_leaves_the_rest_and_is_left_to_do(tmp_path: Path, prepared: Path) -> None:
    place = tmp_path / "store"
    shutil.copytree(prepared, place)
    sweep = TINY.replace("model.attention: [false, true]", "training.lr: [2.0e-3, 1.0e+30]")
    broken = tmp_path / "broken.yaml"
    broken.write_text(sweep.replace("lr: 2.0e-3, ", "", 1))
    with without_ray():
        done = invoke("run", broken, "--store", place)
    assert done.returncode == 1 and done.stderr == ""
    assert "FAILED training lr=1e+30: the " in done.stdout
    log = re.search(r"The whole log: (.*)", done.stdout)
    assert log is not None and "What may help: lower training.lr" in Path(log[1]).read_text()
    assert done.stdout.count("What may help: lower training.lr") == 2  # as it happened, and in the end
    assert "Not run because a task that they depend on failed: lr=1e+30/euler, lr=1e+30/heun" in done.stdout
    assert len(re.findall(r"^0.002 .* %(?: +[≈*])? *$", done.stdout, re.MULTILINE)) == 2
    again = invoke("plan", broken, "--store", place)
    assert "(1 in the store) and 4 evaluations (2 in the store)\n3 tasks left" in again.stdout
