"""A store that the tiny sweep has filled, made once for all tests that only read such a store or copy it."""

import shutil
from pathlib import Path

from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from tests.conftest import TINY
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep


def fill(folder: Path, prepared: Path, text: str = TINY) -> tuple[Plan, Store]:
    """Run the tiny sweep, or another of its name, in this process, into a store that has it on record."""
    (folder / "tiny_digits.yaml").write_text(text)
    shutil.copytree(prepared, folder / "store")
    plan, store = plan_sweep(load_sweep(folder / "tiny_digits.yaml")), Store(folder / "store")
    record_plan(plan, store)
    schedule = run_all(plan, store)
    assert not schedule.failures
    return plan, store


def copy_of(store: Store, folder: Path) -> Store:
    """A store of one's own, to change."""
    shutil.copytree(store.root, folder / "copied")
    return Store(folder / "copied")
