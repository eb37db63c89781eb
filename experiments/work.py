"""Does one piece of work, given the store, and says how it ended. No Ray, no MLflow.

Every piece can be killed at any moment and done again: it goes on from what is in the store.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from edm.data.errors import DataError
from edm.features import FeatureError
from edm.generate import NotFiniteError
from edm.weights import WeightsError
from experiments.checkpoints import DivergedError
from experiments.errors import UserError
from experiments.evaluation import run_evaluation
from experiments.plan import Piece, Training
from experiments.store import FAILURE, KIND_OF_PIECE, LOG, PROGRESS, Store, write_json
from experiments.training import run_training
from experiments.trial import Setting, Stopped, raise_if_stopped

# that say all there is to say
EXPECTED_ERRORS = (UserError, DivergedError, DataError, WeightsError, FeatureError, NotFiniteError)

log = logging.getLogger("edm_sweep")


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended: done, stopped on request, or failed."""

    state: Literal["done", "stopped", "failed"]
    message: str = ""


def perform(store: Store, piece: Piece, setting: Setting) -> Outcome:
    """Do a piece of work, its output in log.txt; a failure is recorded in failure.json and never raised."""
    torch.set_num_threads(setting.threads)
    kind = KIND_OF_PIECE[piece.kind]
    try:
        with store.lock(kind, piece.signature, lambda: raise_if_stopped(store, setting)) as folder:
            return _perform_locked(store, piece, setting, folder)
    except Stopped:
        return Outcome("stopped")
    except OSError as error:  # of the lock or the log: there is no place to write more of it down
        return Outcome("failed", f"{store.folder(kind, piece.signature)}: cannot be written ({error})")


def _perform_locked(store: Store, piece: Piece, setting: Setting, folder: Path) -> Outcome:
    (folder / FAILURE).unlink(missing_ok=True)
    with _logged(folder / LOG):
        try:
            raise_if_stopped(store, setting)
            if setting.gpus > 0 and setting.device.type == "cpu":
                log.warning("a GPU was assigned but torch sees none: computing on the CPU")
            if isinstance(piece, Training):
                run_training(store, piece, setting)
            else:
                run_evaluation(store, piece, setting)
        except Stopped:
            log.info("stopped on request")
            raise
        except EXPECTED_ERRORS as error:
            log.error("%s", error)
            return _failed(folder, str(error))
        except Exception as error:
            log.error("%s", traceback.format_exc())
            return _failed(folder, f"{type(error).__name__}: {error}")
        finally:
            (folder / PROGRESS).unlink(missing_ok=True)
    return Outcome("done")


def _failed(folder: Path, message: str) -> Outcome:
    write_json(folder / FAILURE, {"message": message, "time": time.time()})
    return Outcome("failed", message)


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
