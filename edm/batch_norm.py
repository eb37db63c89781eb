"""Statistics of batch norms: over several processes, for averaged weights, and restored after errors."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from edm.batches import Batches, TrainingSet
from edm.config import TrainingConfig
from edm.parallel import Team
from edm.precondition import Denoiser

STATISTICS_BATCHES = 64  # over which the statistics of averaged weights are computed
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # extensions may have any of them


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes of a team, on any device; torch's own works on CUDA only."""

    team: Team
    _uncompiled: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, team: Team) -> SyncedBatchNorm2d:
        """Return the norm of a team that shares the parameters and statistics of `norm`."""
        synced = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        synced.team = team
        # torch cannot compile the exchange. A decorator would import its compiler with this file, which takes seconds
        compiler: Any = torch.compiler
        synced._uncompiled = cast(Callable[[Tensor], Tensor], compiler.disable(synced._over_team))
        synced._parameters, synced._buffers = norm._parameters, norm._buffers
        return synced.train(norm.training)

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise by the statistics of the whole team in training, by the running statistics otherwise."""
        if not self.training:
            return super().forward(input)
        return self._uncompiled(input)

    def _over_team(self, x: Tensor) -> Tensor:
        mean, var = _moments(x, self.team)
        if self.running_mean is not None:
            self._track(mean, var, x.numel() // x.shape[1] * self.team.size)
        output: Tensor = _Normalise.apply(x, mean, (var + self.eps).rsqrt(), self.team)
        if not self.affine:
            return output
        return torch.addcmul(_per_channel(self.bias), output, _per_channel(self.weight))

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor, num: int) -> None:
        """Update the running statistics with those of `num` values per channel."""
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(var * num / (num - 1), weight)


@torch.no_grad()
def _moments(x: Tensor, team: Team) -> tuple[Tensor, Tensor]:
    """Return mean and variance of every channel over a team whose processes have equally many images."""
    var, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
    means, variances = team.gather(torch.stack([mean, var])).unbind(dim=1)
    mean = means.mean(dim=0)
    # E[x^2] - E[x]^2 would lose all digits of float32 where means are large
    return mean, (variances + (means - mean) ** 2).mean(dim=0)


class _Saved(Protocol):
    """The context of `_Normalise`, which torch passes from forward to backward."""

    team: Team
    saved_tensors: tuple[Tensor, Tensor, Tensor]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Normalise(torch.autograd.Function):
    """(x - mean) / std, by the mean and standard deviation of the whole team's x, through which gradients flow too."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, mean: Tensor, inverse_std: Tensor, team: Team) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - torch declares *args
        """Normalise `x`."""
        saved = cast(_Saved, ctx)
        saved.save_for_backward(x, mean, inverse_std)
        saved.team = team
        return ((x - _per_channel(mean)) * _per_channel(inverse_std)).to(x.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride] - torch declares *args
        """Return the gradient with respect to `x`, after one exchange of sums."""
        saved = cast(_Saved, ctx)
        x, mean, inverse_std = saved.saved_tensors
        grad = grad.float()
        normal = (x - _per_channel(mean)) * _per_channel(inverse_std)
        own = torch.stack([grad.mean(dim=(0, 2, 3)), (grad * normal).mean(dim=(0, 2, 3))])
        along_mean, along_std = (_per_channel(part) for part in saved.team.mean(own).unbind())
        return ((grad - along_mean - normal * along_std) * _per_channel(inverse_std)).to(x.dtype), None, None, None


def _per_channel(values: Float[Tensor, " c"]) -> Float[Tensor, "c 1 1"]:
    return values[:, None, None]


def synchronise_norms(module: nn.Module, team: Team) -> None:
    """Replace every batch norm in `module` by one that normalises over the images of a whole team."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SyncedBatchNorm2d.of(child, team))


class StatisticsBackup:
    """Restores a module's buffers, such as the running statistics of batch norms, after a failed step.

    They change with every micro-batch, so that a step that fails midway would leave them different.
    """

    def __init__(self, module: nn.Module) -> None:
        buffers = list(module.buffers())
        self.current = [[b for b in buffers if b.dtype == kind] for kind in {b.dtype for b in buffers}]
        self.before = [[torch.empty_like(b) for b in alike] for alike in self.current]

    @contextmanager
    def restored_on_error(self) -> Generator[None, None, None]:
        """Restore the buffers if the block raises."""
        self._copy(self.before, self.current)
        try:
            yield
        except BaseException:
            self._copy(self.current, self.before)
            raise

    @staticmethod
    def _copy(to: list[list[Tensor]], source: list[list[Tensor]]) -> None:
        for alike, values in zip(to, source, strict=True):
            # private, but what torch's own optimizers use, and several times faster than a loop
            torch._foreach_copy_(alike, values)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]


@torch.no_grad()
def recompute_statistics(
    model: Denoiser,
    data: TrainingSet,
    config: TrainingConfig,
    seed: int,
    step: int,
    num_batches: int = STATISTICS_BATCHES,
) -> Denoiser:
    """Return `model` in evaluation mode, with batch-norm statistics recomputed for its own weights.

    Averaged weights come with the running statistics of the raw ones, which do not fit. The new ones are means over the
    `num_batches` batches that training with `config` and `seed` would see after `step`.
    """
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    batches, seen = Batches(data, config, seed, model.null_label), 0
    for number in range(step, step + num_batches if norms else step):
        for part in batches[number].parts(config.micro_batch):
            seen += 1
            for norm in norms:
                norm.momentum = 1 / seen  # a plain mean; None means the same, but reads a count from the device
            noisy = part.images + part.sigma[:, None, None, None] * part.noise
            model(noisy, part.sigma, part.labels, part.augment_labels if part.augment_labels.shape[1] else None)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
