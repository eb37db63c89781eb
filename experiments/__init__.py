"""Sweeps over EDM models, from Python: plan, run and read what the command line does.

    from experiments import load_sweep, plan, results, run

    sweep = load_sweep("sweeps/digits.yaml")
    run(sweep)                 # what is missing of it; safe to repeat, always
    frame = results(sweep)     # one row a cell: axes, parameters, scores with errors and intervals

Everything is in a store, by default where EDM_SWEEP_STORE points, else ./runs. Nothing heavy is imported by this.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

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

STORE_VARIABLE, DEFAULT_STORE = "EDM_SWEEP_STORE", "runs"


def load_sweep(path: str | Path, *overrides: str) -> Sweep:
    """A sweep file, read and found right, or, by its name, a sweep that was run on the default store.

    overrides: of a file, such as "training.kimg=10". Raises UserError, in a sentence.
    """
    from experiments.sweep.reader import load_sweep as load

    return load(path, overrides) if overrides else _sweep(path, None)


def plan(sweep: Sweep | str | Path) -> Plan:
    """The least work that fills a sweep: its cells, trainings and evaluations, with names, signatures and operations.

    sweep: here and below also what `load_sweep` takes. Reads nothing but that, and a folder of images where the sweep
    is on one.
    """
    from experiments.sweep.plan import plan_sweep

    return plan_sweep(_sweep(sweep, None))


def run(
    sweep: Sweep | str | Path,
    store: str | Path | None = None,
    tracking_uri: str | None = None,
    options: Options | None = None,
    quiet: bool = False,
    listener: RunListener | None = None,
) -> Summary:
    """Run whatever a sweep still needs, on Ray, and record it in MLflow. Safe to repeat, always.

    tracking_uri: an MLflow server, in place of the database in the store. options: retries, budget, cells and the like
    (experiments.runner.options.Options). quiet: print nothing. listener: hears of the run in place of the terminal.
    Call it from the main thread, as it handles Ctrl-C. Raises UserError where the sweep asks for what is not possible
    here.
    """
    from experiments.runner.listener import RunListener
    from experiments.runner.options import Options
    from experiments.runner.resume import open_schedule
    from experiments.runner.run import run_sweep

    place, chosen = _store(store), options or Options()
    place.create()
    schedule = open_schedule(plan(_sweep(sweep, store)), place, chosen)
    if listener is None:
        listener = RunListener() if quiet else _terminal()
    return run_sweep(schedule, place, tracking_uri, listener, chosen)


def results(
    sweep: Sweep | str | Path, store: str | Path | None = None, tracking_uri: str | None = None
) -> pd.DataFrame:
    """One row a cell, in the sweep's order: its name, axes, all parameters, signatures, status and scores.

    Scores that have errors are followed by their standard error (_se) and 95 % interval (_low, _high); of cells that
    are not done they are missing. With `tracking_uri` the scores are MLflow's, else the store's.
    """
    from experiments.tracking.frames import found_in_store, results_frame

    made = plan(_sweep(sweep, store))
    if tracking_uri is None:
        return results_frame(made, found_in_store(made, _store(store)))
    from experiments.tracking.read import found_in_mlflow

    return results_frame(made, found_in_mlflow(made, tracking_uri))


def _terminal() -> RunListener:
    from experiments.cli.views.live import standard_listener

    return standard_listener()


def _sweep(sweep: Sweep | str | Path, store: str | Path | None) -> Sweep:
    """A sweep as it is, of a file, or of a store that remembers its name."""
    from experiments.inspection.recall import recall_sweep
    from experiments.store.registry import remembered
    from experiments.sweep.reader import load_sweep
    from experiments.sweep.spec import Sweep

    if isinstance(sweep, Sweep):
        return sweep
    place = _store(store)
    return recall_sweep(str(sweep), place) if str(sweep) in remembered(place) else load_sweep(sweep)


def _store(store: str | Path | None) -> Store:
    from experiments.store.store import Store

    return Store(Path(store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE))
