"""A function on a GPU as one CUDA graph, after some calls.

A step of a small network is thousands of kernels, which a GPU computes faster than its host launches them one by one.
A graph launches all of them at once: the same kernels on the same numbers, so that nothing is computed differently.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

WARM_UP = 3  # calls before the capture, in which libraries choose kernels and compilers compile

Function = Callable[..., Tensor]
Replay = Callable[[], object]  # computes a captured function again, with what its inputs hold by then


@runtime_checkable
class Recorder(Protocol):
    """Captures functions."""

    def call(self, function: Function, inputs: Sequence[Tensor]) -> Tensor:
        """Call a function as it will be captured."""
        ...

    def capture(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Replay, Tensor]:
        """Capture a function, which computes nothing yet; return where its output will be. Raises RuntimeError."""
        ...


class GpuRecorder:
    """Captures what a function launches on a GPU as a CUDA graph."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # PyTorch demands one of its own, before the capture as well

    def call(self, function: Function, inputs: Sequence[Tensor]) -> Tensor:
        """Call a function on the stream that it will be captured on."""
        here = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            output = function(*inputs)
        here.wait_stream(self.stream)
        return output

    def capture(self, function: Function, inputs: Sequence[Tensor]) -> tuple[Replay, Tensor]:
        """Capture a function; raises RuntimeError where it does more than launch kernels, or memory runs out."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            output = function(*inputs)
        return graph.replay, output


class ReplayedFunction:
    """A function of tensors of fixed shapes that returns one tensor, called some times and then replayed.

    function: launches the same kernels whatever the values of its inputs. What it creates and leaves behind, such as
    gradients, has to be made anew by every call, as replays write to the same places. Where it cannot be captured it
    goes on being called. on_problem: called once in that case, with the reason.
    """

    def __init__(
        self, function: Function, recorder: Recorder, on_problem: Callable[[str], None] = lambda _reason: None
    ) -> None:
        self.function, self.recorder, self.on_problem = function, recorder, on_problem
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._recorded: tuple[Replay, Tensor] | None = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the function returns."""
        self._calls += 1
        if self._calls <= WARM_UP:
            return self.recorder.call(self.function, inputs)
        if self._calls == WARM_UP + 1:
            self._capture(inputs)
        if self._recorded is None:
            return self.function(*inputs)
        for held, value in zip(self._inputs, inputs, strict=True):
            held.copy_(value)
        replay, output = self._recorded
        replay()
        return output.clone()

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        held = [value.clone() for value in inputs]
        try:
            self._recorded = self.recorder.capture(self.function, held)
        except RuntimeError as error:  # also where memory runs out, which calls may still have enough of
            self.on_problem(str(error).split("\n")[0])
        else:
            self._inputs = held


@contextmanager
def seeded(seed: int, device: torch.device) -> Generator[None, None, None]:
    """Seed torch's generators of the CPU and of `device` inside the block, and restore them after it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        yield


def replays_follow_seeds(recorder: Recorder, device: torch.device) -> bool:
    """Return whether a captured dropout drops, in every replay, what a call would drop by the seed of that moment.

    PyTorch means it to, since a graph reads its generator's seed when it is replayed. It is tried all the same, since
    a training whose masks were all the same would look like any other.
    """
    ones = torch.ones(256, device=device)
    replayed = ReplayedFunction(_dropped_twice, recorder)
    for seed in range(WARM_UP + 3):
        with seeded(seed, device):
            found = replayed(ones)
        with seeded(seed, device):
            expected = _dropped_twice(ones)
        if not torch.equal(found, expected):
            return False
    return True


def _dropped_twice(x: Tensor) -> Tensor:
    return F.dropout(F.dropout(x, 0.5), 0.5)
