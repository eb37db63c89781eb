"""One network trained by several processes of a machine, a device each: who they are and what they tell each other."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.nn.parallel import DistributedDataParallel

LOOPBACK = "127.0.0.1"
# of one exchange. The first process may be long at looking at what has been learnt; whoever starts them sees deaths
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Team:
    """The processes that train one network together, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def remark(self) -> str:
        """What a person reads of it, where it is more than one."""
        return f", {self.rank + 1} of {self.size}" if self.size > 1 else ""

    def mean(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The mean over the team, the same for all of it."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def gathered(self, value: Tensor) -> Tensor:
        """Everybody's value along a new first axis, in the order of ranks."""
        values = [torch.empty_like(value) for _ in range(self.size)]
        dist.all_gather(values, value)
        return torch.stack(values)

    def of_first(self, tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
        """The tensors of the first process, on `device`; what the others give is ignored."""
        told = [[(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()]]
        dist.broadcast_object_list(told, device=device)
        found = {}
        for name, shape, dtype in told[0]:
            # laid out alike everywhere, whatever the memory format of the first's
            value = torch.empty(shape, dtype=dtype, device=device)
            if self.rank == 0:
                value.copy_(tensors[name])
            dist.broadcast(value, 0)
            found[name] = value
        return found


ALONE = Team()


class TeammateLost(RuntimeError):
    """Another process of the team is gone; the work itself may well be done by trying again."""


def open_meeting() -> TCPStore:
    """A place where a team finds together, on a free port of this machine that no other can reach."""
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


def find_meeting(port: int) -> TCPStore:
    """The meeting that another process of this machine opened."""
    return TCPStore(LOOPBACK, port, is_master=False, wait_for_workers=False, timeout=TIMEOUT)


@contextmanager
def joined(meeting: Store, team: Team, device: torch.device) -> Iterator[Team]:
    """Be one of a team while the block lasts; returns once all of it are there."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=meeting, rank=team.rank, world_size=team.size, timeout=TIMEOUT)
    try:
        yield team
    except BaseException:
        abandon()  # or leaving would wait for exchanges that nobody will complete
        raise
    finally:
        dist.destroy_process_group()


def abandon() -> None:
    """Give up whatever this process exchanges with its team now; what comes of it is garbage."""
    if dist.is_initialized() and dist.get_backend() == "nccl":  # gloo notices by itself that somebody is gone
        assert dist.group.WORLD is not None
        dist.group.WORLD.abort()


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all of a team, on any device; torch's own takes CUDA tensors alone."""

    team: Team
    _uncompiled: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, team: Team) -> SyncedBatchNorm2d:
        """The same norm, with the same parameters and statistics, for a team."""
        synced = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        synced.team = team
        # a compiled network goes on after every exchange. Here, as marking the method would import the compiler with
        # this file, which takes seconds
        synced._uncompiled = cast(Callable[[Tensor], Tensor], torch.compiler.disable(synced._over_team))
        synced._parameters, synced._buffers = norm._parameters, norm._buffers
        return synced.train(norm.training)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalised over all images of the team in training, by the running statistics else."""
        if not self.training:
            return super().forward(input)
        return self._uncompiled(input)

    def _over_team(self, x: Tensor) -> Tensor:
        mean, var = _moments(x, self.team)
        if self.running_mean is not None:
            self._track(mean, var, x.numel() // x.shape[1] * self.team.size)
        output: Tensor = _Normalise.apply(x, mean, (var + self.eps).rsqrt(), self.team)
        return output if self.weight is None else torch.addcmul(_spread(self.bias), output, _spread(self.weight))

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, num: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(var * num / (num - 1), weight)


@torch.no_grad()
def _moments(x: Tensor, team: Team) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel over a team, whose members have equally many images."""
    var, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
    means, variances = team.gathered(torch.stack([mean, var])).unbind(dim=1)
    mean = means.mean(dim=0)
    # not E[x^2] - E[x]^2, which loses what float32 has where means are large
    return mean, (variances + (means - mean) ** 2).mean(dim=0)


class _Normalise(torch.autograd.Function):
    """(x - mean) / std, where both are those of a whole team's x; backwards one exchange makes up for it."""

    @staticmethod
    def forward(ctx, x: Tensor, mean: Tensor, inverse_std: Tensor, team: Team) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, mean, inverse_std)
        ctx.team = team
        return ((x - _spread(mean)) * _spread(inverse_std)).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mean, inverse_std = ctx.saved_tensors
        grad = grad.float()
        normal = (x - _spread(mean)) * _spread(inverse_std)
        own = torch.stack([grad.mean(dim=(0, 2, 3)), (grad * normal).mean(dim=(0, 2, 3))])
        along_mean, along_std = (_spread(part) for part in ctx.team.mean(own).unbind())
        return ((grad - along_mean - normal * along_std) * _spread(inverse_std)).to(x.dtype), None, None, None


def _spread(values: Tensor) -> Tensor:
    return values[:, None, None]


def synchronise_norms(module: nn.Module, team: Team) -> None:
    """Have every batch norm within `module` normalise over the images of a whole team."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SyncedBatchNorm2d.of(child, team))


def sharing_gradients(module: nn.Module) -> DistributedDataParallel:
    """A module whose gradients are the mean over a team; whatever is no parameter is each process's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.15 has another name for it, 2.11 this one alone
        return DistributedDataParallel(module, broadcast_buffers=False)
