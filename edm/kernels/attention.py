"""Attention of heads with few channels, as FlashAttention computes it (Dao et al. 2022; Dao 2023), with its gradient.

Libraries' kernels pad heads to 64 channels, so that those of 16 spend most of their time on zeros. These do not, and
the gradient takes every exponential once. All sums have a fixed order: the same inputs give the same bits, whatever
else is in the batch.
"""

# Triton has no types for the inside of kernels, for constants and for options of a launch
# pyright: basic, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

HEAD_CHANNELS = (16, 32)  # of heads that these kernels are for
HALVES = (torch.bfloat16, torch.float16)
WHOLE = 256  # of which the number of tokens is a multiple
MOST_TOKENS = 1024  # with a gradient; with more, what blocks of keys add to that of the queries takes much memory
# tokens whose queries, and whose keys and values, one program works on; its warps; stages of its loop's pipeline
FORWARD = (64, 64, 4, 3)
BACKWARD = (64, 128, 4, 3)
FORWARD_FP32 = (64, 64, 4, 2)  # without matrix units
SUMMED = 128  # tokens
OPTIONS = {"enable_fp_fusion": True}  # of launches: Triton's own default changes between versions
SIZES = ["heads", "images", "blocks"]  # which Triton would otherwise make constants of where they are 1


def suits(qkv: Float[Tensor, "b hw 3 n c"]) -> bool:
    """Return whether these kernels are for such queries, keys and values; there is no gradient in float32."""
    _, tokens, _, _, channels = qkv.shape
    if channels not in HEAD_CHANNELS or tokens % WHOLE:
        return False
    if torch.is_grad_enabled():
        return qkv.dtype in HALVES and tokens <= MOST_TOKENS
    return qkv.dtype in (*HALVES, torch.float32)


def attention(qkv: Float[Tensor, "b hw 3 n c"]) -> Float[Tensor, "b hw n c"]:
    """Let every token attend to all tokens; for `qkv` that suits, on a GPU."""
    # an operator, which torch can differentiate and put into compiled programs, takes longer to call
    operator = torch.is_grad_enabled() or torch.compiler.is_compiling()
    return _attend(qkv)[0] if operator else _attended(qkv)[0]


@torch.library.custom_op("edm::attend", mutates_args=())
def _attend(qkv: Tensor) -> tuple[Tensor, Tensor]:
    return _attended(qkv)


