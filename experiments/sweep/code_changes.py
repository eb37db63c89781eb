"""Which results other code than today's has made: the functions that changed, since when, and who vouches for them."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from experiments.store.code_files import SEVERAL, definitions_of, own_part
from experiments.store.files import read_json, write_json
from experiments.store.layout import ACCEPTED, BEGUN_WITH
from experiments.store.results import OWN_PACKAGE, Provenance, Record, Result
from experiments.store.store import Store
from experiments.sweep.code_parts import EdmCode
from experiments.sweep.jobs import Task
from experiments.sweep.plan import Plan
from experiments.wording import utc_text

MOST_FUNCTIONS = 4  # that a sentence names
COMMIT_DIGITS = 7

NOT_READ: Mapping[str, Result] = {}

Outdated = Mapping[str, tuple[str, str]]  # by name in a result's code: the digest recorded and the one of today


def first_functions(names: Sequence[str]) -> str:
    """Return the first names of functions in one line, and how many more there are."""
    more = len(names) - MOST_FUNCTIONS
    return ", ".join([*names[:MOST_FUNCTIONS], *([f"{more} more"] if more > 0 else [])])


@dataclass(frozen=True)
class CodeChange:
    """What differs between the code that made a result and today's.

    functions: qualified names of what was changed, added or removed. since: the commit or release that made it, in
    words. outdated: the digests behind it.
    """

    functions: tuple[str, ...]
    since: str
    outdated: Outdated = field(default_factory=dict, compare=False)

    @property
    def text(self) -> str:
        """The change as a clause: what changed, and since when."""
        return f"{first_functions(self.functions)} changed since {self.since}"

    @property
    def note(self) -> str:
        """The change as a remark on a result."""
        return f"made by other code than today's: {self.text}"

    def to_json(self) -> dict[str, Any]:
        """Return the change for a script."""
        return {"functions": list(self.functions), "since": self.since}


@dataclass(frozen=True)
class Acceptance(Record):
    """Says that a result is the same as today's code would make it.

    by: who says so; "" in a bundle that hides it. code: digests recorded, then those of the day.
    """

    by: str
    time: str
    code: Mapping[str, tuple[str, str]]

    @property
    def text(self) -> str:
        """Who vouched for it, and when."""
        return f"accepted as the same{f' by {self.by}' if self.by else ''} at {self.time}"


@dataclass(frozen=True)
class ResultCode:
    """What a report needs to know of a result's code, be it from a store or from MLflow."""

    code: Mapping[str, str]
    since: str

    @classmethod
    def of(cls, result: Result) -> ResultCode:
        """Return what a report needs to know of the code of one result."""
        return cls(result.code, _since(result.provenance))


def change_of(store: Store, task: Task, made: ResultCode) -> CodeChange | None:
    """Return how today's code differs from what made a task's result; None where it does not, or nobody knows."""
    outdated = outdated_parts(made.code)
    if not outdated:
        return None
    for acceptance in acceptances(store.folder_of(task)):
        outdated = {name: pair for name, pair in outdated.items() if not _is_accepted(acceptance, name, pair)}
    return CodeChange(tuple(_functions(store, outdated)), made.since, outdated) if outdated else None


def outdated_parts(code: Mapping[str, str]) -> Outdated:
    """Return the parts of a result's code that are not today's, nor equivalent to today's."""
    own, found = EdmCode.of_this_version(), {}
    for name, digests in code.items():
        today = own.digest(own_part(name))
        if digests != today and own.knows(own_part(name)):
            vouched = own.equivalent(own_part(name))
            if not set(digests.split(SEVERAL)) <= {today, *vouched}:
                found[name] = (digests, today or "")
    return found


def differs(code: Mapping[str, str]) -> bool:
    """Return whether a result's code is not today's to the last bit, be it equivalent or not."""
    own = EdmCode.of_this_version()
    return any(own.knows(own_part(name)) and own.digest(own_part(name)) != digest for name, digest in code.items())


def _functions(store: Store, outdated: Outdated) -> Iterable[str]:
    """Yield the definitions that differ, each once; the name of a part whose earlier definitions are not known."""
    found: dict[str, None] = {}
    for name, (recorded, _) in outdated.items():
        part = own_part(name)
        reach = EdmCode.of_this_version().reach(part)
        now = reach.definitions if reach is not None else {}
        for digest in recorded.split(SEVERAL):
            before = definitions_of(store, digest)
            changed = differing_definitions(before, now) if before is not None else []
            found |= dict.fromkeys(changed or [f"the part {part!r}"] if before != now else [])
    return list(found) or [f"the part {own_part(name)!r}" for name in outdated]


def differing_definitions(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of the definitions that changed; only if none did, of those that were added and removed."""
    changed = [name for name, digest in before.items() if name in now and now[name] != digest]
    # what a changed function no longer calls, or calls now, only follows from its change
    return changed or [name for name in {**before, **now} if name not in before or name not in now]


def _since(provenance: Provenance) -> str:
    commit, version = provenance.git_commit, provenance.packages.get(OWN_PACKAGE)
    if commit:
        return f"commit {commit[:COMMIT_DIGITS]}" + (" with local changes" if provenance.git_dirty else "")
    return f"{OWN_PACKAGE} {version}" if version else "an unknown version"


# of a plan ----------------------------------------------------------------------------------------


def changes_of(plan: Plan, store: Store, results: Mapping[str, Result] = NOT_READ) -> dict[str, CodeChange]:
    """Return the results of a plan that other code has made, data sets and preparations first, by signature.

    results: those that were read already, by signature.
    """
    found = {}
    for task in store.begun(plan.tasks):
        result = results.get(task.signature)
        made = ResultCode.of(result) if result is not None else made_by(store, task)
        change = change_of(store, task, made) if made is not None else None
        if change is not None:
            found[task.signature] = change
    return found


def made_by(store: Store, task: Task) -> ResultCode | None:
    """Return the code of a task's result, or of what there is of it so far; None where there is nothing."""
    result = store.peek(task.result_type, task.signature)
    if result is not None:
        return ResultCode.of(result)
    begun = read_json(store.folder_of(task) / BEGUN_WITH)
    return ResultCode(begun, "it was begun") if begun else None


# vouching -----------------------------------------------------------------------------------------


def acceptances(folder: Path) -> list[Acceptance]:
    """Return what was vouched for of the result in a folder, the oldest first."""
    return [Acceptance.from_json(entry) for entry in (read_json(folder / ACCEPTED) or {}).get("accepted", ())]


def accept(store: Store, task: Task, change: CodeChange) -> Acceptance:
    """Note in a result's folder that this person vouches for it: today's code would make the same."""
    import getpass  # only here

    folder = store.folder_of(task)
    who = f"{getpass.getuser()}@{platform.node()}"
    made = Acceptance(who, utc_text(time.time()), dict(change.outdated))
    write_json(folder / ACCEPTED, {"accepted": [asdict(one) for one in (*acceptances(folder), made)]})
    return made


def _is_accepted(acceptance: Acceptance, name: str, pair: tuple[str, str]) -> bool:
    recorded, today = pair
    known = acceptance.code.get(name)
    own = EdmCode.of_this_version().equivalent(own_part(name))
    return known is not None and known[0] == recorded and known[1] in {today, *own}
