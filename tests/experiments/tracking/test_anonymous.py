"""Bundles and pages do not say where they were made, unless --with-provenance is given."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.redaction import without_paths
from experiments.store.failures import Failure
from experiments.store.layout import LOG
from experiments.store.provenance import diff_path
from experiments.store.result_files import OWN_CHECKSUM, with_checksum
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.anonymous import anonymous_file
from tests.commandline import invoke

HOST, SECRET_PATH, DIFF = "host-of-mine", "/home/jane.doe/secret-project", "+ a line of mine"


@pytest.fixture
def told(done: tuple[Plan, Store]) -> tuple[Plan, Store]:
    """A store whose results say all that they can about where they were made."""
    plan, store = done
    digest = "0123456789abcdef" * 4
    for result_type, tasks in ((TrainingResult, plan.trainings), (EvaluationResult, plan.evaluations)):
        for signature in tasks:
            result = store.result(result_type, signature)
            assert result is not None
            origin = replace(
                result.provenance, host=HOST, command=f"edm-sweep run {SECRET_PATH}/x.yaml", git_diff=digest
            )
            files = tuple(result.files)
            store.finish(signature, replace(result, provenance=origin), files)
            (store.folder(result.kind, signature) / LOG).write_text(f"{HOST} {SECRET_PATH}\n")
            Failure(f"cannot read {SECRET_PATH}/images/3.png").write(store.folder(result.kind, signature))
    diff_path(store, digest).parent.mkdir(exist_ok=True)
    diff_path(store, digest).write_text(DIFF)
    return plan, store


def contents(bundle: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(bundle) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)


def traces(content: bytes, store: Store) -> list[str]:
    """What in a file says where it was made."""
    told = (HOST, SECRET_PATH, "jane.doe", DIFF, str(store.root), str(store.root.parent))
    return [trace for trace in told if trace.encode() in content]


def test_a_bundle_does_not_say_where_it_was_made(told: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = told
    bundle = tmp_path / "elsewhere.zip"
    assert invoke("export", plan.sweep.name, bundle, "--store", store.root).returncode == 0
    found = {name: traces(content, store) for name, content in contents(bundle)}
    assert len(found) > 10 and not any(found.values())
    assert not any(name.endswith((LOG, ".patch")) for name in found)
    answer = invoke("report", bundle, "--store", tmp_path / "other")
    assert answer.returncode == 0, answer.stderr


def test_a_bundle_with_provenance_says_all_of_it(told: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = told
    bundle = tmp_path / "all.zip"
    assert invoke("export", plan.sweep.name, bundle, "--with-provenance", "--store", store.root).returncode == 0
    found = {trace for _, content in contents(bundle) for trace in traces(content, store)}
    assert {HOST, SECRET_PATH, DIFF, str(store.root)} <= found


@pytest.mark.parametrize("given", [False, True])
def test_a_page_says_where_it_was_made_only_on_request(told: tuple[Plan, Store], given: bool) -> None:
    plan, store = told
    options = ["--with-provenance"] if given else []
    assert invoke("report", plan.sweep.name, "--store", store.root, *options).returncode == 0
    pages = [path.read_bytes() for path in (store.root / "reports" / plan.sweep.name).glob("report.*")]
    found = {trace for page in pages for trace in traces(page, store)}
    assert len(pages) == 3
    if given:
        assert found >= {HOST, str(store.root)}
    else:
        assert found == set()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/jane/my images", "my images"),
        ("/home/jane/my images: 1 file is left out (a/b.gif)", "my images: 1 file is left out (a/b.gif)"),
        ("cannot read /home/jane/x.png; replace it", "cannot read x.png; replace it"),
        ("path: /a/b/c\nother: 1/2\n", "path: c\nother: 1/2\n"),
        ("100 images/s, 3/4, a/b/c, https://host/a/b", "100 images/s, 3/4, a/b/c, https://host/a/b"),
        ("runs", "runs"),
        ("'/a/b', \"/c/d\"", "'b', \"d\""),
    ],
)
def test_absolute_paths_are_cut_to_their_last_part(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_a_result_vouches_for_itself_without_its_origins() -> None:
    result = with_checksum({"provenance": {"host": HOST, "git_diff": "a", "python": "3"}, "drawn": {"host": [HOST]}})
    hidden = json.loads(anonymous_file("trainings/x/result.json", json.dumps(result).encode()))
    own = hidden.pop(OWN_CHECKSUM)
    assert with_checksum(hidden)[OWN_CHECKSUM] == own
    assert hidden == {"provenance": {"host": "", "python": "3"}, "drawn": {"host": []}}
