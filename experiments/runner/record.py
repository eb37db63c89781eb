"""Records a sweep in the store, under its name."""

from __future__ import annotations

import hashlib
import json

from experiments.store.files import read_json, write_json
from experiments.store.registry import PAST, record_path
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.recorded import recorded_content


def remember(plan: Plan, store: Store) -> None:
    """Record a sweep, for commands that have only the store; the earlier record of its name is kept as past."""
    path, content = record_path(plan.sweep.name, store), recorded_content(plan)
    before = read_json(path)
    if before is not None and before.get("cells") != content["cells"]:
        digest = hashlib.sha256(json.dumps(before.get("cells"), sort_keys=True).encode()).hexdigest()[:16]
        kept = path.parent / PAST / f"{plan.sweep.name}-{digest}.json"
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, before)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
