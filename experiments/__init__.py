"""Sweeps over EDM models from Python: plan them, run them and read their results, as on the command line.

    from experiments import load_sweep, plan, results, run

    sweep = load_sweep("sweeps/digits.yaml")
    run(sweep)                 # runs whatever is missing; safe to repeat
    frame = results(sweep)     # one row per cell: axes, parameters, scores with errors and intervals

Results are kept in a store: the folder that EDM_SWEEP_STORE names, else ./runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.environment import store_folder
from experiments.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from experiments.runner.listener import RunListener
    from experiments.runner.options import Options
    from experiments.runner.run import Summary
    from experiments.store.store import Store
    from experiments.sweep.plan import Plan
    from experiments.sweep.spec import Sweep

__all__ = ["UserError", "load_sweep", "plan", "results", "run"]


def load_sweep(path: str | Path, *overrides: str) -> Sweep:
    """Read and check a sweep file, or return a sweep that was run with the default store.

    path: the sweep file, or the name of the sweep. overrides: replace values of the file, such as "training.kimg=10".
    Raises UserError, whose text says in one sentence what is wrong.
    """
    from experiments.inputs import InputFiles
    from experiments.sweep.reader import load_sweep as load

    return load(path, overrides, InputFiles()) if overrides else _sweep(path, None)


def plan(sweep: Sweep | str | Path, store: str | Path | None = None) -> Plan:
    """Return what a sweep consists of: its cells, trainings and evaluations, with names, signatures and cost.

    sweep, store: as for `run`; what the store holds is found under the signatures of earlier releases, too. Besides the
    sweep file and the store, this reads only the folders of images and the files of statistics that the file names.
    Raises UserError if the file is wrong.
    """
    from experiments.inputs import InputFiles
    from experiments.sweep.plan import plan_sweep

    return plan_sweep(_sweep(sweep, store), InputFiles(), holdings=_store(store))


def run(
    sweep: Sweep | str | Path,
    store: str | Path | None = None,
    tracking_uri: str | None = None,
    options: Options | None = None,
    quiet: bool = False,
    listener: RunListener | None = None,
) -> Summary:
    """Run whatever a sweep still needs, on Ray, record it in MLflow, and return how it ended. Safe to repeat.

    sweep: a sweep, the path of a sweep file, or the name of a sweep that was run with the store. store: by default the
    one that EDM_SWEEP_STORE names, else ./runs. tracking_uri: an MLflow server to use instead of the database in the
    store. options: retries, budget, cells and so on (experiments.runner.options.Options). quiet: print nothing.
    listener: receives the run's events, which are then not printed. Call this from the main thread, because it handles
    Ctrl-C. Raises UserError if the sweep cannot be run on this machine or cluster.
    """
    from experiments.runner.listener import RunListener
    from experiments.runner.options import Options
    from experiments.runner.resume import open_schedule
    from experiments.runner.run import run_sweep

    place, chosen = _store(store), options or Options()
    place.create()
    schedule = open_schedule(plan(sweep, store), place, chosen)
    if listener is None:
        listener = RunListener() if quiet else _terminal()
    return run_sweep(schedule, place, tracking_uri, listener, chosen)


def results(
    sweep: Sweep | str | Path, store: str | Path | None = None, tracking_uri: str | None = None
) -> pd.DataFrame:
    """Return one row per cell, in the sweep's order: name, axes, all parameters, signatures, status and scores.

    sweep, store: as for `run`. Scores that have errors are followed by their standard error (_se) and 95% interval
    (_low, _high). Scores of cells that are not done are missing. The scores come from MLflow if `tracking_uri` is
    given, else from the store. Raises UserError if the sweep or the server cannot be read.
    """
    from experiments.tracking.frames import results_frame, scores_in_store

    made = plan(sweep, store)
    if tracking_uri is None:
        return results_frame(made, scores_in_store(made, _store(store)))
    from experiments.tracking.remote import ServerRecord

    return results_frame(made, ServerRecord(made, tracking_uri).scores(_store(store)))


def _terminal() -> RunListener:
    from experiments.cli.views.live import standard_listener

    return standard_listener()


def _sweep(sweep: Sweep | str | Path, store: str | Path | None) -> Sweep:
    """The sweep itself, or the sweep of a file, or the sweep of that name that was run with this store."""
    from experiments.inputs import InputFiles
    from experiments.store.sweep_records import means_file
    from experiments.sweep.reader import load_sweep
    from experiments.sweep.spec import Sweep
    from experiments.tracking.records import recall_sweep

    if isinstance(sweep, Sweep):
        return sweep
    place, text = _store(store), str(sweep)
    return load_sweep(text, (), InputFiles()) if means_file(text, place) else recall_sweep(text, place)


def _store(store: str | Path | None) -> Store:
    from experiments.store.store import Store

    return Store(Path(store) if store else store_folder())
