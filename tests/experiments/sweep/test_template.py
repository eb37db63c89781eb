"""New sweep files: their text plans as it is, whatever the data set."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from edm.config import TrainingConfig
from edm.config.canonical import reached_halflife
from experiments.sweep.template import TemplateData, sweep_template
from tests.planning import load_sweep, plan_sweep


def images(folder: Path) -> None:
    for i in range(24):
        path = folder / f"class-{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((70, 70, 3), i, dtype=np.uint8)).save(path)


@pytest.mark.parametrize("data", get_args(TemplateData))
def test_a_new_sweep_file_plans_as_it_is(data: TemplateData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "images")
    path = Path("first.yaml")
    path.write_text(sweep_template("first", path, data))
    plan = plan_sweep(load_sweep(path))
    assert plan.sweep.name == "first" and len(plan.cells) == 4 and len(plan.trainings) == 2
    assert plan.warnings == [] or data == "folder"  # whose few images allow no FID
    assert plan.sweep.cells[0].data.name == data
    training = plan.sweep.cells[0].training
    is_default = training.ema_halflife_kimg == TrainingConfig().ema_halflife_kimg
    assert is_default or training.ema_halflife_kimg < 1.01 * reached_halflife(training)


def test_its_commented_lines_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = sweep_template("first", Path("first.yaml"), "digits")
    for key in ("zip", "exclude", "resources"):
        assert f"\n# {key}: " in text
        text = text.replace(f"\n# {key}: ", f"\n{key}: ")
    Path("first.yaml").write_text(text)
    sweep = load_sweep("first.yaml")
    assert len(sweep.cells) == 6 and sweep.resources.gpus == "auto"


def test_it_says_what_to_do_next_and_where_fields_are_described() -> None:
    text = sweep_template("first", Path("sweeps/first.yaml"), "digits")
    assert "edm-sweep run sweeps/first.yaml" in text and "edm-sweep status first" in text
    assert "docs/sweep-file.md" in text
    assert max(len(line) for line in text.splitlines()) <= 120
