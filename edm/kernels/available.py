"""Whether the kernels of this package run on a device, and how to do without them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

SWITCH = "EDM_KERNELS"  # environment variable; "torch" rules out the kernels of this package
LEAST_CAPABILITY = (8, 0)  # the first GPUs that compute in bf16


@dataclass
class _State:
    """Whether kernels work, None as long as none was tried, and whether this process wants to use them."""

    work: bool | None = None
    wanted: bool = True


_state = _State()


def have_kernels(device: torch.device) -> bool:
    """Return whether to use the kernels of this package on a device, rather than functions of torch.

    The first call for a GPU tries one, which takes seconds. Compiled networks cannot do that: see `try_kernels`.
    """
    if device.type != "cuda" or not _state.wanted:
        return False
    if _state.work is None and not torch.compiler.is_compiling():
        try_kernels(device)
    return _state.work is True


def try_kernels(device: torch.device) -> None:
    """Find out whether kernels work on a GPU; where they fail, a warning says why, once in a process."""
    if _state.work is None and device.type == "cuda":
        _state.work = os.environ.get(SWITCH) != "torch" and _one_runs(device)


@contextmanager
def torch_only(only: bool = True) -> Generator[None, None, None]:
    """Use functions of torch in place of the kernels inside the block, if `only` says so."""
    before, _state.wanted = _state.wanted, _state.wanted and not only
    try:
        yield
    finally:
        _state.wanted = before


def _one_runs(device: torch.device) -> bool:
    if torch.version.hip is not None or not torch.cuda.is_available():
        return False
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return False
    try:
        from edm.kernels import probe  # Triton is not on every machine

        probe.run(device)
    except Exception as error:  # Triton's, its compiler's, the system's
        why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        warnings.warn(f"torch's own kernels are used, as Triton's fail here ({why})", RuntimeWarning, stacklevel=2)
        return False
    return True
