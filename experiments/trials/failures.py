"""What goes wrong, by class: who can put it right, and whether trying again may help."""

from __future__ import annotations

import errno
import hashlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch

from edm.data.errors import DataError
from edm.generate import NotFiniteError
from edm.metrics.features import FeatureError
from edm.metrics.weights import WeightsError
from edm.parallel import ProcessLostError
from experiments.errors import UserError
from experiments.store.damage import DamagedFile
from experiments.trials.training.checkpoints import DivergedError

# memory: even the smallest batch does not fit. lost: the worker or its node is gone. device: a GPU reported a fault,
# and the process that met it cannot go on. input: data, weights or configuration are wrong. diverged: numbers that are
# none. disk: there is no room to write. damaged: a file of the store was not what was written, and was set aside.
Fault = Literal["memory", "lost", "device", "input", "diverged", "disk", "damaged", "unknown"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CUDA_WORDS = ("CUDA error", "cuBLAS error", "CUBLAS_STATUS", "cuDNN error", "CUDNN_STATUS", "NCCL error", "HIP error")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device has no more memory; a smaller batch may still fit."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in str(error) or "ALLOC_FAILED" in str(error))
    )


def classify(error: BaseException) -> Fault:
    """The class of what was raised."""
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
    """Where it was raised: the same for the same mistake, whatever it says of the one task that met it."""
    frames = [
        f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return hashlib.sha256("\n".join([type(error).__qualname__, *frames]).encode()).hexdigest()[:12]
