"""Ray Tune as a disposable executor. The only file that imports ray."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

QUIET = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would start workers through uv and upload the folder
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # with verbose=0 the older output prints nothing
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # session.py stops trials itself, and gently
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # nothing depends on Tune's own state
}
os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
# Ray authenticates its processes by a token; one of our own needs no file under HOME, which may be read-only
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from experiments.plan import Piece  # noqa: E402
from experiments.schedule import Schedule  # noqa: E402
from experiments.sharing import Share, share  # noqa: E402
from experiments.spec import ResourcesConfig  # noqa: E402
from experiments.store import Store  # noqa: E402
from experiments.trial import Setting  # noqa: E402
from experiments.work import perform  # noqa: E402


@contextmanager
def cluster() -> Generator[dict[str, Any]]:
    """A Ray of our own for as long as the block lasts; yields its total resources."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters arrives as an exception or in a trial's log.txt
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


class ScheduleSearcher(Searcher):
    """Feeds Tune from a schedule: nothing to start yet is None, nothing left is FINISHED."""

    def __init__(self, schedule: Schedule, on_change: Callable[[Piece], None]) -> None:
        super().__init__()
        self.schedule = schedule
        self.on_change = on_change
        self.running: dict[str, Piece] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The next piece's kind and signature."""
        piece = self.schedule.take()
        if piece is None:
            return Searcher.FINISHED if self.schedule.finished else None
        self.running[trial_id] = piece
        self.on_change(piece)
        return {"kind": piece.kind, "signature": piece.signature}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Hand the outcome to the schedule; a trial without one lost its worker."""
        piece = self.running.pop(trial_id)
        if error or not result or "state" not in result:
            state = "stopped" if self.schedule.stopping else "failed"
            self.schedule.ended(piece.signature, state, "the worker process died (killed, or out of memory)")
        else:
            self.schedule.ended(piece.signature, result["state"], result["message"])
        self.on_change(piece)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher for a restore that we never ask for."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: every run starts a fresh Tune."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


def execute(
    schedule: Schedule,
    store: Store,
    setting: Setting,
    resources: ResourcesConfig,
    total: dict[str, float],
    on_change: Callable[[Piece], None],
) -> None:
    """Run everything that `schedule` has to start; returns when nothing runs any more."""
    shares: dict[str, Share] = {
        kind: share(kind, schedule.plan, resources, total) for kind in ("training", "evaluation")
    }
    pieces, root = schedule.pieces, store.root

    def trial(config: dict[str, Any]) -> dict[str, Any]:
        given = shares[config["kind"]]
        own = replace(setting, threads=given.cpus, gpus=given.gpus)
        outcome = perform(Store(root), pieces[config["signature"]], own)
        return {"state": outcome.state, "message": outcome.message}

    def request(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        given = shares[config["kind"]]
        return tune.PlacementGroupFactory([{"CPU": given.cpus, "GPU": given.gpus}])

    with tempfile.TemporaryDirectory(prefix="edm-sweep-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trial, request),
            tune_config=tune.TuneConfig(
                search_alg=ScheduleSearcher(schedule, on_change), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=str(Path(scratch)), name="run", verbose=0),
        )
        tuner.fit()
