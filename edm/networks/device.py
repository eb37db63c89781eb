"""Where and in which precision a network computes, and how data gets there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from edm.config import Precision

M = TypeVar("M", bound=nn.Module)

# what errors say where a batch is too large; the last two come from kernels that count in 32 bits
TOO_LARGE = ("out of memory", "ALLOC_FAILED", "INT_MAX", "canUse32BitIndexMath")

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Let networks on `device` multiply in `precision` inside the block; their weights stay float32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])


@contextmanager
def full_precision() -> Generator[None, None, None]:
    """Turn off TF32 and choose deterministic kernels inside the block, so that scores do not depend on the GPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Return values on `device`; a GPU receives them while the host goes on, where `Tensor.to` would wait for it."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()  # a copy from pageable memory waits for all work before it
    return values.to(device, non_blocking=True)


def on_device(module: M, device: torch.device | str) -> M:
    """Move a module to `device` with its convolutions in channels-last layout, which is faster."""
    return module.to(torch.device(device), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue, reportUnknownVariableType] - torch declares memory_format for 4-d tensors only


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a batch is too large for a device; a smaller one may still fit."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in TOO_LARGE)
    )
