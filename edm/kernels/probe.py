"""A kernel of one line, to try whether Triton works."""

# Triton has no types for the inside of kernels, for constants and for options of a launch
# pyright: basic, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _double(values, SIZE: tl.constexpr):
    place = values + tl.arange(0, SIZE)
    tl.store(place, 2 * tl.load(place))


def run(device: torch.device) -> None:
    """Double some numbers on a device; raises whatever Triton or its compiler raises, and RuntimeError for others."""
    values = torch.arange(16, dtype=torch.float32, device=device)
    with torch.cuda.device(device):  # Triton launches on the current one
        _double[(1,)](values, 16, enable_fp_fusion=False)
    if float(values[15]) != 30.0:
        raise RuntimeError("a kernel computed the wrong numbers")
