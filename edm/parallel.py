"""Training of one network by several processes of a machine, each with a device: ranks, rendezvous and exchanges."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.parallel import DistributedDataParallel

LOOPBACK = "127.0.0.1"
# for one exchange: long, as the others wait while the first process validates; whoever started them notices a death
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Team:
    """The processes that train one network together: their number, `size`, and which of them this is, `rank`."""

    rank: int = 0
    size: int = 1

    @property
    def remark(self) -> str:
        """Text for a log line, such as ", 1 of 2"; empty for a single process."""
        return f", {self.rank + 1} of {self.size}" if self.size > 1 else ""

    def mean(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the mean of `value` over the team, on every process."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def gather(self, value: Tensor) -> Tensor:
        """Return the values of all processes along a new first axis, in the order of ranks."""
        values = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(values, value)
        return torch.stack(values)

    def broadcast(self, tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """Return the tensors of the first process, on `device`; those that the others pass are ignored."""
        headers = [[(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]]
        dist.broadcast_object_list(headers, device=device)
        found: dict[str, Tensor] = {}
        for name, shape, dtype in headers[0]:
            # contiguous on every process, whatever the memory format on the first
            value = torch.empty(shape, dtype=dtype, device=device)
            if self.rank == 0:
                value.copy_(tensors[name])
            dist.broadcast(value, 0)
            found[name] = value
        return found


ALONE = Team()


class ProcessLostError(RuntimeError):
    """Another process of the team is gone; trying again may succeed."""


def open_rendezvous() -> TCPStore:
    """Open a rendezvous for the processes of a team, on a free port that only this machine can reach."""
    listening = socket.create_server((LOOPBACK, 0))
    port = listening.getsockname()[1]
    return TCPStore(
        LOOPBACK,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=TIMEOUT,
        master_listen_fd=listening.detach(),
    )


def join_rendezvous(port: int) -> TCPStore:
    """Connect to the rendezvous that another process of this machine opened."""
    return TCPStore(LOOPBACK, port, is_master=False, wait_for_workers=False, timeout=TIMEOUT)


@contextmanager
def process_group(
    rendezvous: Store, team: Team, device: torch.device, backend: str | None = None
) -> Generator[Team, None, None]:
    """Be part of a team inside the block, which begins once all processes have joined.

    backend: of torch.distributed. By default NCCL on GPUs, which needs one for each process, and Gloo on CPUs. Gloo is
    slower, but several processes can share a GPU with it.
    """
    backend = backend or ("nccl" if device.type == "cuda" else "gloo")
    dist.init_process_group(backend, store=rendezvous, rank=team.rank, world_size=team.size, timeout=TIMEOUT)
    try:
        yield team
    except BaseException:
        abandon()  # otherwise leaving would wait for exchanges that nobody completes
        raise
    finally:
        dist.destroy_process_group()


def abandon() -> None:
    """Abort the exchange that this process takes part in; its results are undefined."""
    if dist.is_initialized() and dist.get_backend() == "nccl":  # gloo notices by itself that a process is gone
        assert dist.group.WORLD is not None
        dist.group.WORLD.abort()


def averaging_gradients(module: nn.Module) -> DistributedDataParallel:
    """Wrap a module so that its gradients are means over the team; each process keeps its own buffers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 renames the class, but 2.11 has only this name
        return DistributedDataParallel(module, broadcast_buffers=False)
