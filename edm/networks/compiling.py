"""Compiles networks by torch.compile, where that works."""

from __future__ import annotations

import functools
import warnings
from typing import cast

import torch
from torch import Tensor, nn

from edm.kernels.available import try_kernels

COMPILED_NETWORKS = 64  # in one process


def compile_network(network: nn.Module) -> None:
    """Compile a network in place: one program for each shape that it meets, made when it first meets it."""
    _prepare(network)
    network.compile(dynamic=False)  # pyright: ignore[reportUnknownMemberType]


def compiled(network: nn.Module) -> nn.Module:
    """Return a network that computes the same with the same weights, compiled as by `compile_network`."""
    _prepare(network)
    return cast(nn.Module, torch.compile(network, dynamic=False))


def _prepare(network: nn.Module) -> None:
    import torch._dynamo.config as limits  # heavy

    try_kernels(next(network.parameters()).device)  # while a network is compiled it is too late
    # beyond torch's own limit of 8, a worker's ninth network would run without being compiled, and not say so
    limits.recompile_limit = max(limits.recompile_limit, COMPILED_NETWORKS)


@functools.cache
def can_compile(device_type: str) -> bool:
    """Return whether networks can be compiled for a kind of device; where not, a warning says why, once in a process.

    It compiles a program of one line, which takes seconds. Triton and a C compiler, which torch needs, are not on every
    machine.
    """

    def program(x: Tensor) -> Tensor:
        return x * 2 + 1

    try:
        torch.compile(program, dynamic=False)(torch.zeros(8, device=device_type))
    except Exception as error:  # torch's, Triton's, the system's
        why = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        warnings.warn(f"networks are not compiled, as torch cannot compile here ({why})", RuntimeWarning, stacklevel=2)
        return False
    return True
