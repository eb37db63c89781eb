"""Whether the kernels of this package run on a device, and how to do without them."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager

import torch

SWITCH = "EDM_KERNELS"  # environment variable; "torch" rules out the kernels of this package
LEAST_CAPABILITY = (8, 0)  # the first GPUs that compute in bf16

_forbidden = False


def have_kernels(device: torch.device) -> bool:
    """Return whether to use the kernels of this package on a device, rather than functions of torch."""
    return device.type == "cuda" and not _forbidden and os.environ.get(SWITCH) != "torch" and _run_on(device)


@contextmanager
def torch_only() -> Generator[None, None, None]:
    """Use functions of torch in place of the kernels inside the block."""
    global _forbidden
    before, _forbidden = _forbidden, True
    try:
        yield
    finally:
        _forbidden = before


@functools.cache
def _run_on(device: torch.device) -> bool:
    """Try a kernel on a device; where that fails, a warning says why, once in a process."""
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return False
    try:
        importlib.import_module("edm.kernels.probe").run(device)
    except Exception as error:  # Triton's, its compiler's, the system's
        why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        warnings.warn(f"torch's own kernels are used, as Triton's fail here ({why})", RuntimeWarning, stacklevel=2)
        return False
    return True
