"""Multi-head attention over the pixels of images, in the layout of channels-last convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from edm.kernels.available import have_kernels


def split_heads(qkv: Float[Tensor, "b qkv h w"], heads: int) -> Float[Tensor, "b hw 3 n c"]:
    """Return queries, keys and values, which lie one after the other in the channels, of every pixel and head.

    In channels-last layout that is a view, and so is its gradient: other orders copy it twice.
    """
    b, channels, h, w = qkv.shape
    return qkv.permute(0, 2, 3, 1).reshape(b, h * w, 3, heads, channels // 3 // heads)


def attend(qkv: Float[Tensor, "b hw 3 n c"], size: Sequence[int]) -> Float[Tensor, "b nc h w"]:
    """Let every pixel attend to all pixels; `size` is the height and width of the images."""
    return _attended(qkv).reshape(len(qkv), *size, -1).permute(0, 3, 1, 2)


def _attended(qkv: Float[Tensor, "b hw 3 n c"]) -> Float[Tensor, "b hw n c"]:
    if have_kernels(qkv.device):
        from edm.kernels.attention import attention, suits  # Triton is not on every machine

        if suits(qkv):
            return attention(qkv)
    q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
