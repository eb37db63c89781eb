"""Loads what tasks need, making first what the store lacks: data sets, published statistics, averaged models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from edm.batch_norm import recompute_statistics
from edm.batches import TrainingSet
from edm.data.dataset import Dataset, open_prepared
from edm.ema import Snapshot, combined, posthoc_coefficients
from edm.files import MODEL, load_model, load_tensors, save_tensors
from edm.metrics.fid import Reference
from edm.metrics.published import StatisticsError, load_statistics
from edm.precondition import Denoiser
from experiments.errors import UserError
from experiments.store.layout import SNAPSHOTS, STATISTICS
from experiments.store.provenance import provenance
from experiments.store.results import ReferenceRecord, TrainingResult
from experiments.store.store import Store
from experiments.sweep.identity import signature
from experiments.sweep.tasks import DataSource, Training
from experiments.trials.datasets import ensure_prepared
from experiments.trials.extensions import require_loaded

log = logging.getLogger("edm_sweep")


OnPhase = Callable[[str], None]  # called with what a task does that is not counted, again and again while it lasts


def ensure_data(store: Store, source: DataSource, on_phase: OnPhase = lambda _: None) -> Dataset:
    """Open a prepared data set; it is prepared first if the store does not have it. Raises UserError."""
    on_phase("checking the data set")  # whose bytes are read once by each process
    record = ensure_prepared(
        store,
        source,
        on_progress=lambda step, _done, _total: on_phase(f"preparing the data set: {step}"),
        on_wait=lambda: on_phase("waiting for the data set"),
    )
    return open_prepared(store.folder_of(source), record.sigma_data)


def ensure_published(store: Store, path: Path, digest: str, dimension: int) -> None:
    """Copy a published statistics file into the store under its SHA-256, unless it is there.

    Raises UserError if the file cannot be read or is of another dimension.
    """
    identity = published_signature(digest, dimension)
    if store.verified(ReferenceRecord, identity) is not None:
        return
    try:
        reference = load_statistics(path, dimension)
    except StatisticsError as error:
        raise UserError(f"evaluation.statistics: {error}") from None

    def build(folder: Path) -> ReferenceRecord:
        save_tensors(reference.tensors(), folder / STATISTICS)
        return ReferenceRecord(file=path.name, sha256=digest, dimension=dimension, provenance=provenance())

    store.ensure(ReferenceRecord, identity, build, [STATISTICS])


def load_published(store: Store, digest: str, dimension: int) -> Reference:
    """Load statistics that `ensure_published` copied; raises DamagedFile if they have been damaged or lost since."""
    path = store.checked("references", published_signature(digest, dimension), STATISTICS)
    return Reference.from_tensors(load_tensors(path))


def published_signature(digest: str, dimension: int) -> str:
    """Return the signature of a published statistics file."""
    return signature("reference", published=digest, dimension=dimension)


def load_finished(training: Training, width: float | None, store: Store, device: torch.device) -> Denoiser:
    """Load the model of a training, or a power-function average of relative `width`; raises UserError if unfinished."""
    require_finished(training, store)
    require_loaded(training, store)
    return load_averaged(store, training, width, device)


def require_finished(training: Training, store: Store) -> None:
    """Raise UserError, with what to do, unless the store has a training's result."""
    if store.result(TrainingResult, training.signature) is None:
        raise UserError(
            f"training {training.signature} is not finished, or its files were deleted; run its sweep again, "
            "with --recompute missing if the evaluations of the training are done"
        )


def load_averaged(store: Store, training: Training, width: float | None, device: torch.device) -> Denoiser:
    """Load the model of a finished training.

    width: relative width of the power-function average to compute from the snapshots (EDM2, section 3.2); None for the
    average that training kept. Raises DamagedFile if a file is damaged.
    """
    identity = training.signature
    model = load_model(store.checked("trainings", identity, MODEL), device)
    if width is None:
        return model
    files = [file for file in store.finished(TrainingResult, identity).files if file.startswith(f"{SNAPSHOTS}/")]
    snapshots = [Snapshot(_step_of(file), kept) for file in files for kept in training.config.power_ema]
    end = Snapshot(training.config.num_steps, width)
    coefficients = dict(zip(snapshots, posthoc_coefficients(snapshots, end), strict=True))

    def parts() -> Iterator[tuple[float, dict[str, Tensor]]]:
        for file in files:
            averages = load_tensors(store.checked("trainings", identity, file))
            for full_name, value in averages.items():
                kept, _, parameter = full_name.partition("/")
                yield coefficients[Snapshot(_step_of(file), float(kept))], {parameter: value}

    model.load_state_dict(combined(parts()), strict=False)
    log.info("averaged the weights to a relative width of %g from %d snapshots", width, len(files))
    examples = TrainingSet.of(ensure_data(store, training.data), device)
    return recompute_statistics(model, examples, training.config, training.seed, end.step)


def _step_of(snapshot: str) -> int:
    """Return the step after which a snapshot was taken, from the name of its file."""
    return int(Path(snapshot).name.split("-")[0])
