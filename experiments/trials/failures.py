"""Turns exceptions into records of failures: the kind, one line of text, and a digest of the place."""

from __future__ import annotations

import errno
import hashlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from edm.data.errors import DataError
from edm.generate import NotFiniteError
from edm.metrics.features import FeatureError
from edm.metrics.weights import WeightsError
from edm.networks.device import is_out_of_memory
from edm.parallel import ProcessLostError
from experiments.errors import UserError
from experiments.extensions import place_of_error
from experiments.store.damage import DamagedFile
from experiments.store.failures import Failure, FailureKind
from experiments.trials.training.checkpoints import DivergedError
from experiments.wording import on_one_line

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PLAIN_KINDS: tuple[FailureKind, ...] = ("input", "diverged", "damaged")  # their messages are sentences for people
CUDA_WORDS = ("CUDA error", "cuBLAS error", "CUBLAS_STATUS", "cuDNN error", "CUDNN_STATUS", "NCCL error", "HIP error")


def failure_of(error: BaseException, log: Path, where: str = "") -> Failure:
    """Return the record of an error; `where`, such as a path, is put before the message of the error."""
    kind = classify(error)
    place = place_of_error(error) if kind == "unknown" else ""
    text = str(error) if kind in PLAIN_KINDS else f"{type(error).__name__}: {error}{f' (at {place})' if place else ''}"
    return Failure(on_one_line(f"{where}: {text}" if where else text), kind, _place_of(error), str(log))


def classify(error: BaseException) -> FailureKind:
    """Return the kind of failure of an exception."""
    if isinstance(error, DamagedFile):
        return "damaged"
    if isinstance(error, ProcessLostError):
        return "lost"
    if any(isinstance(cause, OSError) and cause.errno in DISK_FULL for cause in _causes(error)):
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


def _place_of(error: BaseException) -> str:
    """Return a digest of where an error was raised, which is equal for the same mistake in any task."""
    frames = [
        f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return hashlib.sha256("\n".join([type(error).__qualname__, *frames]).encode()).hexdigest()[:12]
