"""What a sweep names is read on request, once, and by nothing but what is given to planning."""

import ast
from pathlib import Path

import pytest

from edm.config import DataConfig
from edm.data.catalogue import DatasetFacts
from edm.data.errors import DataError
from experiments.errors import UserError
from experiments.inputs import InputFiles
from experiments.sweep.plan import plan_sweep
from experiments.sweep.reader import load_sweep
from tests import ROOT

SWEEP = """\
data:       {name: folder, path: /absent/images, resolution: 32}
model:      {preset: nano}
training:   {label_dropout: 0.1}
evaluation: {features: inception, statistics: /absent/published.npz}
grid: {sampling.guidance: [1, 2], evaluation.images: [5000, 10000]}
"""


class StatedInputs:
    """Inputs of files that do not exist."""

    def __init__(self, fingerprint: str = "one", sha256: str | None = "two") -> None:
        self._fingerprint, self._sha256 = fingerprint, sha256

    def facts(self, config: DataConfig) -> DatasetFacts:
        return DatasetFacts(3, config.resolution or 0, 10, {"train": 8000, "val": 4000, "test": 4000})

    def fingerprint(self, config: DataConfig) -> str:
        return self._fingerprint

    def statistics_sha256(self, path: str) -> str | None:
        return self._sha256


def evaluations(tmp_path: Path, **stated: str) -> set[str]:
    path = tmp_path / "x.yaml"
    path.write_text(SWEEP)
    sweep = load_sweep(path, (), StatedInputs())
    return set(plan_sweep(sweep, StatedInputs(**stated)).evaluations)


def test_planning_reads_no_file_but_the_sweeps(tmp_path: Path) -> None:
    found = evaluations(tmp_path)
    assert len(found) == 4
    assert found == evaluations(tmp_path)
    assert found.isdisjoint(evaluations(tmp_path, fingerprint="other"))
    assert found.isdisjoint(evaluations(tmp_path, sha256="other"))


FILE_ACCESS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "is_file",
    "is_dir",
    "exists",
    "stat",
    "glob",
    "iterdir",
}


@pytest.mark.parametrize("path", sorted((ROOT / "experiments" / "sweep").glob("*.py")), ids=lambda path: path.stem)
def test_only_the_document_touches_files(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls}
    assert not names & FILE_ACCESS or path.stem == "document", f"{path.stem}: ask Inputs, or read it in a room above"


def test_a_statistics_file_that_is_gone_by_then_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(SWEEP)
    sweep = load_sweep(path, (), StatedInputs())
    with pytest.raises(UserError, match=r"evaluation.statistics: '/absent/published.npz' does not exist; give"):
        plan_sweep(sweep, StatedInputs(sha256=None))


def test_a_statistics_file_is_read_once(tmp_path: Path) -> None:
    inputs, path = InputFiles(), tmp_path / "published.npz"
    assert inputs.statistics_sha256(str(path)) is None
    path.write_bytes(b"one")
    assert inputs.statistics_sha256(str(path)) is None
    first = InputFiles()
    found = first.statistics_sha256(str(path))
    path.write_bytes(b"two")
    assert first.statistics_sha256(str(path)) == found
    assert InputFiles().statistics_sha256(str(path)) not in (None, found)


def test_a_folder_that_cannot_be_used_is_an_error_each_time(tmp_path: Path) -> None:
    inputs, config = InputFiles(), DataConfig("folder", path=str(tmp_path / "absent"), resolution=8)
    for _ in range(2):
        with pytest.raises(DataError, match="absent"):
            inputs.facts(config)
