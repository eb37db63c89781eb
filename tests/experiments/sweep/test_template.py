"""init: a file that plans as it is, whatever it is of."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from experiments.errors import UserError
from experiments.sweep.plan import plan_sweep
from experiments.sweep.reader import load_sweep
from experiments.sweep.template import Start, start_sweep


@pytest.mark.parametrize("data", get_args(Start))
def test_what_is_written_plans_as_it_is(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(24):
        path = tmp_path / "images" / f"class-{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((70, 70, 3), i, dtype=np.uint8)).save(path)
    written = start_sweep("first", data)
    assert written == Path("first.yaml")
    plan = plan_sweep(load_sweep(written))
    assert plan.sweep.name == "first" and len(plan.cells) == 4 and len(plan.trainings) == 2
    assert plan.warnings == [] or data == "folder"  # whose handful of images has no FID worth the name
    assert plan.sweep.cells[0].data.name == data
    text = written.read_text()
    assert "edm-sweep run first.yaml" in text and text.count("#") > 10


def test_it_goes_into_sweeps_where_there_is_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    assert start_sweep("first.yaml", "digits") == Path("sweeps/first.yaml")
    assert start_sweep("first", "digits", Path("elsewhere")) == Path("elsewhere/first.yaml")


def test_nothing_is_written_over_and_mistakes_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start_sweep("first", "digits").write_text("mine")
    with pytest.raises(UserError, match=r"first.yaml: is there already; choose another name"):
        start_sweep("first", "digits")
    assert Path("first.yaml").read_text() == "mine"
    with pytest.raises(UserError, match=r"\.\./x: cannot name a sweep"):
        start_sweep("../x", "digits")
    with pytest.raises(UserError, match="--data mnist: is not one of digits"):
        start_sweep("second", "mnist")
    with pytest.raises(UserError, match="cannot be written"):
        start_sweep("second", "digits", Path("/proc/no"))