def _attended(qkv: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is attended to, and the logarithms to base 2 of the sums of exponentials of every query."""
    qkv = qkv.contiguous()
    images, tokens, _, heads, channels = qkv.shape
    output, lse = _outputs(qkv)
    rows, columns, warps, stages = FORWARD_FP32 if qkv.dtype == torch.float32 else FORWARD
    with torch.cuda.device_of(qkv):  # where Triton launches
        _forward[(images * heads * tokens // rows,)](
            qkv, output, lse, _scale(channels), tokens, heads, channels, rows, columns,
            num_warps=warps, num_stages=stages, **OPTIONS,
        )  # fmt: skip
    return output, lse


@torch.library.custom_op("edm::attend_gradient", mutates_args=())
def _attend_gradient(qkv: Tensor, output: Tensor, lse: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient with respect to `qkv`."""
    qkv, grad = qkv.contiguous(), grad.contiguous()
    images, tokens, _, heads, channels = qkv.shape
    rows, columns, warps, stages = BACKWARD
    blocks, natural = tokens // columns, channels**-0.5
    grad_qkv = torch.empty_like(qkv)
    shares = torch.empty(blocks, images, heads, tokens, channels, device=qkv.device)
    means = torch.empty_like(lse)
    size, every_row = (tokens, heads, images), (images * heads * tokens // SUMMED,)
    with torch.cuda.device_of(qkv):
        _mean_gradients[every_row](output, grad, means, tokens, heads, channels, SUMMED, **OPTIONS)
        _backward[(images * heads * blocks,)](
            qkv, grad, lse, means, grad_qkv, shares, _scale(channels), natural, *size, channels, rows, columns,
            num_warps=warps, num_stages=stages, **OPTIONS,
        )  # fmt: skip
        _sum_shares[every_row](shares, grad_qkv, natural, *size, blocks, channels, SUMMED, **OPTIONS)
    return grad_qkv


@_attend.register_fake
def _outputs(qkv: Tensor) -> tuple[Tensor, Tensor]:
    images, tokens, _, heads, channels = qkv.shape
    output = qkv.new_empty(images, tokens, heads, channels)
    return output, qkv.new_empty(images * heads, tokens, dtype=torch.float32)


@_attend_gradient.register_fake
def _gradient(qkv: Tensor, output: Tensor, lse: Tensor, grad: Tensor) -> Tensor:
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _remember(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad: Tensor, _grad_lse: Tensor) -> Tensor:
    return _attend_gradient(*ctx.saved_tensors, grad)


_attend.register_autograd(_differentiate, setup_context=_remember)


def _scale(channels: int) -> float:
    """Return what scores are multiplied by to take powers of 2 of them."""
    return channels**-0.5 * math.log2(math.e)


@triton.jit(do_not_specialize=SIZES)
def _place(tokens, heads, SIZE: tl.constexpr):
    """Return this program's image, head, pair of both, and block of SIZE tokens; all blocks of a pair run together."""
    pair = tl.program_id(0) // (tokens // SIZE)
    return (pair // heads).to(tl.int64), pair % heads, pair.to(tl.int64), tl.program_id(0) % (tokens // SIZE)


@triton.jit(do_not_specialize=SIZES)
def _forward(qkv, output, lse, scale, tokens, heads, D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Queries of ROWS tokens of one head and image attend to all tokens, COLUMNS at a time."""
    image, head, pair, block = _place(tokens, heads, ROWS)
    part, stride = heads * D, 3 * heads * D
    channel = tl.arange(0, D)[None, :]
    row = block * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    begin = qkv + image * tokens * stride + head * D
    q = tl.load(begin + row[:, None] * stride + channel)
    keys = begin + part + column[:, None] * stride + channel
    most = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    result = tl.zeros([ROWS, D], tl.float32)
    for _ in range(0, tokens, COLUMNS):
        k = tl.load(keys)
        v = tl.load(keys + part)
        score = tl.dot(q, tl.trans(k), input_precision="ieee")
        higher = tl.maximum(most, tl.max(score, 1))
        weight = tl.exp2(score * scale - (higher * scale)[:, None])
        shrink = tl.exp2((most - higher) * scale)
        total = total * shrink + tl.sum(weight, 1)
        result = result * shrink[:, None]
        result = tl.dot(weight.to(v.dtype), v, result, input_precision="ieee")
        most = higher
        keys += COLUMNS * stride
    result = result / total[:, None]
    place = output + (image * tokens + row[:, None]) * part + head * D + channel
    tl.store(place, result.to(output.dtype.element_ty))
    tl.store(lse + pair * tokens + row, most * scale + tl.log2(total))


@triton.jit(do_not_specialize=SIZES)
def _mean_gradients(output, grad, means, tokens, heads, D: tl.constexpr, ROWS: tl.constexpr):
    """Sum output times gradient over the channels: the mean of the weights' gradients for every query."""
    image, head, pair, block = _place(tokens, heads, ROWS)
    row = block * ROWS + tl.arange(0, ROWS)
    place = (image * tokens + row[:, None]) * heads * D + head * D + tl.arange(0, D)[None, :]
    product = tl.load(output + place).to(tl.float32) * tl.load(grad + place).to(tl.float32)
    tl.store(means + pair * tokens + row, tl.sum(product, 1))


@triton.jit(do_not_specialize=SIZES)
def _backward(
    qkv, grad, lse, means, grad_qkv, partial, scale, natural, tokens, heads, images,
    D: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values of COLUMNS tokens of one head and image, and what they add to those of queries."""
    image, head, pair, block = _place(tokens, heads, COLUMNS)
    part, stride = heads * D, 3 * heads * D
    channel = tl.arange(0, D)[None, :]
    row = tl.arange(0, ROWS)
    column = block * COLUMNS + tl.arange(0, COLUMNS)
    begin = image * tokens * stride + head * D
    keys = begin + part + column[:, None] * stride + channel
    k = tl.load(qkv + keys)
    v = tl.load(qkv + keys + part)
    grad_k = tl.zeros([COLUMNS, D], tl.float32)
    grad_v = tl.zeros([COLUMNS, D], tl.float32)
    queries = qkv + begin + row[:, None] * stride + channel
    outputs = image * tokens * part + head * D + row[:, None] * part + channel
    of_rows = pair * tokens + row
    shares = partial + ((block.to(tl.int64) * images * heads + pair) * tokens + row[:, None]) * D + channel
    for _ in range(0, tokens, ROWS):
        q = tl.load(queries)
        g = tl.load(grad + outputs)
        weight = tl.exp2(tl.dot(k, tl.trans(q), input_precision="ieee") * scale - tl.load(lse + of_rows)[None, :])
        grad_v = tl.dot(weight.to(g.dtype), g, grad_v, input_precision="ieee")
        grad_weight = tl.dot(v, tl.trans(g), input_precision="ieee")
        grad_score = (weight * (grad_weight - tl.load(means + of_rows)[None, :])).to(q.dtype)
        grad_k = tl.dot(grad_score, q, grad_k, input_precision="ieee")
        tl.store(shares, tl.dot(tl.trans(grad_score), k, input_precision="ieee"))
        queries += ROWS * stride
        outputs += ROWS * part
        of_rows += ROWS
        shares += ROWS * D
    tl.store(grad_qkv + keys, (grad_k * natural).to(grad_qkv.dtype.element_ty))
    tl.store(grad_qkv + keys + part, grad_v.to(grad_qkv.dtype.element_ty))


@triton.jit(do_not_specialize=SIZES)
def _sum_shares(partial, grad_qkv, natural, tokens, heads, images, blocks, D: tl.constexpr, ROWS: tl.constexpr):
    """Add what blocks of keys contributed to the gradients of ROWS queries of one head and image."""
    image, head, pair, block = _place(tokens, heads, ROWS)
    row = block * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, D)[None, :]
    shares = partial + (pair * tokens + row[:, None]) * D + channel
    total = tl.zeros([ROWS, D], tl.float32)
    for _ in range(blocks):
        total += tl.load(shares)
        shares += images.to(tl.int64) * heads * tokens * D
    place = grad_qkv + (image * tokens + row[:, None]) * 3 * heads * D + head * D + channel
    tl.store(place, (total * natural).to(grad_qkv.dtype.element_ty))
