"""The status of sweeps, for scripts."""

from __future__ import annotations

from typing import Any

from experiments.cli.views.plan_json import estimate_json
from experiments.inspection.status import Status, SweepOverview, TaskStatus
from experiments.store.active_runs import ActiveRun


def status_json(status: Status) -> dict[str, Any]:
    """Return the status of a sweep for a script."""
    return {
        "sweep": status.sweep,
        "counts": status.counts,
        "runs": [_run_json(run) for run in status.runs],
        "forecast": status.left or None,
        "estimate": estimate_json(status.estimate) if status.estimate is not None else None,
        "trainings": [
            {"name": status.names[signature], "signature": signature, **_task_json(own)}
            for signature, own in status.trainings.items()
        ],
        "preparations": [
            {"name": status.names[signature], "signature": signature, **_task_json(own)}
            for signature, own in status.preparations.items()
        ],
        "cells": [
            {"name": cell.name, "training": cell.training, "evaluation": cell.evaluation, **_task_json(cell.status)}
            for cell in status.cells
        ],
    }


def overview_json(row: SweepOverview) -> dict[str, Any]:
    """Return the line of a sweep in the overview for a script."""
    counts = {"cells": row.cells, "done": row.done, "failed": row.failed}
    return {"sweep": row.sweep, **counts, "runs": [_run_json(run) for run in row.runs]}


def _run_json(run: ActiveRun) -> dict[str, Any]:
    progress = run.progress.to_json() if run.progress is not None else {}
    return {"session": run.run_id, "host": run.host, "pid": run.pid, "command": run.command, **progress}


def _task_json(status: TaskStatus) -> dict[str, Any]:
    progress = status.progress
    return {
        "state": status.state,
        "why": status.note or None,
        "where": status.where or None,
        "other_code": status.change.to_json() if status.change is not None else None,
        "progress": progress.to_json() if progress is not None else None,
        "left_s": progress.left_s if progress is not None else None,
    }
