"""Compiled networks: when they are, that they compute the same, and machines on which nothing can be compiled."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from edm.config import TrainingConfig
from edm.generate import COMPILED_FLOPS, pays_to_compile
from edm.networks import compiling
from edm.networks.compiling import can_compile
from edm.train import COMPILE_STEPS, Computing

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LONG = replace(TrainingConfig(kimg=COMPILE_STEPS * 128 / 1000, batch_size=128), precision="bf16")

# in a process of its own, as type checks would be in the way; what inductor makes of it takes minutes here
DRAWN = """
import functools, torch
from edm.config import NetworkConfig, SamplingConfig
from edm.generate import compiled_denoiser, generate
from edm.networks.initialise import initialise
from edm.precondition import Denoiser

programs = []
def backend(program, inputs):
    programs.append(inputs)
    return program

torch.compile = functools.partial(torch.compile, backend=backend)
model = Denoiser(NetworkConfig(1, 8, 3, 8, (1,), (2,), 0), 0.5).eval()
initialise(model, torch.Generator().manual_seed(0))
sampling = SamplingConfig(sampler="euler", steps=3, guidance=2.0)
def drawn(denoiser):
    return torch.cat([each.images for each in generate(denoiser, sampling, 0, 7, batch_size=4)])
plain = drawn(model)
assert not programs
for _ in range(2):  # the second denoiser of a network has the first one's program
    assert torch.equal(drawn(compiled_denoiser(model)), plain)
print(len(programs), "program")
"""


def test_a_compiled_network_draws_the_same_images_with_one_program() -> None:
    done = subprocess.run([sys.executable, "-c", DRAWN], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1 program", done.stderr


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a C compiler: torch says so when the compiled function is called."""

    def compiled(function: Any, **_: Any) -> Any:
        def fails(*_: Any) -> None:
            raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nmore lines")

        return fails

    monkeypatch.setattr(compiling.torch, "compile", compiled)
    monkeypatch.setattr(compiling.torch, "zeros", lambda *_, device: None)  # there is no GPU here
    can_compile.cache_clear()
    yield
    can_compile.cache_clear()


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine where everything can be compiled."""
    monkeypatch.setattr(compiling.torch, "compile", lambda function, **_: lambda *_: None)
    monkeypatch.setattr(compiling.torch, "zeros", lambda *_, device: None)
    can_compile.cache_clear()
    yield
    can_compile.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_nothing_is_compiled_without_a_compiler_unless_asked_for() -> None:
    why = r"torch cannot compile here \(RuntimeError: Failed to find C compiler[^\n]*\)$"
    with pytest.warns(RuntimeWarning, match=why):  # once
        assert not can_compile("cuda")
    assert not Computing.choose(LONG, GPU).compiled
    assert Computing.choose(LONG, GPU, compiled=True).compiled
    assert not pays_to_compile(COMPILED_FLOPS, GPU)


@pytest.mark.usefixtures("compiler")
def test_long_work_on_a_gpu_is_compiled() -> None:
    assert can_compile("cuda")
    assert Computing.choose(LONG, GPU).compiled
    assert not Computing.choose(replace(LONG, kimg=1.0), GPU).compiled
    assert not Computing.choose(LONG, CPU).compiled
    assert pays_to_compile(COMPILED_FLOPS, GPU)
    assert not pays_to_compile(COMPILED_FLOPS / 2, GPU)
    assert not pays_to_compile(COMPILED_FLOPS, CPU)
