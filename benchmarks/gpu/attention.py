"""Times attention of the 5.0 M network's first level by edm's kernels and by each of torch's, in two layouts there."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.cases import network
from benchmarks.gpu.measure import timed
from benchmarks.gpu.report import Report, one_line
from benchmarks.gpu.setting import Setting
from edm.kernels.available import have_kernels, torch_only
from edm.networks.attention import attend, split_heads

BATCH = 256
KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "plain": SDPBackend.MATH,
}


def run(setting: Setting, report: Report) -> None:
    """Time edm's kernels, torch's own choice and each of torch's, forwards alone and with the gradient."""
    shape = network("mini", 32, setting.tiny)
    side, width, heads = (8, 8, 2) if setting.tiny else (shape.resolution, shape.level_channels[0], shape.heads[0])
    qkv = torch.randn(8 if setting.tiny else BATCH, 3 * width, side, side, device=setting.torch_device)
    qkv = qkv.to(torch.bfloat16, memory_format=torch.channels_last).requires_grad_()
    flops = 4 * len(qkv) * width * side**4
    for gradient in (False, True):
        call = attention(qkv, heads, gradient)
        if have_kernels(qkv.device):
            measure(setting, report, "edm's kernels", call, gradient, flops)
        with torch_only():
            measure_torch(setting, report, qkv, heads, gradient, flops)


def measure_torch(setting: Setting, report: Report, qkv: Tensor, heads: int, gradient: bool, flops: float) -> None:
    """Time torch's own choice, each of its kernels, and its choice for heads that are copied apart first."""
    call = attention(qkv, heads, gradient)
    measure(setting, report, "torch's choice", call, gradient, flops)
    for name, kernel in KERNELS.items():

        def by(kernel: SDPBackend = kernel) -> None:
            with sdpa_kernel(kernel):
                call()

        measure(setting, report, name, by, gradient, flops)
    apart = contiguous_heads(qkv, heads, gradient)
    measure(setting, report, "torch's choice, heads copied apart", apart, gradient, flops)


def measure(
    setting: Setting, report: Report, name: str, call: Callable[[], None], gradient: bool, flops: float
) -> None:
    """Time one way; gradients count two and a half times the operations of the forward pass."""
    what = f"attention by {name}, {'with its gradient' if gradient else 'forwards'}"
    try:
        call()
    except RuntimeError as error:  # no such kernel on this device, or none for heads this narrow
        report.skip(what, one_line(error))
        return
    with report.attempt(what):
        timing = timed(call, setting.torch_device, 0.05 if setting.tiny else 0.2)
        rate = (3.5 if gradient else 1.0) * flops / timing.median
        report.measure(what, rate / 1e12, "TFLOP/s", spread=timing.spread, note=f"{1000 * timing.median:.2f} ms")


def attention(qkv: Tensor, heads: int, gradient: bool) -> Callable[[], None]:
    """Return a call of the networks' own attention."""
    return _computed(lambda: attend(split_heads(qkv, heads), qkv.shape[2:]), gradient)


def contiguous_heads(qkv: Tensor, heads: int, gradient: bool) -> Callable[[], None]:
    """Return a call that copies every head's queries, keys and values together first."""

    def apart() -> Tensor:
        q, k, v = split_heads(qkv, heads).permute(2, 0, 3, 1, 4).contiguous()
        return F.scaled_dot_product_attention(q, k, v)

    return _computed(apart, gradient)


def _computed(forward: Callable[[], Tensor], gradient: bool) -> Callable[[], None]:
    def call() -> None:
        with torch.set_grad_enabled(gradient):
            output = forward()
        if gradient:
            torch.autograd.backward(output, output.detach())

    return call
