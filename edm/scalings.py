"""The coefficients that make a denoiser of a network (EDM, Table 1), and those of models with discrete time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from edm.config import Precondition
from edm.discrete import DiscreteProcess
from edm.schedules import iddpm_levels

M = 1000  # time steps of the discrete models that VP and iDDPM preconditioning label noise levels by (EDM, Table 1)
BETA_D, BETA_MIN = 19.9, 0.1  # of the variance-preserving SDE (Song et al. 2021)


@dataclass(frozen=True)
class Scalings:
    """The coefficients of the preconditioning at some noise levels (EDM, Table 1)."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor

    @classmethod
    def of(cls, sigma: Float[Tensor, " b"], sigma_data: float, precondition: Precondition = "edm") -> Scalings:
        """Return the scalings at `sigma` for data of standard deviation `sigma_data`, which only EDM's depend on."""
        if precondition == "edm":
            return _edm(sigma, sigma_data)
        one = torch.ones_like(sigma)
        c_in = one if precondition == "ve" else 1 / (sigma**2 + 1).sqrt()
        c_out = sigma if precondition == "ve" else -sigma
        return cls(one, c_out, c_in, NOISE_LABELS[precondition](sigma))


def _edm(sigma: Tensor, sigma_data: float) -> Scalings:
    variance = sigma**2 + sigma_data**2
    return Scalings(
        c_skip=sigma_data**2 / variance,
        c_out=sigma * sigma_data / variance.sqrt(),
        c_in=1 / variance.sqrt(),
        c_noise=sigma.log() / 4,
    )


def _vp_label(sigma: Tensor) -> Tensor:
    """Return (M - 1) t, where t is the time at which the variance-preserving SDE has the noise level sigma."""
    t = ((BETA_MIN**2 + 2 * BETA_D * (sigma**2).log1p()).sqrt() - BETA_MIN) / BETA_D
    return (M - 1) * t


def _ve_label(sigma: Tensor) -> Tensor:
    return (sigma / 2).log()


def _iddpm_label(sigma: Tensor) -> Tensor:
    """Return the number of the nearest of improved DDPM's noise levels, counted from the least."""
    levels = iddpm_levels_on(sigma.device, torch.float32)
    nearest = (sigma.detach()[:, None].to(levels) - levels).abs().argmin(dim=1)
    return (M - 1 - nearest).to(sigma.dtype)


@lru_cache
def iddpm_levels_on(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return improved DDPM's noise levels, decreasing; kept on the device, as it would be waited for at every call."""
    return torch.tensor(iddpm_levels(), dtype=dtype, device=device)


NOISE_LABELS: dict[Precondition, Callable[[Tensor], Tensor]] = {
    "vp": _vp_label,
    "ve": _ve_label,
    "iddpm": _iddpm_label,
}


# models of diffusers ------------------------------------------------------------------------------


def of_process(sigma: Float[Tensor, " b"], process: DiscreteProcess) -> Scalings:
    """Return the scalings of a model with discrete time: its variables are changed to EDM's.

    At time t it sees sqrt(a) y + sqrt(1 - a) n, where a falls with t. That is c_in (y + sigma n) with sigma**2 =
    (1 - a) / a and c_in = sqrt(a). It predicts n (epsilon), y (sample) or v = sqrt(a) n - sqrt(1 - a) y (Salimans and
    Ho 2022).
    """
    one, a = torch.ones_like(sigma), 1 / (1 + sigma**2)
    c_skip, c_out = {
        "epsilon": (one, -sigma),
        "sample": (torch.zeros_like(sigma), one),
        "v_prediction": (a, -sigma * a.sqrt()),
    }[process.prediction]
    return Scalings(c_skip, c_out, a.sqrt(), _times(sigma, process))


def _times(sigma: Tensor, process: DiscreteProcess) -> Tensor:
    """Return the time of each noise level, between two steps by ln(sigma), at most the last and at least the first."""
    levels = _logarithms_on(process, sigma.device)
    wanted = sigma.detach().log().to(levels).clip(levels[0], levels[-1])
    after = torch.searchsorted(levels, wanted).clip(1, len(levels) - 1)
    low, high = levels[after - 1], levels[after]
    return (after - 1 + (wanted - low) / (high - low)).to(sigma.dtype)


@lru_cache
def _logarithms_on(process: DiscreteProcess, device: torch.device) -> Tensor:
    return torch.tensor(process.sigmas(), dtype=torch.float64, device=device).log()
