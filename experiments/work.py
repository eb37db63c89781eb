"""Does one piece of work, given the store, and says how it ended. No Ray, no MLflow.

Every piece can be killed at any moment and done again: it goes on from what is in the store.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path

import torch

from experiments.calibration import run_probe
from experiments.evaluation import forget_models, help_draw, run_evaluation
from experiments.faults import classify, place_of
from experiments.leases import Held, LeaseLost
from experiments.planning import Evaluation, Training
from experiments.schedule import Job, Outcome, Work
from experiments.store import FAILURE, KIND_OF_PIECE, LOG, PROGRESS, Store, write_json
from experiments.training import run_training
from experiments.trial import Pruned, Setting, Stopped

log = logging.getLogger("edm_sweep")


def perform_job(store: Store, job: Job, setting: Setting) -> Iterator[tuple[str, Outcome]]:
    """Do a trial's pieces one after the other, telling of each how it ended."""
    for piece in job.pieces:
        began = time.monotonic()
        outcome = help_with(store, piece, setting) if job.helps else perform(store, piece, setting)
        yield piece.signature, replace(outcome, seconds=time.monotonic() - began)
        if outcome.fault == "device":
            return  # nothing that this process computes can be trusted any more


def perform(store: Store, piece: Work, setting: Setting) -> Outcome:
    """Do a piece of work, its output in log.txt; a failure is recorded in failure.json and never raised."""
    torch.set_num_threads(setting.threads)
    kind = KIND_OF_PIECE[piece.kind]
    try:
        with store.try_lock(kind, piece.signature) as folder:
            return _perform_locked(store, piece, setting, folder)
    except Held as held:
        return Outcome("elsewhere", str(held))
    except LeaseLost:
        return Outcome("elsewhere", "another run took it over")
    except Stopped:
        return Outcome("stopped")
    except Pruned as pruned:
        return Outcome("pruned", str(pruned))
    except OSError as error:  # of the lock or the log: there is no place to write more of it down
        message = f"{store.folder(kind, piece.signature)}: cannot be written ({error})"
        return Outcome("failed", message, classify(error), place_of(error))


def help_with(store: Store, evaluation: Work, setting: Setting) -> Outcome:
    """Draw parts of an evaluation that another trial is at; whatever goes wrong is left to that one."""
    assert isinstance(evaluation, Evaluation)
    torch.set_num_threads(setting.threads)
    try:
        help_draw(store, evaluation, setting)
    except (Stopped, LeaseLost):
        return Outcome("stopped")
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {error}", classify(error))
    return Outcome("done")


def _perform_locked(store: Store, piece: Work, setting: Setting, folder: Path) -> Outcome:
    for of_before in (FAILURE, PROGRESS):
        (folder / of_before).unlink(missing_ok=True)
    with _logged(folder / LOG):
        try:
            if store.stop_requested(setting.session, piece.signature):
                raise Stopped
            if setting.gpus > 0 and setting.device.type == "cpu":
                log.warning("a GPU was assigned but torch sees none: computing on the CPU")
            _do(store, piece, setting)
        except (Held, LeaseLost):
            raise
        except Stopped:
            log.info("stopped on request")
            raise
        except Pruned as pruned:
            log.info("%s", pruned)
            raise
        except Exception as error:
            return _failed(folder, error)
        finally:
            (folder / PROGRESS).unlink(missing_ok=True)
    return Outcome("done")


def _do(store: Store, piece: Work, setting: Setting) -> None:
    if isinstance(piece, Evaluation):
        run_evaluation(store, piece, setting)
        return
    forget_models()  # a training may need all the memory there is
    if isinstance(piece, Training):
        run_training(store, piece, setting)
    else:
        run_probe(store, piece, setting)


def _failed(folder: Path, error: Exception) -> Outcome:
    fault, unexpected = classify(error), f"{type(error).__name__}: {error}"
    expected = fault in ("input", "diverged", "damaged")
    log.error("%s", error if expected else "".join(traceback.format_exception(error)))
    outcome = Outcome("failed", str(error) if expected else unexpected, fault, place_of(error))
    with suppress(OSError):  # of a full disk; the outcome tells the same
        write_json(folder / FAILURE, {"message": outcome.message, "fault": fault, "time": time.time()})
    return outcome


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send logging, warnings and prints of this process to a file."""
    with path.open("a", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.removeHandler(handler)
