"""Begins a training at the end of a shorter one that took the same steps up to there."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edm.train import Computing
from experiments.store.checksummed import find_checksummed
from experiments.store.code_files import BETWEEN
from experiments.store.files import read_json, replacing, write_bytes, write_json
from experiments.store.folders import listed
from experiments.store.layout import BEGUN_WITH, CHECKPOINTS, CONTINUES, CURVES, GRIDS
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.store.training_records import saved_step, step_stem
from experiments.sweep.kept_states import result_with_state
from experiments.sweep.shorter import Shorter
from experiments.sweep.tasks import Training

log = logging.getLogger("edm_sweep")


def continue_shorter(store: Store, training: Training, computing: Computing, shorter: Sequence[Shorter]) -> None:
    """Make the state of the longest of `shorter` that can be used this training's newest checkpoint, if it has none.

    Its curves and pictures become this training's own as well. It must have been computed as this training is: in the
    same precision, with as many images at once.
    """
    folder = store.folder_of(training)
    if saved_step(folder) is not None:
        return
    (folder / CONTINUES).unlink(missing_ok=True)
    for other in shorter:
        result, source = result_with_state(other, store), store.folder(TrainingResult.kind, other.signature)
        if result is None or not _is_computed_as(result, computing):
            continue
        state = find_checksummed(source / CHECKPOINTS, step_stem(other.steps))
        if state is not None:
            _take_over(source, state, other, result, folder)
            log.info("begins where the training %s of %g kimg ended", other.signature, result.kimg)
            return


def _is_computed_as(result: TrainingResult, computing: Computing) -> bool:
    used = result.computing
    return used is not None and (used.precision, used.micro_batch) == (computing.precision, computing.micro_batch)


def _take_over(source: Path, state: Path, other: Shorter, result: TrainingResult, folder: Path) -> None:
    """Copy what a training is to begin with; last the checkpoint, without which none of the others counts."""
    for name in CURVES:
        with suppress(FileNotFoundError):  # somebody deleted it, and no result depends on it
            write_bytes(folder / name, (source / name).read_bytes())
    (folder / GRIDS).mkdir(exist_ok=True)
    for picture in listed(source / GRIDS, "[!.]*.png"):
        write_bytes(folder / GRIDS / picture.name, picture.read_bytes())
    write_json(folder / BEGUN_WITH, {part: digest for part, digest in result.code.items() if BETWEEN not in part})
    write_json(folder / CONTINUES, {"signature": other.signature})
    (folder / CHECKPOINTS).mkdir(exist_ok=True)
    with replacing(folder / CHECKPOINTS / state.name) as temporary:
        shutil.copyfile(state, temporary)


def continued(folder: Path) -> str | None:
    """Return the signature of the shorter training at whose end the training in a folder began."""
    return (read_json(folder / CONTINUES) or {}).get("signature")
