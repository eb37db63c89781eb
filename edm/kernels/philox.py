"""The random numbers of `edm.noise`, computed by one kernel a call in place of some 60.

Triton has the generator, Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Every lane
computes the four words of one counter, which make two pairs of normal numbers. These are rounded to float32 last, so
that they equal those of torch's functions unless the last bit of a float64 logarithm or cosine decides how to round.
"""

# Triton has no types for the inside of kernels, for constants and for options of a launch
# pyright: basic, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float64, Int64
from torch import Tensor

COUNTERS = 128  # of one program: a counter for each lane of Triton's usual four warps
OPTIONS = {"enable_fp_fusion": False}  # products are rounded before they are added to, as between torch's kernels
TURN = tl.constexpr(2 * math.pi)


@triton.jit
def _words(seed, stream, step, index, block):
    """Return four random 32-bit words for each pair of an index and a block of its numbers, as `edm.noise` does."""
    return tl.philox_impl(
        block.to(tl.uint32),
        step.to(tl.uint32),
        index.to(tl.uint32),
        (index >> 32).to(tl.uint32),
        seed.to(tl.uint32),
        stream.to(tl.uint32),
    )


@triton.jit
def _uniform(word):
    return (word.to(tl.float64) + 0.5) * 2**-32  # exact


@triton.jit
def _box_muller(first, second):
    """Return two float64 normal numbers for each pair of words; stores round them to float32."""
    radius, angle = tl.sqrt(-2 * tl.log(_uniform(first))), _uniform(second) * TURN
    return radius * tl.cos(angle), radius * tl.sin(angle)


# no value of an argument leads to another compilation, which the capture of a CUDA graph would forbid
@triton.jit(do_not_specialize=["numbers", "index", "seed", "stream", "step", "num_indices", "num", "num_blocks"])
def normals_kernel(numbers, index, seed, stream, step, num_indices, num, num_blocks, SIZE: tl.constexpr):
    """Write `num` normal numbers for each index, four for each of its `num_blocks` counters."""
    counter = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    row, block = counter // num_blocks, counter % num_blocks
    inside = row < num_indices
    a, b, c, d = _words(seed, stream, step, tl.load(index + row, inside, 0), block)
    position = 4 * block
    place = numbers + row * num + position
    first, second = _box_muller(a, b)
    tl.store(place, first, inside)
    tl.store(place + 1, second, inside & (position + 1 < num))
    first, second = _box_muller(c, d)
    tl.store(place + 2, first, inside & (position + 2 < num))
    tl.store(place + 3, second, inside & (position + 3 < num))


@triton.jit(do_not_specialize=["numbers", "index", "seed", "stream", "step", "num_indices"])
def uniforms_kernel(numbers, index, seed, stream, step, num_indices, SIZE: tl.constexpr):
    """Write one uniform number for each index, of the first word of its first counter."""
    row = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = row < num_indices
    word, _, _, _ = _words(seed, stream, step, tl.load(index + row, inside, 0), tl.zeros_like(row))
    tl.store(numbers + row, _uniform(word), inside)


def normals(
    key: tuple[int, int], index: Int64[Tensor, " b"], shape: tuple[int, ...], step: int
) -> Float[Tensor, "b ..."]:
    """Return standard normal float32 numbers of shape (b, *shape), by Box-Muller in float64; key: two 32-bit words."""
    numbers = torch.empty(len(index), *shape, dtype=torch.float32, device=index.device)
    num = math.prod(shape)
    num_blocks = triton.cdiv(num, 4)
    with torch.cuda.device_of(index):  # Triton launches on the current device
        normals_kernel[(triton.cdiv(len(index) * num_blocks, COUNTERS),)](
            numbers, index.contiguous(), *key, step, len(index), num, num_blocks, COUNTERS, **OPTIONS
        )
    return numbers


def uniforms(key: tuple[int, int], index: Int64[Tensor, " b"], step: int) -> Float64[Tensor, " b"]:
    """Return one float64 per index, uniform on the open interval (0, 1); key: two 32-bit words."""
    numbers = torch.empty(len(index), dtype=torch.float64, device=index.device)
    with torch.cuda.device_of(index):  # Triton launches on the current device
        uniforms_kernel[(triton.cdiv(len(index), COUNTERS),)](
            numbers, index.contiguous(), *key, step, len(index), COUNTERS, **OPTIONS
        )
    return numbers
