"""The kernels of attention without a GPU: interpreted, they compute what torch does; compiled ahead, they compile."""

from pathlib import Path

import pytest

from tests.edm.kernels.interpreted import output_of, output_with_compiler

INTERPRETED = """
import torch
import torch.nn.functional as F
from edm.kernels.attention import attention, suits

def by_torch(qkv):
    q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

def apart(found, expected):
    return float((found.double() - expected).detach().norm() / expected.detach().norm())

torch.manual_seed(0)
CASES = [  # images, tokens, heads, channels, type, size of the scores, tolerance
    (2, 256, 2, 16, torch.float32, 1, 1e-6),
    (1, 512, 1, 32, torch.float16, 1, 1e-3),
    (1, 256, 2, 16, torch.float32, 30, 1e-5),  # exponentials of these would overflow
]
for images, tokens, heads, channels, kind, size, tolerance in CASES:
    qkv = (size**0.5 * torch.randn(images, tokens, 3, heads, channels)).to(kind).requires_grad_()
    grad = torch.randn(images, tokens, heads, channels).to(kind)
    exact = qkv.detach().double().requires_grad_()
    found, expected = attention(qkv), by_torch(exact)
    found.backward(grad)
    expected.backward(grad.double())
    assert found.dtype == qkv.grad.dtype == kind
    assert apart(found, expected) < tolerance, apart(found, expected)
    assert apart(qkv.grad, exact.grad) < 2 * tolerance, apart(qkv.grad, exact.grad)
    # an image by itself has the same bits
    assert torch.equal(attention(qkv[-1:].detach())[0], found[-1].detach())

def of(tokens, channels, kind):
    return torch.empty(1, tokens, 3, 1, channels, dtype=kind, device="meta")

HALF, FULL = torch.bfloat16, torch.float32
assert suits(of(1024, 16, HALF)) and suits(of(256, 32, torch.float16))
assert not suits(of(4096, 16, HALF)), "its gradient would take much memory"
assert not suits(of(1024, 64, HALF)) and not suits(of(400, 16, HALF)) and not suits(of(1024, 16, FULL))
with torch.no_grad():
    assert suits(of(4096, 16, HALF)) and suits(of(1024, 16, FULL))
    assert not suits(of(1024, 16, torch.float64))

# the view that networks have, and a gradient that is not contiguous
qkv = torch.randn(1, 2 * 16 * 3, 16, 16).contiguous(memory_format=torch.channels_last)
view, grad = qkv.permute(0, 2, 3, 1).reshape(1, 256, 3, 2, 16).requires_grad_(), torch.randn(2, 16, 256, 1)
exact = view.detach().double().requires_grad_()
attention(view).backward(grad.permute(3, 2, 0, 1))
by_torch(exact).backward(grad.permute(3, 2, 0, 1).double())
assert apart(view.grad, exact.grad) < 2e-6, apart(view.grad, exact.grad)
print("equal")
"""

NETWORK = """
import torch
import edm.networks.attention as attention
from edm.config import ModelConfig
from edm.kernels import attention as kernels, available
from edm.networks.build import build_network
from edm.networks.compiling import compiled

attention.have_kernels = lambda device: available._state.wanted  # as if the CPU were a GPU
calls = []
original = kernels.attention
kernels.attention = lambda qkv: calls.append(tuple(qkv.shape)) or original(qkv)
torch.manual_seed(0)
network = build_network(ModelConfig("nano", channels=32, heads=(2, 1)).network(1, 32, 10))
for weights in network.parameters():
    torch.nn.init.normal_(weights, std=0.05)
network = network.to(memory_format=torch.channels_last).eval()
inputs = torch.randn(2, 1, 32, 32), torch.zeros(2), torch.zeros(2, dtype=torch.int64)

network(*inputs)
assert not calls, "float32 with a gradient is for torch"
with torch.no_grad():
    found = network(*inputs)
    assert calls and set(calls) == {(2, 1024, 3, 2, 16)}, calls  # the other levels' heads have other channels
    with available.torch_only():
        expected = network(*inputs)
    assert 0 < (found - expected).norm() / expected.norm() < 1e-5
    kernels.attention = original
    torch.compile = lambda program, _compile=torch.compile, **options: _compile(
        program, backend="aot_eager", fullgraph=True, **options
    )
    assert torch.equal(compiled(network)(*inputs), found)
torch.library.opcheck(torch.ops.edm.attend.default, (torch.randn(1, 256, 3, 1, 16, requires_grad=True),))
print("used")
"""

COMPILED = """
from edm.kernels import attention

KERNELS = (attention._forward, attention._mean_gradients, attention._backward, attention._sum_shares)
for kernel in KERNELS:
    assert "program_id(1)" not in kernel.src  # a grid's second axis has 65,535 blocks at most
    fixed = {parameter.name for parameter in kernel.params if parameter.do_not_specialize}
    # Triton would make a constant of 1, on which kernels call methods of tensors
    assert {parameter.name for parameter in kernel.params} & {"heads", "images", "blocks"} <= fixed
FLOATS = {"lse", "means", "partial"}
POINTERS = {"qkv", "output", "grad", "grad_qkv"}
def compile(kernel, tile, channels, kind="bf16"):
    types = {name: "*fp32" for name in FLOATS} | {name: f"*{kind}" for name in POINTERS}
    types |= {"scale": "fp32", "natural": "fp32"}
    constants = {"D": channels, "ROWS": tile[0], "COLUMNS": tile[1]}
    names = [parameter.name for parameter in kernel.params]
    signature = {name: types.get(name, "constexpr" if name in constants else "i32") for name in names}
    source = ASTSource(kernel, signature, {name: constants[name] for name in names if name in constants})
    options = {"num_warps": tile[2], "num_stages": tile[3], **attention.OPTIONS}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.asm["cubin"].startswith(b"\\x7fELF")
    return compiled.asm["ptx"]

for channels in attention.HEAD_CHANNELS:
    assert "wgmma" in compile(attention._forward, attention.FORWARD, channels)
    assert "wgmma" in compile(attention._backward, attention.BACKWARD, channels)
    assert "tf32" not in compile(attention._forward, attention.FORWARD_FP32, channels, "fp32")
    for kernel in (attention._mean_gradients, attention._sum_shares):
        compile(kernel, (attention.SUMMED, 0, 4, 1), channels)
print("compiled")
"""


def test_kernels_compute_torchs_attention_and_its_gradient() -> None:
    pytest.importorskip("triton")
    assert output_of(INTERPRETED, TRITON_INTERPRET="1") == "equal\n"


@pytest.mark.slow
def test_networks_use_kernels_where_they_suit_also_compiled() -> None:
    pytest.importorskip("triton")
    assert output_of(NETWORK, TRITON_INTERPRET="1") == "used\n"


@pytest.mark.slow
def test_kernels_compile_for_a_gpu_and_use_its_matrix_units(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    assert output_with_compiler(COMPILED, tmp_path) == "compiled\n"
