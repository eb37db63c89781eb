"""Counts what code does with tensors: a measure of its work that comes out alike on every machine."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorWork(TorchDispatchMode):
    """Counts, inside its block, the operations on tensors, and the bytes of what they are given and return.

    Views count as operations without bytes, as nothing is read or written for them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do one operation, and count it."""
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        if not _is_view(func):
            self.bytes += sum(tensor.nbytes for tensor in _tensors((args, kwargs, result)))
        return result


def _is_view(func: Any) -> bool:
    if func is torch.ops.aten._unsafe_view.default:  # of a tensor that nobody else has
        return True
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, torch.Tensor))
