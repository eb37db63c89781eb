"""init: where the new sweep file goes, and one sentence for each mistake."""

from pathlib import Path

import pytest

from experiments.cli.init import start_sweep
from experiments.errors import UserError
from tests.planning import load_sweep, plan_sweep


def test_it_goes_into_sweeps_where_there_is_such_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert start_sweep("first", "digits") == Path("first.yaml")
    (tmp_path / "sweeps").mkdir()
    assert start_sweep("first.yaml", "digits") == Path("sweeps/first.yaml")
    assert start_sweep("first", "digits", Path("elsewhere")) == Path("elsewhere/first.yaml")
    assert Path("elsewhere/first.yaml").read_text().startswith("# first: ")


def test_nothing_is_overwritten_and_mistakes_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    start_sweep("first", "digits").write_text("mine")
    with pytest.raises(UserError, match=r"first.yaml: already exists; choose another name or --folder"):
        start_sweep("first", "digits")
    assert Path("first.yaml").read_text() == "mine"
    with pytest.raises(UserError, match=r"\.\./x: cannot be the name of a sweep; use at most 100 letters"):
        start_sweep("../x", "digits")
    with pytest.raises(UserError, match="--data mnist: is not one of digits"):
        start_sweep("second", "mnist")
    with pytest.raises(UserError, match="cannot be written"):
        start_sweep("second", "digits", Path("/proc/no"))


def test_an_extension_is_written_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = start_sweep("mine", "digits", extension=True)
    plan = plan_sweep(load_sweep(path))
    assert [extension.where for extension in plan.extensions.values()] == ["ideas.py, adams"]
    names = [plan.cell_name(planned) for planned in plan.cells]
    assert names[:3] == ["no-attention/euler", "no-attention/adams/weight=0.25", "no-attention/adams/weight=0.5"]
    assert max(len(line) for file in tmp_path.iterdir() for line in file.read_text().splitlines()) <= 120
    with pytest.raises(UserError, match=r"ideas\.py: already exists"):
        start_sweep("other", "digits", extension=True)
    assert not Path("other.yaml").exists()
