"""No name that was read, from whatever source, leads out of the folder that it is meant for."""

import json
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.names import is_name, is_part, require_part
from experiments.store.layout import RESULT
from experiments.store.provenance import diff_path
from experiments.store.result_files import read_result
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.store.sweep_records import read_record, record_path, recorded_sweeps
from experiments.sweep.plan import Plan
from tests.commandline import invoke

HOSTILE = ["", ".", "..", "../x", "a/b", "/etc", "a\\b", ".hidden", "a\nb", "\x1b[31m", "a\0", "a" * 201, "~", "a b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_is_no_name_of_anything(tmp_path: Path, name: str) -> None:
    assert not is_name(name) and not is_part(name)
    with pytest.raises(ValueError, match="cannot be the name of a file or a folder"):
        require_part(name)
    store = Store(tmp_path)
    assert read_record(name, store) is None
    with pytest.raises(ValueError, match="cannot be the name"):
        record_path(name, store)
    with pytest.raises(UserError, match="is no signature"):
        store.folder("trainings", name)
    if len(name) <= 20 and name != "a" * 20:
        with pytest.raises(ValueError, match="cannot be the name"):
            diff_path(store, name)


@pytest.mark.parametrize("name", [None, 3, ["a"], {"a": 1}, True])
def test_what_is_no_text_is_no_name(name: object) -> None:
    assert not is_name(name) and not is_part(name)


def test_a_variant_may_name_a_folder_but_no_sweep_file() -> None:
    assert is_part("digits@evaluation.images=100+only=a,b") and not is_name("digits@evaluation.images=100")


def test_records_with_other_names_are_no_sweeps(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    for name in ("good", "a b", "\x1b[31mred"):
        (tmp_path / "sweeps" / f"{name}.json").write_text("{}")
    assert recorded_sweeps(Store(tmp_path)) == ["good"]


@pytest.mark.parametrize("name", ["../../outside.txt", "/etc/hostname", "a/../../b", ""])
def test_a_result_vouches_only_for_files_of_its_own_folder(done: tuple[Plan, Store], name: str) -> None:
    plan, store = done
    signature = next(iter(plan.evaluations))
    path = store.folder("evaluations", signature) / RESULT
    outside = store.root / "outside.txt"
    outside.write_text("mine")
    content = json.loads(path.read_text())
    content.pop("result_sha256")
    path.write_text(json.dumps({**content, "files": {name: "0" * 64}}))
    with pytest.raises(ValueError, match="cannot be the name"):
        read_result(path)
    assert store.verified(EvaluationResult, signature) is None
    assert outside.read_text() == "mine"


def test_a_record_whose_signatures_are_paths_is_one_sentence(done: tuple[Plan, Store]) -> None:
    plan, store = done
    path = record_path(plan.sweep.name, store)
    record = json.loads(path.read_text())
    for tasks in record["cells"].values():
        for kind in tasks:
            tasks[kind] = "../../../../etc"
    path.write_text(json.dumps(record))
    cell = next(iter(record["cells"]))
    for command in ("why", "logs"):
        answer = invoke(command, cell, "--store", store.root)
        assert answer.returncode == 2 and len(answer.stderr.splitlines()) == 1
