"""Turns what was raised into the record of a failure: its kind, one line that says what and where, its place."""

from __future__ import annotations

import errno
import hashlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch

from edm.data.errors import DataError
from edm.generate import NotFiniteError
from edm.metrics.features import FeatureError
from edm.metrics.weights import WeightsError
from edm.parallel import ProcessLostError
from experiments.errors import UserError
from experiments.store.damage import DamagedFile
from experiments.store.failures import Failure, FailureKind
from experiments.trials.training.checkpoints import DivergedError
from experiments.wording import on_one_line

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SPOKEN: tuple[FailureKind, ...] = ("input", "diverged", "damaged")  # whose exceptions are sentences for people
CUDA_WORDS = ("CUDA error", "cuBLAS error", "CUBLAS_STATUS", "cuDNN error", "CUDNN_STATUS", "NCCL error", "HIP error")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether a device has no more memory; a smaller batch may still fit."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in str(error) or "ALLOC_FAILED" in str(error))
    )


def failure_of(error: BaseException, log: Path, where: str = "") -> Failure:
    """Return the record of what was raised; `where`, such as a path, comes before what the error itself says."""
    kind = classify(error)
    text = str(error) if kind in SPOKEN else f"{type(error).__name__}: {error}"
    return Failure(on_one_line(f"{where}: {text}" if where else text), kind, place_of(error), str(log))


def classify(error: BaseException) -> FailureKind:
    """Return the kind of failure that an exception means."""
    if isinstance(error, DamagedFile):
        return "damaged"
    if isinstance(error, ProcessLostError):
        return "lost"
    if any(isinstance(cause, OSError) and cause.errno in FULL for cause in _causes(error)):
        return "disk"
    if isinstance(error, DivergedError | NotFiniteError):
        return "diverged"
    if isinstance(error, UserError | DataError | WeightsError | FeatureError):
        return "input"
    if is_out_of_memory(error) or isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, RuntimeError) and any(word in str(error) for word in CUDA_WORDS):
        return "device"
    return "unknown"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def place_of(error: BaseException) -> str:
    """Return a digest of where an error was raised, equal for the same mistake in whatever task met it."""
    frames = [
        f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return hashlib.sha256("\n".join([type(error).__qualname__, *frames]).encode()).hexdigest()[:12]
