"""Attention over pixels: its values, and that neither it nor its gradient copies images into another layout."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edm.networks.attention import attend, split_heads

HEADS, CHANNELS = 2, 6


def images(channels: int = CHANNELS) -> Tensor:
    return torch.randn(3, channels, 4, 5, generator=torch.Generator().manual_seed(0)).to(
        memory_format=torch.channels_last
    )


def by_definition(qkv: Tensor) -> Tensor:
    """Attend head by head and image by image."""
    b, channels, h, w = qkv.shape
    width = channels // 3 // HEADS
    q, k, v = qkv.reshape(b, 3, HEADS, width, h * w).unbind(1)
    weights = torch.einsum("bncq,bnck->bnqk", q, k).div(math.sqrt(width)).softmax(dim=-1)
    return torch.einsum("bnqk,bnck->bncq", weights, v).reshape(b, channels // 3, h, w)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_every_head_attends_to_all_pixels(layout: torch.memory_format) -> None:
    qkv = images(3 * CHANNELS).contiguous(memory_format=layout)
    found = attend(split_heads(qkv, HEADS), qkv.shape[2:])
    torch.testing.assert_close(found, by_definition(qkv))


def test_values_of_heads_are_views_and_results_are_channels_last() -> None:
    qkv = images(3 * CHANNELS)
    heads = split_heads(qkv, HEADS)
    assert heads.data_ptr() == qkv.data_ptr()
    assert attend(heads, qkv.shape[2:]).is_contiguous(memory_format=torch.channels_last)


def test_a_gradient_takes_no_copies_but_one_of_three_parts_together() -> None:
    to_qkv = nn.Conv2d(CHANNELS, 3 * CHANNELS, 1).to(memory_format=torch.channels_last)
    x = images().requires_grad_()
    qkv = to_qkv(x)
    attended = attend(split_heads(qkv, HEADS), qkv.shape[2:])
    gradient = torch.ones_like(attended)
    with Copies() as copies:
        torch.autograd.backward(attended, gradient)
    assert copies.names == ["aten.stack.default"]


class Copies(TorchDispatchMode):
    """Notes the operations that only move values."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do one operation, and note it."""
        name = str(func)
        if name.split(".")[1] in ("clone", "copy_", "cat", "stack", "_to_copy"):
            self.names.append(name)
        return func(*args, **(kwargs or {}))
