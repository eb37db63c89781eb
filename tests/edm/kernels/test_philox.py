"""The kernels of random numbers without a GPU: interpreted, they draw torch's numbers; compiled ahead, they compile."""

import sys
from pathlib import Path

import pytest
import torch

import edm.kernels
from edm import noise
from edm.noise import Stream, normals, uniforms
from tests.edm.kernels.interpreted import output_of, output_with_compiler

INTERPRETED = """
import torch
from edm import noise
from edm.noise import Stream, normals, uniforms

INDEX = torch.tensor([0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**40 + 3])
CASES = [  # seed, stream, index, step
    (0, Stream.SAMPLING, INDEX, 0),
    (1, Stream.TRAINING_NOISE, INDEX.flip(0), 1),
    (2**31, Stream.DROPOUT, INDEX[::2], 17),
    (2**32 - 1, Stream.PREFIXES, torch.arange(300), 16),
    (-5, Stream.VALIDATION, torch.arange(1), 2**20),
    (2**32 + 3, Stream.AUGMENTATION, torch.arange(0), 2),
]
SHAPES = [(), (1,), (2,), (3,), (7,), (3, 4, 4), (2, 5, 5), (0,)]

def drawn():
    numbers = [normals(*case[:3], shape, case[3]) for case in CASES for shape in SHAPES]
    return numbers + [uniforms(*case) for case in CASES]

expected = drawn()
noise.have_kernels = lambda device: True
for found, of_torch in zip(drawn(), expected, strict=True):
    assert found.dtype == of_torch.dtype and torch.equal(found, of_torch), (found, of_torch)
print("equal")
"""

COMPILED = """
from edm.kernels import philox

for kernel, numbers in ((philox.normals_kernel, "*fp32"), (philox.uniforms_kernel, "*fp64")):
    assert [parameter.name for parameter in kernel.params if not parameter.do_not_specialize] == ["SIZE"]
    for seed in ("i32", "i64"):  # below 2**31, and from there
        types = {"numbers": numbers, "index": "*i64", "seed": seed, "SIZE": "constexpr"}
        signature = {parameter.name: types.get(parameter.name, "i32") for parameter in kernel.params}
        source = ASTSource(kernel, signature, {"SIZE": philox.COUNTERS})
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=philox.OPTIONS)
        assert compiled.asm["cubin"].startswith(b"\\x7fELF")
print("compiled")
"""


def test_kernels_draw_torchs_numbers():
    pytest.importorskip("triton")
    assert output_of(INTERPRETED, TRITON_INTERPRET="1") == "equal\n"


def test_kernels_compile_once_whatever_the_values_of_their_arguments(tmp_path: Path):
    pytest.importorskip("triton")
    assert output_with_compiler(COMPILED, tmp_path) == "compiled\n"


def test_a_cpu_needs_no_triton(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "edm.kernels.philox", None)
    monkeypatch.delattr(edm.kernels, "philox", raising=False)
    draw = [lambda: normals(0, Stream.SAMPLING, torch.arange(2)), lambda: uniforms(0, Stream.SAMPLING, torch.arange(2))]
    assert all(len(each()) == 2 for each in draw)
    monkeypatch.setattr(noise, "have_kernels", lambda device: True)
    for each in draw:
        with pytest.raises(ImportError):
            each()
