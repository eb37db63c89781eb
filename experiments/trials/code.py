"""Records which code computes a result: the digests of its parts, kept with what they consist of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from experiments.store.code_files import BETWEEN, code_path, keep_definitions, united
from experiments.store.files import read_json, write_json
from experiments.store.layout import BEGUN_WITH
from experiments.store.results import Result
from experiments.store.store import Store
from experiments.sweep.code_parts import EdmCode, digests_of
from experiments.sweep.jobs import Task

Code = Mapping[str, str]  # the digest of each part


def code_now(store: Store, parts: Iterable[str]) -> Code:
    """Return the digests of parts as this process runs them; the store keeps what they consist of."""
    found = _digests_of(EdmCode.of_this_version(), tuple(parts))
    for part, digest in found.items():
        if not code_path(store, digest).exists():
            reach = EdmCode.of_this_version().reach(part)
            keep_definitions(store, part, digest, reach.definitions if reach is not None else {})
    return found


@cache  # a process goes on to run what it has loaded, whatever becomes of the files
def _digests_of(_code: EdmCode, parts: tuple[str, ...]) -> Code:
    return digests_of(parts)


def code_of(store: Store, *tasks: Task) -> Code:
    """Return the code of tasks' results, under the names that what is made from them has for it: by their kinds."""
    return made_from(**{task.kind: store.result(task.result_type, task.signature) for task in tasks})


def made_from(**results: Result | None) -> Code:
    """Return the code of results that others are made from, each under its role: training, guide, data and so on.

    What these were made from in turn keeps the role that it has there.
    """
    named = (
        {part if BETWEEN in part else f"{role}{BETWEEN}{part}": digest for part, digest in result.code.items()}
        for role, result in results.items()
        if result is not None
    )
    return united(*named)


def begun_with(folder: Path, code: Code, resumed: bool) -> Code:
    """Return the code that a task has been computed with once it goes on with `code`, and note it in its folder.

    resumed: whether the task goes on with what was computed before.
    """
    before = read_json(folder / BEGUN_WITH) if resumed else None
    found = united(before or {}, code)
    write_json(folder / BEGUN_WITH, dict(found))
    return found


def as_text(code: Code) -> str:
    """Return code as the metadata of a file holds it."""
    return json.dumps(dict(code), sort_keys=True)


def from_texts(texts: Iterable[str]) -> Code | None:
    """Return the code of several files together; None where any of them does not say."""
    found = []
    for text in texts:
        try:
            found.append(json.loads(text))
        except ValueError:  # made before code was recorded
            return None
    return united(*found)
